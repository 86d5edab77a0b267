"""Clean scores out of the first attack's own pass: the same bytes, or a pass of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from planned_runs import cells, execute, fgsm, plan_of, with_defense
from support import Workplace
from torch import Tensor, nn

from iqabench.api import (
    Attack,
    Backbone,
    Defense,
    Noise,
    Regressor,
    global_average,
    single_steps,
)
from iqabench.clean import clean_scores
from iqabench.contracts.objective import make_goal
from iqabench.models import Models
from iqabench.planning import attack
from iqabench.recall import KNOWN
from iqabench.results import CellRecord, Columns

Found = tuple[CellRecord, Columns]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lists the clean passes that were made."""
    made: list[str] = []

    def counted(*args: object) -> object:
        made.append("clean")
        return clean_scores(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("iqabench.entry_run.clean_scores", counted)
    return made


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trusts the code of this file as if it were iqabench's."""
    monkeypatch.setattr("iqabench.recall.KNOWN", (*KNOWN, __name__))


def pgd() -> Attack:
    return attack("pgd:steps=2").component


def facts(one: Found) -> tuple[object, ...]:
    """What a cell says, but for costs and where it was made."""
    record, columns = one
    return record.key, record.cell, record.metrics, record.distance, columns


def test_the_first_attack_finds_the_clean_scores_and_all_cells_are_the_same(
    place: Workplace, tmp_path: Path, passes: list[str]
) -> None:
    looking = execute(place, plan_of(place, [fgsm(), pgd()], eps=[1, 2]), tmp_path / "looking")
    assert passes == []
    scoring = execute(place, plan_of(place, [pgd(), fgsm()], eps=[1, 2]), tmp_path / "scoring")
    assert passes == ["clean"]
    assert looking == scoring
    assert (looking.computed, looking.failures) == (5, [])
    first, second = cells(tmp_path / "looking"), cells(tmp_path / "scoring")
    assert {name: facts(one) for name, one in first.items()} == {
        name: facts(one) for name, one in second.items()
    }
    cost = next(r.cost or {} for (_, spec, _), (r, _) in first.items() if spec == "clean")
    assert (cost["forwards"], cost["seconds"]) == (0, 0.0)


def test_clean_scores_that_are_there_are_not_looked_for(
    place: Workplace, tmp_path: Path, passes: list[str]
) -> None:
    execute(place, plan_of(place, [pgd()], eps=[1]), tmp_path)
    again = execute(place, plan_of(place, [fgsm()], eps=[1]), tmp_path)
    assert (again.computed, again.found, passes) == (1, 1, ["clean"])


def test_an_attack_that_needs_clean_scores_gets_them(
    place: Workplace, tmp_path: Path, passes: list[str]
) -> None:
    first = attack("fgsm:objective=rank_reverse").component
    summary = execute(place, plan_of(place, [first], eps=[1]), tmp_path)
    assert (summary.computed, summary.failures, passes) == (2, [], ["clean"])


@dataclass(frozen=True, kw_only=True)
class Claims(Attack):
    """Says that it looks at the clean images first."""

    summary = "claims"
    how: str = "elsewhere"

    @property
    def looks_first(self) -> bool:
        return True

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        return next(self.sweep(regressor, images, mos, [eps], noise))

    def sweep(
        self,
        regressor: Regressor,
        images: Tensor,
        mos: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        if self.how == "raise" and max(eps_list) > 0:
            raise RuntimeError("broken")
        start = images.clone() if self.how == "elsewhere" else images
        goal = make_goal("raise", regressor, start, mos, noise)
        for adversarial in single_steps(goal, regressor, start, eps_list, noise):
            yield adversarial + (1 if self.how == "range" and max(eps_list) > 0 else 0)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(("how", "failed"), [("elsewhere", 0), ("raise", 1), ("range", 1)])
def test_clean_scores_do_not_depend_on_what_the_first_attack_does(
    place: Workplace, tmp_path: Path, passes: list[str], how: str, failed: int
) -> None:
    summary = execute(place, plan_of(place, [Claims(how=how), pgd()], eps=[2]), tmp_path / "one")
    assert (len(summary.failures), passes) == (failed, ["clean"])
    execute(place, plan_of(place, [pgd()], eps=[2]), tmp_path / "other")
    first, second = cells(tmp_path / "one"), cells(tmp_path / "other")
    for name, one in second.items():
        assert facts(first[name]) == facts(one)


class Rounding(Regressor):
    """Its scores differ in the last bits where a gradient is wanted."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.channels[-1], 1)

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        logits: Tensor = self.head(global_average(self.backbone(images)))[:, 0]
        return logits * (1 + 1e-6) if torch.is_grad_enabled() else logits


@dataclass(frozen=True, kw_only=True)
class Rounds(Defense):
    """Builds it."""

    summary = "rounds"

    def build(self, backbone: Backbone) -> Regressor:
        return Rounding(backbone)


@pytest.mark.usefixtures("trusted")
def test_a_network_that_rounds_otherwise_under_gradients_gets_a_pass_of_its_own(
    place: Workplace, tmp_path: Path, passes: list[str]
) -> None:
    plan = with_defense(plan_of(place, [fgsm()], eps=[2]), Rounds())
    plan = dataclasses.replace(plan, entries=plan.entries[1:])
    summary = execute(place, plan, tmp_path)
    assert (summary.computed, summary.failures, passes) == (2, [], ["clean"])


def test_code_of_others_is_not_trusted_with_clean_scores(
    place: Workplace, tmp_path: Path, passes: list[str]
) -> None:
    honest = plan_of(place, [Claims(how="honest")], eps=[2])
    execute(place, honest, tmp_path / "attack")
    assert passes == ["clean"]
    plan = with_defense(plan_of(place, [fgsm()], eps=[2]), Rounds())
    execute(place, dataclasses.replace(plan, entries=plan.entries[1:]), tmp_path / "defense")
    assert passes == ["clean"] * 2


@pytest.mark.parametrize("defense", ["cprl", "nima", "sat", "denoise", "kwta", "jpeg+resnet"])
def test_our_defenses_are_looked_at(
    place: Workplace, tmp_path: Path, passes: list[str], defense: str
) -> None:
    assert place.run("--dataset", "biq2021", "--defense", defense, "--out", str(tmp_path)) == 0
    assert passes == []


@dataclass(frozen=True, kw_only=True)
class Meddles(Attack):
    """Changes the network that it attacks."""

    summary = "meddles"
    how: str = "weights"

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        if eps > 0:
            changes: dict[str, Callable[[], object]] = {
                "weights": lambda: next(regressor.parameters()).data.mul_(1.5),
                "mode": regressor.train,
                "norms": lambda: next(regressor.buffers()).add_(1),
                "hooks": lambda: next(regressor.children()).register_forward_hook(print),
                "frozen": lambda: regressor.requires_grad_(True),
                "raise": regressor.train,
            }
            changes[self.how]()
        if self.how == "raise" and eps > 0:
            raise RuntimeError("boom")
        return images


@pytest.mark.parametrize("how", ["weights", "mode", "norms", "hooks", "frozen", "raise"])
def test_an_attack_that_changes_the_network_fails_alone(
    place: Workplace, tmp_path: Path, how: str
) -> None:
    meddling = plan_of(place, [Meddles(how=how), fgsm(), pgd()], eps=[2])
    [line] = execute(place, meddling, tmp_path / "one").failures
    assert "the attack changed the defense (" in line
    assert ("boom" in line) == (how == "raise")
    execute(place, plan_of(place, [fgsm(), pgd()], eps=[2]), tmp_path / "other")
    first, second = cells(tmp_path / "one"), cells(tmp_path / "other")
    assert len(second) == 3
    for name, one in second.items():
        assert facts(first[name]) == facts(one)


def test_a_network_that_cannot_be_made_anew_fails_the_cells_that_are_left(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    makes, defended = [1], Models.defended

    def once(*args: object) -> Regressor:
        if not makes:
            raise OSError("no room")
        makes.pop()
        return defended(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Models, "defended", once)
    plan = plan_of(place, [fgsm(), Meddles(), pgd()], eps=[2])
    first, second = execute(place, plan, tmp_path).failures
    assert "the attack changed the defense" in first
    assert "no room" in second
    statuses = [record.status for record, _ in cells(tmp_path).values()]
    assert sorted(statuses) == ["done", "done", "failed", "failed"]


class Counting(Rounding):
    """Counts its passes in a buffer, which is its own affair."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.register_buffer("passes", torch.zeros(()))

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        passes = self.get_buffer("passes")
        passes += 1
        logits: Tensor = self.head(global_average(self.backbone(images)))[:, 0]
        return logits


@dataclass(frozen=True, kw_only=True)
class Counts(Rounds):
    """Builds it."""

    summary = "counts"

    def build(self, backbone: Backbone) -> Regressor:
        return Counting(backbone)


def test_what_a_network_changes_itself_is_no_attack_s_doing(
    place: Workplace, tmp_path: Path
) -> None:
    attacks = [fgsm(), Meddles(how="mode"), pgd()]
    summary = execute(place, with_defense(plan_of(place, attacks, eps=[2]), Counts()), tmp_path)
    assert summary.computed == 6
    assert all("meddles" in line for line in summary.failures)
    assert len(summary.failures) == 2  # one for each defense
