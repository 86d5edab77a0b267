"""Probes of gradients whose worth is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support import Linear, grid_images, noise_for
from test_attacks_search import Rough
from torch import Tensor

from iqabench.api import Expectation, Noise, Regressor
from iqabench.audit.probes import DIFFERENCES_255, STEPS_255, Probes, probe

IMAGES = grid_images(12)


def probes(regressor: Regressor) -> Probes:
    noise = noise_for(IMAGES)
    halves = [(IMAGES[:7], noise.select(range(7))), (IMAGES[7:], noise.select(range(7, 12)))]
    return probe(regressor.eval().requires_grad_(False), halves)


def test_a_linear_score_has_an_honest_gradient() -> None:
    regressor = Linear()
    found = probes(regressor)
    assert found.linearity == pytest.approx(dict.fromkeys(STEPS_255, 1.0), abs=1e-2)
    assert found.differences == pytest.approx(dict.fromkeys(DIFFERENCES_255, 1.0))
    assert found.turning == pytest.approx(1)
    assert found.gradient_l1 == pytest.approx((float(regressor.weight.abs().sum()),) * 3)
    assert (found.zero_gradients, found.saturated, found.images) == (0, 0, 12)


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


class Lying(Linear):
    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        return Backward.apply(super().logit(images))  # type: ignore[no-any-return]


class Stepped(Linear):
    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        return (50 * super().logit(images)).round() / 50


class Shattered(Linear):
    """A slope with sawteeth on it that fall as steeply as it rises."""

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        slope = super().logit(images)
        return slope - 2 * (1000 * slope - (1000 * slope).floor()) / 1000


def test_a_lying_a_missing_and_a_shattered_gradient_are_told_apart() -> None:
    lying, missing, shattered = probes(Lying()), probes(Stepped()), probes(Shattered())
    assert lying.linearity == pytest.approx(dict.fromkeys(STEPS_255, -1.0), abs=1e-2)
    assert lying.differences == pytest.approx(dict.fromkeys(DIFFERENCES_255, -1.0))
    assert (missing.zero_gradients, missing.gradient_l1) == (1, (0, 0, 0))
    assert set(missing.linearity.values()) == {0}
    assert shattered.differences is not None
    assert shattered.differences[0.001] > 0.9  # right where it stands ...
    assert shattered.differences[1.0] < 0  # ... and wrong for any step that counts
    assert shattered.linearity[1.0] < 0


def test_saturated_logits_are_counted() -> None:
    assert probes(Linear(offset=60)).saturated == 1


def test_a_gradient_that_turns_quickly_is_seen() -> None:
    steep = Rough()
    steep.weight.data *= 40
    assert probes(steep).turning < 0.97 < 0.999 < probes(Rough()).turning


def test_the_split_into_batches_does_not_matter() -> None:
    noise = noise_for(IMAGES)
    whole = probe(Rough().eval(), [(IMAGES, noise)])
    halves = probes(Rough())
    assert halves.linearity == pytest.approx(whole.linearity)
    assert halves.differences == pytest.approx(whole.differences)
    assert halves.turning == pytest.approx(whole.turning)
    assert halves.gradient_l1 == pytest.approx(whole.gradient_l1)


class Float32(Linear):
    """Has a number of its own type, so that it does not run in float64."""

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        return images.flatten(1) @ self.weight.flatten().float()


def test_what_does_not_run_in_float64_is_left_out() -> None:
    found = probes(Float32())
    assert found.differences is None
    assert found.linearity[1.0] == pytest.approx(1, abs=1e-2)


class Jittery(Linear):
    stochastic = True

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        assert noise is not None
        return super().logit(images) * (1 + 0.5 * noise.normal("jitter", (), like=images))


def test_a_stochastic_regressor_is_probed_in_expectation() -> None:
    found = probes(Expectation(Jittery(), draws=4))
    assert found.linearity == pytest.approx(dict.fromkeys(STEPS_255, 1.0), abs=1e-2)
