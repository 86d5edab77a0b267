"""Median smoothing and its certificate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from support import Linear, grid_images, noise_for

from iqabench.api import Regressor, median_bounds
from iqabench.chains import Chain
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
    found = median_bounds(values, sigma=1.0, l2=radius, confidence=0.99)
    share = stats.norm.cdf(-radius)
    low, high = float(found.low[0]), float(found.high[0])
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
    found = median_bounds(values, sigma=sigma, l2=l2, confidence=confidence)
    held = (found.low <= -l2) & (found.high >= l2)
    assert held.mean() >= confidence - 3 * np.sqrt(confidence * (1 - confidence) / trials)
    assert held.mean() < 0.97  # not by being endless
    assert np.median(found.high) < 2.5 * l2


def test_a_certificate_of_a_regressor_contains_its_score() -> None:
    regressor, noise = smoothed(), noise_for(IMAGES)
    narrow, wide = (
        regressor.certify(IMAGES, noise, l2=l2, samples=200, confidence=0.999)
        for l2 in (0.001, 0.02)
    )
    scores = smoothed("smoothing:sigma=0.02,samples=400")(IMAGES, noise).numpy()
    assert (narrow.low <= scores).all()
    assert (scores <= narrow.high).all()
    assert (wide.low <= narrow.low).all()
    assert (narrow.high <= wide.high).all()
    few = regressor.certify(IMAGES, noise, l2=0.02, samples=5, confidence=0.999)
    assert np.isinf(few.low).all()
    assert np.isinf(few.high).all()


@pytest.mark.parametrize(
    ("spec", "why"), [("smoothing:sigma=0", "above 0"), ("smoothing:samples=0", "at least 1")]
)
def test_a_wrong_parameter_is_refused(spec: str, why: str) -> None:
    with pytest.raises(ParamError, match=why):
        Chain.parse(f"{spec}+resnet")
