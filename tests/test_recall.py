"""No pass is made twice, and nothing is remembered of images that are no longer what they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from planned_runs import cells, execute, plan_of
from support import Workplace
from torch import Tensor

from iqabench.api import Attack, Noise, Regressor, SignedAscent, Smoothed, SteppedAttack
from iqabench.contracts.regressor import scores_and_logits
from iqabench.counting import Counted, Tally
from iqabench.planning import attack
from iqabench.recall import Recall, can_recall
from iqabench.testing import (
    LinearRegressor,
    NoisyRegressor,
    SmoothRegressor,
    frozen,
    tiny_images,
    tiny_mos,
    tiny_noise,
)


def recalling() -> Recall:
    return Recall(frozen(SmoothRegressor()))


def passed(regressor: Regressor, images: Tensor) -> Tensor:
    with torch.no_grad():
        return regressor.logit(images)


def test_the_last_pass_is_remembered_as_it_was() -> None:
    recall, images = recalling(), tiny_images()
    logits = passed(recall, images)
    said = recall.said_of(images.detach())
    assert said is not None
    assert torch.equal(said.logits, logits)
    assert torch.equal(said.scores, scores_and_logits(recall.inner, images)[0])


def overwrite(images: Tensor) -> Tensor:
    return images.mul_(0.5)


@pytest.mark.parametrize(
    "change",
    [overwrite, torch.clone, lambda x: x[:4], lambda x: x.flip(0), lambda x: x.transpose(2, 3)],
)
def test_other_images_are_not_taken_for_them(change: Callable[[Tensor], Tensor]) -> None:
    recall, images = recalling(), tiny_images()
    passed(recall, images)
    assert recall.said_of(change(images)) is None


def test_memory_that_was_freed_is_not_taken_for_them() -> None:
    recall = recalling()
    for number in range(20):
        assert recall.said_of(tiny_images(seed=number)) is None
        passed(recall, tiny_images(seed=number))


def test_a_pass_with_a_gradient_is_not_remembered() -> None:
    recall, images = recalling(), tiny_images()
    recall.logit(images)
    assert recall.said_of(images) is None


@dataclass(frozen=True, kw_only=True)
class Secretive(Attack):
    """Asks about its images, then changes them where no version is counted."""

    summary = "secretive"

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        moved = images.clone()
        passed(regressor, moved)
        moved.data.add_(torch.where(images < 0.5, eps, -eps))
        return moved


def test_attacks_of_others_are_scored_by_what_they_return(place: Workplace, tmp_path: Path) -> None:
    execute(place, plan_of(place, [Secretive()], eps=[8]), tmp_path)
    _, columns = cells(tmp_path)["resnet", "secretive", 8.0]
    assert columns["score"] != columns["clean_score"]


def test_who_is_trusted() -> None:
    pgd, regressor = attack("pgd").component, SmoothRegressor()
    assert can_recall(pgd, regressor)
    assert not can_recall(Secretive(), regressor)
    assert not can_recall(attack("torchattacks:PGD").component, regressor)
    assert not can_recall(pgd, NoisyRegressor(regressor))

    class Own(LinearRegressor):
        """Somebody's."""

    assert not can_recall(pgd, Own())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"))


@pytest.mark.parametrize("spec", ["pgd:steps=3", "mifgsm", "square:steps=20", "apgd:steps=4"])
def test_cells_are_the_same_where_nothing_is_remembered(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    plan, asked = plan_of(place, [attack(spec).component], eps=[1, 2]), []
    said_of = Recall.said_of

    def listening(recall: Recall, images: Tensor) -> object:
        asked.append(said_of(recall, images))
        return asked[-1]

    monkeypatch.setattr(Recall, "said_of", listening)
    execute(place, plan, tmp_path / "remembering")
    assert len(asked) == 2  # one batch at each radius
    monkeypatch.setattr("iqabench.sweeping.can_recall", lambda *_: False)
    monkeypatch.setattr("iqabench.looking.can_recall", lambda *_: False)
    execute(place, plan, tmp_path / "forgetful")
    first, second = cells(tmp_path / "remembering"), cells(tmp_path / "forgetful")
    assert {name: columns for name, (_, columns) in first.items()} == {
        name: columns for name, (_, columns) in second.items()
    }
    if spec.startswith("pgd"):
        assert any(asked)  # the last step was the best of every image


@dataclass(frozen=True, kw_only=True)
class Scaled(SteppedAttack):
    """Looks around as far as its ball is wide."""

    summary = "scaled"

    def ascent(self, eps: float) -> SignedAscent:
        return replace(super().ascent(eps), slope=Smoothed(2, eps))


def test_radii_with_slopes_of_their_own_share_none() -> None:
    scaled, regressor = Scaled(steps=2), frozen(SmoothRegressor())
    images, radii = tiny_images(), [4 / 255, 64 / 255]
    found = list(scaled.sweep(regressor, images, tiny_mos(), radii, tiny_noise()))
    for eps, moved in zip(radii, found, strict=True):
        alone = scaled.perturb(regressor, images, tiny_mos(), eps, tiny_noise())
        assert torch.equal(moved, alone)


@pytest.mark.parametrize("objective", ["reflect", "both"])
@pytest.mark.parametrize(
    "spec",
    [
        "pgd:steps=3",
        "pgd:steps=11",
        "pgd:steps=2,restarts=2",
        "mifgsm:steps=4",
        "score_reflection",
        "score_reflection:steps=3",
        "smoothed_gradient:steps=2,samples=3",
        "nes:steps=2,pairs=3",
        "spsa:steps=21,pairs=1",
    ],
)
def test_passes_of_stepped_attacks_are_what_they_say(spec: str, objective: str) -> None:
    joined = spec + ("," if ":" in spec else ":") + f"objective={objective}"
    stepped, tally, images = attack(joined).component, Tally(), tiny_images()
    counted = frozen(Counted(SmoothRegressor(), tally))
    radii = [1 / 255, 2 / 255, 4 / 255]
    together = radii if stepped.shares_work else radii[:1]
    found = list(stepped.sweep(counted, images, tiny_mos(), together, tiny_noise()))
    said = stepped.passes(len(together))
    assert said is not None
    assert (tally.forwards, tally.backwards) == (8 * said.forwards, 8 * said.backwards)
    for eps, moved in zip(together, found, strict=True):
        alone = stepped.perturb(counted, images, tiny_mos(), eps, tiny_noise())
        assert torch.equal(moved, alone)
