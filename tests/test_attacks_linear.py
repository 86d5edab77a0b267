"""METHODS section 10 on a linear regressor, where every optimum is known."""

from __future__ import annotations

import pytest
import torch
from support import Linear, grid_images, noise_for
from torch import Tensor

from iqabench import budget
from iqabench.api import Attack, Facts, Noise
from iqabench.planning import attack

EPS = 4 / 255
IMAGES = grid_images()
MOS = torch.tensor([0.9, 0.1, 0.7, 0.5, 0.2, 0.8])
SIDE = torch.where(MOS > 0.5, 1.0, -1.0)


def run(text: str, regressor: Linear, images: Tensor = IMAGES, mos: Tensor = MOS) -> Tensor:
    ready: Attack = attack(text).component
    noise = noise_for(images)
    logits = regressor.logit(images).tolist()
    ready = ready.prepare(Facts(noise.image_ids, mos.tolist(), logits))
    adversarial = ready.perturb(regressor, images, mos, EPS, noise)
    return budget.check(images, adversarial, eps=EPS)


def logit_change(text: str, regressor: Linear) -> Tensor:
    return regressor.logit(run(text, regressor)) - regressor.logit(IMAGES)


@pytest.mark.parametrize(
    "text",
    [
        "fgsm:objective=reflect",
        "score_reflection",
        "score_reflection:steps=10",
        "pgd:objective=reflect",
        "pgd:objective=reflect,restarts=3,step=0",
        "mifgsm:objective=reflect",
        "apgd:steps=5",
        "apgd:steps=20,restarts=2",
        "smoothed_gradient:steps=4,samples=3",
    ],
)
def test_reflection_reaches_the_optimum_exactly(text: str) -> None:
    regressor = Linear()
    optimum = -SIDE * EPS * regressor.weight.abs().sum()
    torch.testing.assert_close(logit_change(text, regressor), optimum, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "share"),
    [("square:steps=2000", 0.95), ("nes", 0.75), ("spsa", 0.75), ("random_noise", 0.1)],
)
def test_what_sees_scores_alone_comes_near_the_optimum(text: str, share: float) -> None:
    regressor = Linear()
    optimum = -SIDE * EPS * regressor.weight.abs().sum()
    reached = logit_change(text, regressor) / optimum
    assert (reached >= share).all()
    assert (reached <= 1 + 1e-5).all()


def test_reflection_lowers_good_images_and_raises_bad_ones() -> None:
    change = logit_change("score_reflection", Linear())
    assert (change[MOS > 0.5] < 0).all()
    assert (change[MOS <= 0.5] > 0).all()  # 0.5 itself counts as bad


def test_the_median_threshold_splits_the_attacked_images_in_half() -> None:
    change = logit_change("score_reflection:threshold=median", Linear())
    assert ((change < 0) == (MOS.double().quantile(0.5) < MOS)).all()
    skewed = torch.tensor([0.6, 0.7, 0.75, 0.8, 0.9, 0.95])
    regressor = Linear()
    for threshold, lowered in (("0.5", 6), ("median", 3)):
        moved = run(f"score_reflection:threshold={threshold}", regressor, mos=skewed)
        fell = regressor.logit(moved) < regressor.logit(IMAGES)
        assert int(fell.sum()) == lowered


@pytest.mark.parametrize(("objective", "sign"), [("raise", 1), ("lower", -1)])
def test_raise_and_lower_move_every_image_one_way(objective: str, sign: int) -> None:
    regressor = Linear()
    change = logit_change(f"fgsm:objective={objective}", regressor)
    optimum = torch.full((6,), float(sign)) * EPS * regressor.weight.abs().sum()
    torch.testing.assert_close(change, optimum, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "fgsm:objective=both",
        "pgd:objective=both",
        "mifgsm:objective=both",
        "apgd:objective=both,steps=5",
        "square:objective=both,steps=200",
    ],
)
def test_both_goes_the_way_that_moves_the_score_more(text: str) -> None:
    class Bent(Linear):
        """Rises three times as fast as it falls, on every second image."""

        def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
            move = super().logit(images) - Linear.logit(self, IMAGES)
            steep = torch.arange(len(images)) % 2 == 0
            up, down = torch.where(steep, 3.0, 1.0), torch.where(steep, 1.0, 3.0)
            return torch.where(move > 0, up * move, down * move)

    regressor = Bent()
    moved = regressor.logit(run(text, regressor))
    assert (moved[::2] > 0).all()
    assert (moved[1::2] < 0).all()


def test_reflect_pred_uses_the_clean_score_in_place_of_the_label() -> None:
    regressor = Linear(offset=-float(Linear().logit(IMAGES).median()) + 1e-3)
    good = regressor(IMAGES) > 0.5
    assert 0 < int(good.sum()) < len(IMAGES)
    change = logit_change("fgsm:objective=reflect_pred", regressor)
    assert ((change < 0) == good).all()


def test_mse_pushes_the_score_away_from_the_label() -> None:
    regressor = Linear()
    error = regressor(IMAGES) - MOS
    change = logit_change("fgsm", regressor)
    assert (change.sign() == error.sign()).all()


def test_mse_at_f_equal_y_has_no_gradient_and_is_rescued_by_a_random_start() -> None:
    regressor = Linear()
    exact = regressor(IMAGES)
    assert torch.equal(run("fgsm", regressor, mos=exact), IMAGES)
    for text in ("pgd", "pgd:restarts=2"):
        moved = regressor(run(text, regressor, mos=exact))
        best = torch.sigmoid(regressor.logit(IMAGES).abs() - EPS * regressor.weight.abs().sum())
        assert ((moved - exact).abs() > 0.5 * (exact - best).abs().min()).all(), text
        assert ((moved - exact).abs() > 1e-3).all()


def test_rank_reverse_turns_the_predicted_order_against_the_labels() -> None:
    regressor = Linear(scale=0.5)  # eps is enough to reach every target
    facts = Facts(noise_for(IMAGES).image_ids, MOS.tolist(), regressor.logit(IMAGES).tolist())
    targets = torch.tensor([facts.reversed_logits()[i] for i in facts.image_ids])
    assert (torch.argsort(targets) == torch.argsort(MOS).flip(0)).all()
    assert sorted(targets.tolist()) == pytest.approx(sorted(facts.logits))
    moved = regressor.logit(run("pgd:objective=rank_reverse,steps=40,step=0.05", regressor))
    before = (regressor.logit(IMAGES) - targets).abs()
    reachable = before < EPS * regressor.weight.abs().sum()
    assert reachable.any()
    assert ((moved - targets).abs()[reachable] < 0.2 * before[reachable] + 0.05).all()


def test_pgd_keeps_the_best_iterate_not_the_last() -> None:
    class Ridge(Linear):
        """Highest in the middle of the ball, so full steps overshoot."""

        peak: Tensor

        def logit(self, images: Tensor, noise: object = None) -> Tensor:
            return -(super().logit(images) - self.peak).square()

    regressor = Ridge()
    regressor.peak = Linear.logit(regressor, IMAGES) + 0.3 * EPS * regressor.weight.abs().sum()
    moved = run("pgd:objective=raise,steps=3,step=1", regressor)
    assert (regressor.logit(moved) >= regressor.logit(IMAGES)).all()
    finer = run("pgd:objective=raise,steps=10,step=0.1", regressor)
    assert (regressor.logit(finer) > regressor.logit(IMAGES)).all()


@pytest.mark.parametrize("text", ["fgsm", "score_reflection", "pgd:objective=reflect"])
def test_a_sweep_equals_each_radius_alone(text: str) -> None:
    regressor, noise = Linear(), noise_for(IMAGES)
    ready = attack(text).component
    radii = [4 / 255, 0.5 / 255, 0.0]
    together = list(ready.sweep(regressor, IMAGES, MOS, radii, noise))
    for eps, adversarial in zip(radii, together, strict=True):
        alone = ready.perturb(regressor, IMAGES, MOS, eps, noise)
        assert torch.equal(adversarial, alone)
    assert torch.equal(together[2], IMAGES)


def test_one_grey_level_survives_rounding_to_8_bits() -> None:
    images = grid_images(margin=0)
    adversarial = attack("fgsm:objective=raise").component.perturb(
        Linear(), images, MOS, 1 / 255, noise_for(images)
    )
    rounded = budget.round_to_8bit(adversarial)
    assert float((rounded - adversarial).abs().max()) < 1e-6
    assert float((rounded - images).abs().max()) == pytest.approx(1 / 255, abs=1e-6)
    assert float(rounded.min()) >= 0
    assert float(rounded.max()) <= 1


def test_a_saturated_score_does_not_hide_from_reflection() -> None:
    regressor = Linear(offset=60.0)  # the float32 sigmoid is exactly 1 and its derivative 0
    assert float(regressor(IMAGES).min()) == 1.0
    change = logit_change("score_reflection", regressor)
    assert (change.abs() > 0.5 * EPS * regressor.weight.abs().sum()).all()


@pytest.mark.parametrize(
    "text",
    [
        "pgd:steps=0",
        "pgd:restarts=0",
        "pgd:step=-1",
        "score_reflection:steps=0",
        "fgsm:threshold=2",
    ],
)
def test_senseless_parameters_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        attack(text)
