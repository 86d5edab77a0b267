"""A run on many workers, all in one process: what is sent out, tried again, and kept."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from support import Workplace

from iqabench.api import Component
from iqabench.checkpoints import Checkpoint
from iqabench.config import load_benchmark
from iqabench.data import DataHome
from iqabench.distributed.driving import Driver
from iqabench.distributed.jobs import Died, Files, Finished, Job, Node, Report, Setting, Told
from iqabench.distributed.ray_cluster import Share, share_of
from iqabench.distributed.working import work
from iqabench.errors import DeviceError, IqabenchError, UsageError
from iqabench.keeping import Saving
from iqabench.planning import Plan, make_plan
from iqabench.progress import Silent
from iqabench.results import find_cells, read_cell
from iqabench.running import Runner, Summary
from iqabench.steps import Begun, Settled
from iqabench.testing.rules import one_thread

Happens = Callable[[int, Report], BaseException | Died | None]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Jobs ask for one thread, in this very process; two of them sum floats in another order."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"))


def plan_of(place: Workplace, store: Path, **flags: object) -> Plan:
    flags = {"defenses": ["blur+resnet"], "attacks": ["fgsm"], "eps": [1, 2.5]} | flags
    home = DataHome(place.data, store, Silent())
    return make_plan(load_benchmark(place.config, flags), ["biq2021"], home, split=None)


def moved(packed: bytes, store: Path) -> bytes:
    """A job as a machine reads it that has a store of its own under the same name."""
    job = Job.unpack(packed)
    entry = job.entry
    test, train = (dataclasses.replace(s, store=store) for s in (entry.data.test, entry.data.train))
    data = dataclasses.replace(entry.data, test=test, train=train)
    training = dataclasses.replace(entry.training, data=data)
    own = dataclasses.replace(entry, data=data, training=training)
    return dataclasses.replace(
        job,
        plan=dataclasses.replace(job.plan, entries=(own,)),
        setting=dataclasses.replace(job.setting, store=store),
    ).pack()


class Here:
    """Nodes that are folders: jobs take turns, and what a test wants happens between steps."""

    def __init__(self, folder: Path, happens: Happens = lambda number, report: None) -> None:
        self.folder = folder
        self.happens = happens
        self.streams: dict[int, Generator[Report]] = {}
        self.dying: dict[int, Died] = {}
        self.log: list[tuple[int, str]] = []
        self.jobs: list[Job] = []

    def submit(
        self,
        number: int,
        packed: bytes,
        checkpoints: Mapping[str, Checkpoint],
        avoid: frozenset[str],
    ) -> None:
        node = min({"a", "b"} - avoid or {"a"})
        files = {key: one.files() for key, one in checkpoints.items()}

        def fetch(key: str) -> Files:
            return files[key]

        self.jobs.append(Job.unpack(packed))
        self.log.append((number, f"sent to {node}"))
        packed = moved(packed, self.folder / node)
        self.streams[number] = work(packed, fetch, Node(node, f"node {node}"))

    def wait(self) -> tuple[int, Told]:
        if self.dying:
            number, died = self.dying.popitem()
            del self.streams[number]
            return number, died
        number, stream = next(iter(self.streams.items()))
        del self.streams[number]  # to the end of the queue
        report = next(stream, None)
        if report is None:
            self.log.append((number, "finished"))
            return number, Finished()
        event = self.happens(number, report)
        if isinstance(event, Died):
            stream.close()
            if not isinstance(report.step, Begun):
                return number, event
            self.dying[number] = event  # what is begun is known before it does harm
        elif event is not None:
            raise event
        if isinstance(report.step, Settled):
            self.log.append((number, "found" if report.step.found else "computed"))
        self.streams[number] = stream
        return number, report

    def close(self) -> None:
        for stream in self.streams.values():
            stream.close()


def drive(
    place: Workplace, plan: Plan, run: Path, cluster: Here, store: Path, **more: Any
) -> Summary:
    run.mkdir(parents=True, exist_ok=True)
    saving = more.pop("saving", None)
    setting = Setting(place.data, store, Path.cwd(), "cpu", 1, saving)
    try:
        return Driver(run, setting, cluster, Silent(), **more).execute(plan)
    finally:
        cluster.close()


def locally(plan: Plan, run: Path, store: Path, saving: Saving | None = None) -> Summary:
    run.mkdir(parents=True, exist_ok=True)
    return Runner(run, store, torch.device("cpu"), Silent(), saving).execute(plan)


def contents(run: Path) -> dict[str, bytes | dict[str, Any]]:
    """Everything that is in a run, less what two runs of one process differ in too."""
    found: dict[str, bytes | dict[str, Any]] = {}
    for path in run.rglob("*"):
        name = path.relative_to(run).as_posix()
        if path.is_file() and name.startswith(("cells", "cards", "images", "splits")):
            found[name] = path.read_bytes()
            if path.suffix == ".json":
                document = json.loads(path.read_bytes())
                for part in ("cost", "environment", "seconds"):
                    document.pop(part, None)
                found[name] = document
    return found


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


def refusal(place: Workplace, run: Path, plan: Plan, **setting: Any) -> IqabenchError:
    """What a run ends with whose workers have another setting."""
    own = Setting(place.data, place.store, Path.cwd(), "cpu", 1)
    changed = dataclasses.replace(own, **setting)
    run.mkdir(exist_ok=True)
    cluster = Here(run / "nodes")
    with pytest.raises(IqabenchError) as caught:
        Driver(run, changed, cluster, Silent()).execute(plan)
    cluster.close()
    assert not list(find_cells(run))
    return caught.value


def test_a_node_that_is_set_up_otherwise_is_named(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(place, place.store)
    gone = refusal(place, tmp_path, plan, root=tmp_path / "elsewhere")
    assert isinstance(gone, UsageError)
    assert str(gone).startswith(f"node a: the data root {tmp_path / 'elsewhere'} is no folder here")
    other = refusal(place, tmp_path, plan, release="0.0.1")
    assert "that of the driver 0.0.1; install the same one" in str(other)
    if not torch.cuda.is_available():
        assert "no CUDA device here" in str(refusal(place, tmp_path, plan, device="cuda"))

    def without_plugin(packed: bytes) -> object:
        raise ModuleNotFoundError("No module named 'acme'")

    packed = Job(plan, Setting(None, tmp_path, tmp_path, "cpu", 1), {}, (), {}, frozenset(), False)
    message = packed.pack()
    monkeypatch.setattr(pickle, "loads", without_plugin)
    [report] = work(message, lambda key: {}, Node("a", "node a"))
    assert report.refusal is not None
    assert "No module named 'acme'" in report.refusal.message
    assert report.refusal.exit_code == 2


def test_other_images_on_a_node_are_refused_before_they_are_decoded(
    tmp_path: Path,
) -> None:
    place = Workplace(tmp_path / "place")
    plan = plan_of(place, place.store)
    image = plan.entries[0].data.test.rows[3].path
    whole = image.read_bytes()
    image.write_bytes(whole + b"x")
    changed = refusal(place, tmp_path / "run", plan)
    assert "node a: 1 of 12 images hold something else" in str(changed)
    assert str(image) in str(changed)
    image.unlink()
    missing = refusal(place, tmp_path / "run", plan)
    assert str(missing).startswith("node a: 1 of 12 images cannot be read")
    image.write_bytes(whole)
    drive(place, plan, tmp_path / "run", Here(tmp_path), place.store)
    image.unlink()  # the cache of the node is of the right files, whatever became of them
    side = dataclasses.replace(plan.entries[0].data.test, store=tmp_path / "a")
    side.check_files()


def test_other_versions_of_a_component_are_refused(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(place, place.store)
    cls: type[Component] = type(plan.attacks[0].component)
    monkeypatch.setattr(cls, "version", cls.version + 1)
    error = refusal(place, tmp_path, plan)
    meant, found = (f"iqabench/fgsm@{cls.version - one}" for one in (1, 0))
    assert f"here is {found}, the driver has {meant}" in str(error)


def test_weights_trained_otherwise_on_a_node_are_refused(place: Workplace, tmp_path: Path) -> None:
    plan = plan_of(place, place.store, defenses=["resnet"])
    locally(plan, tmp_path / "local", place.store)
    drive(place, plan, tmp_path / "first", Here(tmp_path), place.store)
    [card] = (tmp_path / "a" / "checkpoints").glob("*/card.json")
    document = json.loads(card.read_text())
    card.write_text(json.dumps(document | {"weights_sha256": "0" * 64}))
    with pytest.raises(UsageError, match="holds other weights than another machine of this run"):
        drive(place, plan, tmp_path / "second", Here(tmp_path), place.store)


class Nodes:
    """As much of the module ``ray`` as tells what its nodes have."""

    def __init__(self, *resources: dict[str, float]) -> None:
        self.resources = resources

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": r} for r in self.resources]


def test_a_share_is_what_a_node_has() -> None:
    small, big = {"CPU": 4.0}, {"CPU": 16.0, "GPU": 2.0}
    assert share_of(Nodes(small), "auto", 4, 1.0) == Share(4, 0)
    assert share_of(Nodes(small, big), "auto", 4, 0.5) == Share(4, 0.5)
    assert share_of(Nodes(small, big), "cpu", 16, 1.0).device == "cpu"
    for nodes, device, threads, why in (
        (Nodes(small), "cpu", 8, "has 8 CPU for a worker: the largest has 4 CPUs"),
        (Nodes(small), "cuda", 1, "and there are 0 GPUs"),
        (Nodes(small, big), "cuda:1", 1, "with --engine ray it is auto, cpu or cuda"),
    ):
        with pytest.raises(DeviceError, match=why):
            share_of(nodes, device, threads, 1.0)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--workers", "2"], "--workers is for --engine ray"),
        (["--engine", "ray", "--workers", "0"], "workers must be at least 1, got 0"),
        (["--engine", "ray", "--gpu-share", "1.5"], "part of one GPU or whole ones, got 1.5"),
        (["--engine", "ray", "--address", "127.0.0.1:1"], "no Ray cluster at '127.0.0.1:1': "),
        (["--engine", "ray", "--address", "ray://a:1"], "run the command on a machine of the"),
        (["--engine", "ray", "--address", "here"], "--address here: give host:port or 'auto'"),
        (["--engine", "ray"], "--engine ray needs ray: pip install 'iqabench[ray]'"),
    ],
)
def test_wrong_flags_of_engines_are_a_line(
    place: Workplace,
    flags: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    version, installed = metadata.version, flags != ["--engine", "ray"]

    def versions(name: str) -> str:
        if name == "ray" and not installed:
            raise metadata.PackageNotFoundError(name)
        return "2.60" if name == "ray" else version(name)

    monkeypatch.setattr(metadata, "version", versions)
    place.out = place.folder / "never"
    assert place.run("--dataset", "biq2021", *flags) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert not place.out.exists()
