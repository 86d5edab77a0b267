from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from planned_runs import cells, execute, fgsm, plan_of
from support import Workplace
from torch import Tensor

from iqabench.api import (
    Facts,
    Noise,
    ObjectiveAttack,
    Regressor,
    single_steps,
)
from iqabench.leaderboard.load import load_board
from iqabench.leaderboard.tables import remarks
from iqabench.locking import locked
from iqabench.results import find_cells
from iqabench.training import Training


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"))


def test_a_plan_becomes_one_file_per_cell_and_is_found_again(
    place: Workplace, tmp_path: Path
) -> None:
    plan = plan_of(place, eps=[0.5, 1])
    first = execute(place, plan, tmp_path)
    assert (first.computed, first.found, first.failures) == (5, 0, [])
    stamps = {p: p.stat().st_mtime_ns for p in find_cells(tmp_path)}
    assert len(stamps) == len(list(plan.cells())) == 5
    (card,) = (tmp_path / "cards").iterdir()
    (checkpoint,) = place.store.glob(f"checkpoints/*-{card.stem}")
    assert card.read_bytes() == (checkpoint / "card.json").read_bytes()
    again = execute(place, plan, tmp_path)
    assert (again.computed, again.found) == (0, 5)
    assert {p: p.stat().st_mtime_ns for p in find_cells(tmp_path)} == stamps


def test_a_cell_found_again_says_what_is_true_now(place: Workplace, tmp_path: Path) -> None:
    execute(place, plan_of(place, eps=[1], reference=None), tmp_path)
    assert not any(record.about["reference"] for record, _ in cells(tmp_path).values())
    again = execute(place, plan_of(place, eps=[1]), tmp_path)
    assert (again.computed, again.found) == (0, 3)
    assert all(record.about["reference"] for record, _ in cells(tmp_path).values())


def test_the_batch_size_changes_no_number_and_no_key(place: Workplace, tmp_path: Path) -> None:
    execute(place, plan_of(place, batch_size=12), tmp_path / "a")
    execute(place, plan_of(place, batch_size=5), tmp_path / "b")
    a, b = cells(tmp_path / "a"), cells(tmp_path / "b")
    assert a.keys() == b.keys()
    for what, (record, columns) in a.items():
        assert record.key == b[what][0].key
        assert columns["logit"] == pytest.approx(b[what][1]["logit"], abs=1e-4)


def test_columns_hold_what_the_design_promises(place: Workplace, tmp_path: Path) -> None:
    execute(place, plan_of(place, eps=[0.5, 2]), tmp_path)
    found = cells(tmp_path)
    for eps in (0.5, 2.0):
        record, columns = found["resnet", "fgsm", eps]
        assert len(columns["image_id"]) == 12
        assert max(columns["linf_255"]) == pytest.approx(eps, abs=1e-3)
        assert columns["clean_score"] == found["resnet", "clean", 0.0][1]["score"]
        assert all(0 < s < 1 for s in columns["ssim"])
        assert all(30 < p < 70 for p in columns["psnr"])
        assert record.distance is not None
        assert record.distance["linf_255_max"] == pytest.approx(eps, abs=1e-3)
        fractional = eps == 0.5
        assert (record.metrics_8bit is None) == fractional
        for name in ("score_8bit", "linf_8bit_255"):
            assert all((value is None) == fractional for value in columns[name])
        assert "36 of its 12000 images" in " ".join(remarks(load_board(tmp_path).groups[0]))
    assert found["resnet", "clean", 0.0][1]["psnr"] == [None] * 12  # infinite


def test_one_gradient_serves_a_whole_fgsm_sweep(place: Workplace, tmp_path: Path) -> None:
    attack = fgsm()
    execute(place, plan_of(place, [attack], eps=[1, 2, 4, 8]), tmp_path)
    costs = [r.cost for (_, name, _), (r, _) in cells(tmp_path).items() if name != "clean"]
    for cost in costs:
        assert cost is not None
        assert (cost["forwards"], cost["backwards"]) == (1, 1)
        assert cost["eps_255_together"] == [1.0, 2.0, 4.0, 8.0]


def test_a_run_directory_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    from iqabench.errors import OutputError

    with locked(tmp_path / "run"), pytest.raises(OutputError, match="in use by another iqabench"):
        locked(tmp_path / "run").__enter__()
    with locked(tmp_path / "run"):
        pass


def test_only_our_own_leftovers_are_removed(tmp_path: Path) -> None:
    cell = tmp_path / "cells" / "demo" / "resnet"
    theirs = [
        tmp_path / ".notes.tmp",
        tmp_path / "sub" / ".leaderboard.csv.abcdefgh.tmp",
        tmp_path / ".cache.abcdefgh.tmp" / "file",
        cell / ".cell.json.swp.tmp",
    ]
    ours = [tmp_path / ".leaderboard.csv.abcdefgh.tmp", cell / ".x.json.01234_az.tmp"]
    for path in (*theirs, *ours):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    with locked(tmp_path):
        pass
    assert [p.exists() for p in theirs] == [True] * 4
    assert [p.exists() for p in ours] == [False] * 2


def test_a_request_that_came_to_nothing_leaves_no_run_directory(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()
    (tmp_path / "theirs").mkdir()
    with locked(tmp_path / "theirs"):
        pass
    assert (tmp_path / "theirs").exists()
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "run.json").write_text("{}")
    assert (tmp_path / "run" / "run.json").exists()


@dataclass(frozen=True, kw_only=True)
class Recorded(ObjectiveAttack):
    """Tells what it was asked."""

    summary = "recorded"
    asked: ClassVar[list[list[float]]] = []
    share: bool = True

    @property
    def shares_work(self) -> bool:
        return self.share

    def sweep(
        self,
        regressor: Regressor,
        images: Tensor,
        mos: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        self.asked.append([round(e * 255, 3) for e in eps_list])
        return single_steps(
            self.goal(regressor, images, mos, noise), regressor, images, eps_list, noise
        )

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        assert isinstance(self.facts, Facts)
        goal = self.goal(regressor, images, mos, noise)
        return next(single_steps(goal, regressor, images, [eps], noise))


@pytest.mark.parametrize(
    ("share", "asked"), [(True, [[1.0, 2.0, 4.0]]), (False, [[1.0], [2.0], [4.0]])]
)
def test_radii_are_computed_together_only_if_work_is_shared(
    place: Workplace, tmp_path: Path, share: bool, asked: list[list[float]]
) -> None:
    Recorded.asked.clear()
    execute(place, plan_of(place, [Recorded(share=share)], eps=[1, 2, 4]), tmp_path)
    assert Recorded.asked == asked
    Recorded.asked.clear()
    execute(place, plan_of(place, [Recorded(share=share)], eps=[1, 2, 3, 4]), tmp_path)
    assert Recorded.asked == [[3.0]]


def test_a_training_of_the_plan_is_the_chains_trained_part(place: Workplace) -> None:
    [entry] = plan_of(place).entries
    assert isinstance(entry.training, Training)
    assert entry.reference
    assert entry.shown == "resnet on biq2021"
