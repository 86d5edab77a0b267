"""Median smoothing and its certificate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from support import Linear, grid_images, noise_for
from torch import Tensor

from iqabench.api import Noise, Regressor, median_bounds
from iqabench.chains import Chain
from iqabench.contracts.certificate import largest_l2, samples_needed
from iqabench.defenses.smoothing import MedianSmoothed
from iqabench.errors import ParamError
from iqabench.testing import check_defense

IMAGES = grid_images(margin=110)


def smoothed(spec: str = "smoothing:sigma=0.02,samples=9", size: int = 8) -> MedianSmoothed:
    [part] = Chain.parse(f"{spec}+resnet").wrappers
    regressor = part.component.wrap(Linear(size)).eval().requires_grad_(False)
    assert isinstance(regressor, MedianSmoothed)
    return regressor


def test_the_contract_is_kept() -> None:
    [part] = Chain.parse("smoothing:samples=3+resnet").wrappers
    check_defense(part.component)


def test_the_score_is_the_median_of_the_noisy_scores() -> None:
    regressor, noise = smoothed(), noise_for(IMAGES)
    found = regressor.sampled(IMAGES, noise, 9)
    assert torch.equal(regressor.logit(IMAGES, noise), found.sort(0).values[4])
    even = smoothed("smoothing:sigma=0.02,samples=4")
    four = even.sampled(IMAGES, noise, 4).sort(0).values
    assert torch.allclose(even.logit(IMAGES, noise), (four[1] + four[2]) / 2)
    spread = float(found.std(0).mean())
    assert spread == pytest.approx(0.02 * float(Linear().weight.norm()), rel=0.5)


def test_an_attack_may_take_the_mean_of_all_samples() -> None:
    class Winding(Linear):
        def surrogates(self) -> dict[str, Regressor]:
            return {"around": Linear()}

    [part] = Chain.parse("smoothing:samples=3+resnet").wrappers
    routes = part.component.wrap(Winding()).surrogates()
    assert set(routes) == {"mean", "around"}
    images = IMAGES.clone().requires_grad_()
    noise = noise_for(images)
    (gradient,) = torch.autograd.grad(routes["mean"].logit(images, noise).sum(), images)
    assert torch.allclose(gradient, Linear().weight.expand_as(images), atol=1e-5)


def exact_coverage(samples: int, rank: int, share: float) -> float:
    """How often the rank-th smallest of so many samples lies below the quantile of a share."""
    return float(stats.binom.sf(rank - 1, samples, share))


@pytest.mark.parametrize("samples", [20, 101, 1000])
@pytest.mark.parametrize("radius", [0.0, 0.3, 1.0])
def test_the_order_statistics_are_the_closest_that_keep_the_confidence(
    samples: int, radius: float
) -> None:
    values = np.arange(1.0, samples + 1)[None]
    found = median_bounds(values, sigma=1.0, l2=[radius], confidence=0.99)
    share = stats.norm.cdf(-radius)
    low, high = float(found.low[0, 0]), float(found.high[0, 0])
    assert found.score[0] == (samples + 1) / 2
    rank = 0 if np.isinf(low) else int(low)
    if rank:
        assert exact_coverage(samples, rank, share) >= 0.995
        assert high == samples + 1 - low
    else:
        assert np.isinf(high)
    assert exact_coverage(samples, rank + 1, share) < 0.995


def test_the_bounds_hold_for_the_worst_move_of_a_linear_regressor() -> None:
    sigma, l2, confidence, trials = 0.5, 0.2, 0.9, 2000
    generator = np.random.default_rng(0)
    values = generator.normal(0, sigma, (trials, 200))  # unit slope: the median moves by l2
    found = median_bounds(values, sigma=sigma, l2=[l2], confidence=confidence)
    held = (found.low <= -l2) & (found.high >= l2)
    assert held.mean() >= confidence - 3 * np.sqrt(confidence * (1 - confidence) / trials)
    assert held.mean() < 0.97  # not by being endless
    assert np.median(found.high) < 2.5 * l2


@pytest.mark.parametrize(("sigma", "l2"), [(0.12, 0.01), (0.12, 0.05), (0.02, 0.05)])
@pytest.mark.parametrize("confidence", [0.9, 0.999])
def test_the_samples_needed_are_the_fewest_with_finite_bounds(
    sigma: float, l2: float, confidence: float
) -> None:
    needed = int(samples_needed(sigma=sigma, l2=l2, confidence=confidence))

    def low(samples: int, radius: float) -> float:
        values = np.arange(float(samples))[None]
        found = median_bounds(values, sigma=sigma, l2=[radius], confidence=confidence)
        return float(found.low[0, 0])

    assert np.isfinite(low(needed, l2))
    assert np.isinf(low(needed - 1, l2))
    for samples in (needed, 5 * needed):
        edge = largest_l2(sigma=sigma, samples=samples, confidence=confidence)
        assert edge >= l2
        assert low(samples, edge * (1 - 1e-9)) == 0
        assert np.isinf(low(samples, edge * (1 + 1e-9)))


def test_no_samples_are_enough_where_noise_hardly_ever_reaches() -> None:
    assert samples_needed(sigma=0.01, l2=1.0, confidence=0.99) == np.inf
    assert largest_l2(sigma=0.1, samples=2, confidence=0.999) < 0


class Counting(Linear):
    """Counts the images that it scores."""

    images = 0

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        self.images += len(images)
        return super().logit(images, noise)


def test_a_certificate_takes_the_same_samples_for_every_radius() -> None:
    inner = Counting()
    regressor, noise = MedianSmoothed(inner, 0.02, 9).eval(), noise_for(IMAGES)
    radii = (0.001, 0.02, 0.04)
    found = regressor.certify(IMAGES, noise, l2=radii, samples=200, confidence=0.999)
    assert inner.images == 200 * len(IMAGES)
    assert found.low.shape == found.high.shape == (len(IMAGES), 3)
    for place, radius in enumerate(radii):
        one = regressor.certify(IMAGES, noise, l2=[radius], samples=200, confidence=0.999)
        assert np.array_equal(one.low[:, 0], found.low[:, place])
        assert np.array_equal(one.high[:, 0], found.high[:, place])
        assert np.array_equal(one.score, found.score)
    inside = np.concatenate([found.low[:, ::-1], found.score[:, None], found.high], axis=1)
    assert (np.diff(inside, axis=1) >= 0).all()
    assert (np.diff(inside, axis=1)[:, [0, 2, 3, 5]] > 0).all()
    few = regressor.certify(IMAGES, noise, l2=[0.001, 0.02], samples=5, confidence=0.9)
    assert np.isfinite(few.low[:, 0]).all()
    assert np.isinf(few.low[:, 1]).all()
    assert np.isinf(few.high[:, 1]).all()


def test_a_certificate_holds_where_the_true_score_moves_most() -> None:
    # The noise is far from the ends of [0, 1], so the median of a linear regressor is its value.
    regressor, noise = smoothed(), noise_for(IMAGES)
    weight, radii = Linear().weight, (0.005, 0.02, 0.04)
    found = regressor.certify(IMAGES, noise, l2=radii, samples=1000, confidence=0.999)
    for place, radius in enumerate(radii):
        for sign, bounds in ((1, found.high), (-1, found.low)):
            moved = IMAGES + sign * radius * weight / weight.norm()
            assert float((moved - IMAGES)[0].norm()) == pytest.approx(radius, rel=1e-3)
            true = Linear()(moved).double().numpy()
            apart = sign * (bounds[:, place] - true)
            assert (apart >= 0).all()
            # Not by being wide: it ends where a true move of 1.3 radii and a bit would lead.
            further = IMAGES + sign * (1.3 * radius + 0.005) * weight / weight.norm()
            assert (apart <= sign * (Linear()(further).double().numpy() - true)).all()


def test_a_constant_is_certified_as_it_is() -> None:
    class Constant(Regressor):
        def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
            return images.new_full((len(images),), 0.25)

    regressor = MedianSmoothed(Constant(), 0.1, 3).eval()
    found = regressor.certify(IMAGES, noise_for(IMAGES), l2=[0.05], samples=50, confidence=0.99)
    expected = float(torch.tensor(0.25).sigmoid())
    for values in (found.score, found.low, found.high):
        assert (values == expected).all()


@pytest.mark.parametrize(
    ("spec", "why"), [("smoothing:sigma=0", "above 0"), ("smoothing:samples=0", "at least 1")]
)
def test_a_wrong_parameter_is_refused(spec: str, why: str) -> None:
    with pytest.raises(ParamError, match=why):
        Chain.parse(f"{spec}+resnet")
