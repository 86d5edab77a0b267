"""Attacks and defenses that stand in the way of a run, and those that ask much of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from planned_runs import cells, execute, fgsm, plan_of, with_defense
from support import Workplace
from torch import Tensor, nn

from iqabench.api import (
    Attack,
    AttackBatch,
    Backbone,
    Defense,
    Noise,
    ObjectiveAttack,
    Regressor,
    global_average,
    pixel_gradient,
    project,
    single_steps,
    state,
)
from iqabench.contracts.attack import Access
from iqabench.progress import Silent
from iqabench.results import CellRecord
from iqabench.running import prepare


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"))


@dataclass(frozen=True, kw_only=True)
class Broken(Attack):
    """Breaks one rule at one radius."""

    summary = "broken"
    how: str = "raise"

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        if eps * 255 < 1.5:
            return images.clone()
        moved = {
            "ball": (images + 2 * eps).clamp(0, 1),
            "range": images + eps,
            "nan": images * torch.nan,
            "shape": images[:, :1],
            "none": None,
        }
        if self.how == "raise":
            raise RuntimeError("two\nlines")
        if self.how == "place":
            images -= eps / 2
            return images
        return moved[self.how]  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raise", "RuntimeError: two lines"),
        ("ball", "more than eps = 2/255"),
        ("range", "outside [0, 1]"),
        ("nan", "NaN"),
        ("shape", "attack returned (12, 1, 32, 32)"),
        ("none", "NoneType, not a tensor"),
        ("place", "in place"),
    ],
)
def test_a_cell_that_breaks_a_rule_fails_alone(
    place: Workplace, tmp_path: Path, how: str, message: str
) -> None:
    plan = plan_of(place, [Broken(how=how), fgsm()], eps=[1, 2])
    summary = execute(place, plan, tmp_path)
    [line] = summary.failures
    assert message in line
    assert "\n" not in line
    assert "broken:how=" in line or how == "raise"
    found = cells(tmp_path)
    failed = [record for record, _ in found.values() if record.status == "failed"]
    assert [r.cell["eps_255"] for r in failed] == [2.0]
    assert summary.computed == 4
    again = execute(place, plan, tmp_path)  # failed cells are tried again, the others found
    assert (again.computed, again.found, len(again.failures)) == (0, 4, 1)


@dataclass(frozen=True, kw_only=True)
class Eager(Attack):
    """Does all its work when it is called, on the images themselves."""

    summary = "eager"

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        return images.clone()

    def sweep(
        self,
        regressor: Regressor,
        images: Tensor,
        mos: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        images.mul_(0.5)
        return iter([images.clone() for _ in eps_list])


def test_images_changed_in_place_by_a_sweep_that_is_not_lazy_are_noticed(
    place: Workplace, tmp_path: Path
) -> None:
    summary = execute(place, plan_of(place, [Eager()], eps=[1]), tmp_path)
    assert "changed its input images in place" in summary.failures[0]


@dataclass(frozen=True, kw_only=True)
class Restless(Attack):
    """Moves even at eps 0."""

    summary = "restless"

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        return project(images + 1 / 255, images, max(eps, 1 / 255))


def test_an_attack_that_moves_at_eps_0_fails_its_self_check(
    place: Workplace, tmp_path: Path
) -> None:
    summary = execute(place, plan_of(place, [Restless()], eps=[1]), tmp_path)
    assert "more than eps = 0/255" in summary.failures[0]


@dataclass(frozen=True, kw_only=True)
class Universal(Attack):
    """One perturbation for all images, fitted on training images."""

    summary = "universal"
    needs_fit: ClassVar[bool] = True
    delta: Tensor | None = state()

    def fit(
        self, regressor: Regressor, batches: Iterable[AttackBatch], eps: float, noise: Noise
    ) -> Universal:
        assert noise.uniform("start", (2,)).shape == (1, 2)
        assert len(list(batches)) == len(list(batches)) == 2  # as often as it asks
        total, seen = torch.zeros(()), 0
        for batch in batches:
            seen += len(batch.images)
            _, gradient = pixel_gradient(
                lambda model, x, n: model.logit(x, n), regressor, batch.images, batch.noise
            )
            total = total + gradient.sum(0)
        assert seen == 24
        return self.with_state(delta=total.sign() * eps)

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        assert self.delta is not None
        return project(images + self.delta, images, eps)


def test_an_attack_that_needs_a_fit_is_fitted_on_training_images_for_each_radius(
    place: Workplace, tmp_path: Path
) -> None:
    summary = execute(place, plan_of(place, [Universal()], eps=[1, 4]), tmp_path)
    assert summary.failures == []
    found = cells(tmp_path)
    for eps in (1.0, 4.0):
        assert max(found["resnet", "universal", eps][1]["linf_255"]) == pytest.approx(eps, abs=1e-3)


@dataclass(frozen=True, kw_only=True)
class Transfer(ObjectiveAttack):
    """One step on the gradient of another defense."""

    summary = "transfer"
    access: ClassVar[Access] = "transfer"
    source: str = "resnet:pool=max"

    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        assert self.facts is not None
        source = self.facts.sources[self.source]
        goal = self.goal(source, images, mos, noise)
        return next(single_steps(goal, source, images, [eps], noise))


def test_the_source_of_a_transfer_attack_is_trained_and_is_part_of_the_key(
    place: Workplace, tmp_path: Path
) -> None:
    plan = plan_of(place, [Transfer(objective="raise")], eps=[1])
    assert execute(place, plan, tmp_path).failures == []
    record, _ = cells(tmp_path)["resnet", "transfer:objective=raise", 1.0]
    sources = record.cell["attack"]["sources"]
    assert list(sources) == ["resnet:pool=max"]
    assert sources["resnet:pool=max"] != record.cell["defense"]["weights_sha256"]
    assert record.cost is not None
    assert record.cost["forwards"] == 0  # the attacked model itself was never asked


class Noisy(Regressor):
    stochastic = True

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.out_channels, 1)

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        if noise is None:
            raise ValueError("needs noise")
        offset = noise.normal("offset", (), like=images)
        out: Tensor = self.head(global_average(self.backbone(images))).squeeze(1) + 0.1 * offset
        return out


@dataclass(frozen=True, kw_only=True)
class Jitter(Defense):
    """Adds noise to its logit."""

    summary = "noisy logit"

    def build(self, backbone: Backbone) -> Regressor:
        return Noisy(backbone)


def test_a_stochastic_defense_is_scored_and_attacked_over_draws(
    place: Workplace, tmp_path: Path
) -> None:
    plan = with_defense(plan_of(place, eps=[1], score_draws=3, attack_draws=4), Jitter())
    assert execute(place, plan, tmp_path).failures == []
    found = cells(tmp_path)
    record, columns = found["jitter", "fgsm", 1.0]
    draws = [columns[f"score_{d}"] for d in range(3)]
    assert "score_3" not in columns
    assert len({tuple(d) for d in draws}) == 3
    means = [sum(values) / 3 for values in zip(*draws, strict=True)]
    assert columns["score"] == pytest.approx(means)
    assert record.cell["score_draws"] == 3
    assert record.cell["attack"]["draws"] == 4
    assert record.cell["attack"]["routes"] == ["own", "expectation"]
    assert record.cost is not None
    # One draw, four in expectation, and four for each of the two to choose the better one.
    assert (record.cost["forwards"], record.cost["backwards"]) == (1 + 4 + 2 * 4, 1 + 4)
    plain, _ = found["resnet", "fgsm", 1.0]
    assert (plain.cell["score_draws"], plain.cell["attack"]["draws"]) == (1, None)
    again = execute(place, plan, tmp_path)
    assert again.computed == 0


@dataclass(frozen=True, kw_only=True)
class Faulty(Jitter):
    """Fails in a way of choice."""

    how: str = "build"
    when: ClassVar[str] = ""

    def build(self, backbone: Backbone) -> Regressor:
        if self.how == "build":
            raise RuntimeError("no such layer")
        regressor = Misbehaved(backbone)
        regressor.how = self.how
        return regressor


class Misbehaved(Noisy):
    stochastic = False
    how = ""

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        out: Tensor = self.head(global_average(self.backbone(images)))
        if self.training:
            return out.squeeze(1)
        return out * torch.nan if self.how == "nan" else out


@pytest.mark.parametrize(
    ("how", "message"),
    [("build", "no such layer"), ("shape", "returned shape (12, 1)"), ("nan", "shape (12, 1)")],
)
def test_a_defense_that_fails_takes_its_own_cells_with_it_and_no_others(
    place: Workplace, tmp_path: Path, how: str, message: str
) -> None:
    plan = with_defense(plan_of(place, eps=[1]), Faulty(how=how))
    summary = execute(place, plan, tmp_path)
    assert len(summary.failures) == 3  # clean, fgsm and pgd
    assert all(message in line for line in summary.failures)
    assert summary.computed == 3


def test_a_failure_is_forgotten_by_the_plan_that_tries_it_again_and_by_no_other(
    place: Workplace, tmp_path: Path
) -> None:
    """Where training failed the key lacks the weights, so success would not replace the record."""
    failing = with_defense(plan_of(place, eps=[1]), Faulty(how="build"))
    execute(place, failing, tmp_path)

    def failed() -> list[CellRecord]:
        return [r for r, _ in cells(tmp_path).values() if r.status == "failed"]

    assert len(failed()) == 3
    other = dataclasses.replace(
        failing, entries=tuple(dataclasses.replace(e, recipe_name="x") for e in failing.entries)
    )
    prepare(tmp_path, other, Silent())
    assert len(failed()) == 3
    prepare(tmp_path, failing, Silent())
    assert failed() == []
