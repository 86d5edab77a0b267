"""A run on many workers, all in one process: what is sent out, tried again, and kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from played_cluster import Here, contents, drive, locally, plan_of
from support import Workplace

from iqabench.distributed.jobs import Died, Report
from iqabench.keeping import Saving
from iqabench.results import find_cells, read_cell
from iqabench.steps import Begun, Settled
from iqabench.testing.rules import one_thread


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Jobs ask for one thread, in this very process; two of them sum floats in another order."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"))


def test_cells_of_two_nodes_are_those_of_one_process(place: Workplace, tmp_path: Path) -> None:
    """No node sees the stores of the others, and one of them is lost in the middle."""
    attacks = ["fgsm", "transfer:source=resnet,steps=2"]
    defenses = ["blur+resnet", "noise_augmentation+resnet"]
    plan = plan_of(place, place.store, attacks=attacks, defenses=defenses, eps=[1])
    whole = locally(plan, tmp_path / "whole", place.store, Saving(2))
    assert (whole.computed, whole.found, whole.failures) == (9, 0, [])

    lost: list[int] = []

    def kill(number: int, report: Report) -> Died | None:
        middle = isinstance(report.step, Settled) and report.step.attack.startswith("fgsm")
        if middle and number == 0 and not lost:
            lost.append(number)
            return Died("the node died")
        return None

    store = tmp_path / "store"
    cluster = Here(tmp_path / "nodes", kill)
    plan = plan_of(place, store, attacks=attacks, defenses=defenses, eps=[1])
    summary = drive(place, plan, tmp_path / "run", cluster, store, saving=Saving(2))
    assert lost == [0]
    assert (summary.computed, summary.found, summary.failures) == (9, 0, [])
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")

    sent = [what for what in cluster.log if what[1].startswith("sent")]
    # The second defense waits for the weights that it shares with the first; the third one waits
    # for its transfer source, but is trained meanwhile. Node a died, so b goes on.
    assert sent[:2] == [(0, "sent to a"), (2, "sent to a")]
    assert (0, "sent to b") in sent
    assert [job.alone for job in cluster.jobs[:2]] == [False, True]
    settled = Counter(entry for entry in cluster.log if entry[1] in ("computed", "found"))
    computed = {(number, "computed"): 3 for number in range(3)}
    assert settled == computed | {(0, "found"): 1}  # the clean pass, of the worker that was lost
    again = drive(place, plan, tmp_path / "run", Here(tmp_path / "nodes"), store, saving=Saving(2))
    assert (again.computed, again.found) == (0, 9)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_a_cell_that_takes_three_workers_with_it_has_failed_and_no_other(
    place: Workplace, tmp_path: Path
) -> None:
    plan = plan_of(
        place, place.store, defenses=["resnet"], attacks=["fgsm", "pgd:steps=2", "mifgsm"]
    )

    def kill(number: int, report: Report) -> Died | None:
        at_work = isinstance(report.step, Begun) and report.step.attack.startswith("pgd")
        return Died("the kernel took the memory back") if at_work else None

    cluster = Here(tmp_path, kill)
    summary = drive(place, plan, tmp_path / "run", cluster, place.store)
    assert [what for _, what in cluster.log if what.startswith("sent")] == [
        *("sent to a", "sent to b", "sent to a", "sent to a")
    ]
    # One process has not seen the cells that came back from the earlier workers as computed.
    assert summary.computed + summary.found == 5
    assert [f.partition(" failed: ")[2] for f in summary.failures] == [
        "its worker died 3 times, at last because the kernel took the memory back"
    ] * 2
    failed = [r for r in map(read_cell, find_cells(tmp_path / "run")) if r.status == "failed"]
    assert {(r.about["attack"], r.cell["eps_255"]) for r in failed} == {
        ("pgd:steps=2", 1.0),
        ("pgd:steps=2", 2.5),
    }
    healed = drive(place, plan, tmp_path / "run", Here(tmp_path), place.store)
    assert (healed.computed, healed.found, healed.failures) == (2, 5, [])
    assert len(list(find_cells(tmp_path / "run"))) == 7


def test_an_entry_whose_workers_die_before_the_clean_scores_fails_whole(
    place: Workplace, tmp_path: Path
) -> None:
    plan = plan_of(place, place.store, defenses=["resnet"])
    cluster = Here(tmp_path, lambda number, report: Died("the node died"))
    summary = drive(place, plan, tmp_path / "run", cluster, place.store)
    assert len(summary.failures) == len(list(plan.cells())) == 3
    assert [what for _, what in cluster.log].count("sent to b") == 0  # it never said where it was


def test_a_worker_lost_now_and_then_fails_nothing(place: Workplace, tmp_path: Path) -> None:
    """What counts is how many a cell has cost, not how many the run has."""
    plan = plan_of(place, place.store, defenses=["resnet"], attacks=["fgsm", "pgd:steps=2"])
    seen: set[tuple[str, float]] = set()

    def kill(number: int, report: Report) -> Died | None:
        step = report.step
        if not isinstance(step, Settled) or step.found or (step.attack, step.eps_255) in seen:
            return None
        seen.add((step.attack, step.eps_255))
        return Died("the node died")

    summary = drive(place, plan, tmp_path / "run", Here(tmp_path, kill), place.store)
    assert len(seen) == 5
    assert summary.failures == []
    assert len(list(find_cells(tmp_path / "run"))) == 5


def test_what_a_plugin_raises_fails_its_cells_at_once(
    place: Workplace, tmp_path: Path, install_plugin: Any
) -> None:
    source = (
        "from dataclasses import dataclass\n"
        "from iqabench.api import Attack\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Broken(Attack):\n"
        "    summary = 'raises'\n"
        "    threat_model = 'linf'\n"
        "    access = 'white-box'\n"
        "    def perturb(self, regressor, images, mos, eps, noise):\n"
        "        raise ValueError('no such thing')\n"
    )
    point = {"iqabench.attacks": {"broken": "broken_plugin:Broken"}}
    install_plugin("acme-broken", point, {"broken_plugin": source})
    plan = plan_of(place, place.store, defenses=["resnet"], attacks=["broken", "fgsm"], eps=[1])
    cluster = Here(tmp_path)
    summary = drive(place, plan, tmp_path / "run", cluster, place.store)
    local = locally(plan, tmp_path / "local", place.store)
    assert summary.failures == local.failures
    assert len(local.failures) == 1
    assert len(cluster.jobs) == 1
    assert contents(tmp_path / "run") == contents(tmp_path / "local")


def test_a_run_broken_off_goes_on_with_what_came_back(place: Workplace, tmp_path: Path) -> None:
    plan = plan_of(place, place.store)
    count = 0

    def interrupt(number: int, report: Report) -> BaseException | None:
        nonlocal count
        count += isinstance(report.step, Settled)
        return KeyboardInterrupt() if count == 4 else None

    with pytest.raises(KeyboardInterrupt):
        drive(place, plan, tmp_path / "run", Here(tmp_path, interrupt), place.store)
    kept = {p: p.read_bytes() for p in find_cells(tmp_path / "run")}
    assert len(kept) == 3
    assert all(read_cell(path).status == "done" for path in kept)
    summary = drive(place, plan, tmp_path / "run", Here(tmp_path), place.store)
    assert (summary.computed, summary.found) == (3, 3)
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_no_more_jobs_than_workers_are_out(place: Workplace, tmp_path: Path) -> None:
    locally(plan := plan_of(place, place.store), tmp_path / "local", place.store)
    for workers, expected in ((1, ["sent to a", "finished"] * 2), (2, ["sent to a"] * 2)):
        cluster = Here(tmp_path)
        drive(place, plan, tmp_path / f"run{workers}", cluster, place.store, workers=workers)
        steps = [what for _, what in cluster.log if what in ("sent to a", "finished")]
        assert steps[: len(expected)] == expected
