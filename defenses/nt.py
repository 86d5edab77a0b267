"""Gradient-norm regularisation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from iqabench.api import (
    NETWORK,
    Batch,
    Noise,
    Regressor,
    Step,
    TrainState,
    TrainStep,
    Wrapper,
    evaluation_mode,
    pixel_gradient,
)


@dataclass(frozen=True, kw_only=True)
class NormTraining(Wrapper):
    """Penalise how far the score moves under a small signed step (Liu et al. 2024, CVPR).

    To first order the largest change of a score in an L-infinity ball is eps times the L1 norm of
    its gradient. The penalty is 1/2 ((f(x + h v) - f(x)) / h)^2 with v = sign(gradient), detached:
    a finite difference in place of a second derivative (the paper's Eq 9). Deviations: v comes from
    the network in eval mode; h and the weight are in units of pixels and scores in ``[0, 1]`` (the
    published 1e-3 belongs to scores up to 100 and ImageNet-normalised pixels).

    Attributes:
        weight: Of the penalty beside the loss of what is wrapped.
        h_255: Length of the step, in grey levels.
    """

    summary = "penalty on the L1 norm of the gradient, by a finite difference"
    paper = "https://arxiv.org/abs/2403.11397"
    year = 2024
    changes_training = True

    weight: float = 0.005
    h_255: float = 0.5

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight must not be negative, got {self.weight}")
        if self.h_255 <= 0:
            raise ValueError(f"h_255 must be above 0, got {self.h_255}")

    def train_step(
        self, inner: TrainStep, regressor: Regressor, batch: Batch, state: TrainState
    ) -> Step:
        """See ``Wrapper.train_step``; the penalty is added to every loss of the network."""
        for loss, player in inner(batch, state):
            added = self.weight * self._penalty(regressor, batch) if player == NETWORK else 0
            yield loss + added, player

    def _penalty(self, regressor: Regressor, batch: Batch) -> Tensor:
        with evaluation_mode(regressor):
            _, gradient = pixel_gradient(_score, regressor, batch.images, batch.noise)
        h = self.h_255 / 255
        moved = regressor(batch.images + h * gradient.sign(), batch.noise)
        change: Tensor = (moved - regressor(batch.images, batch.noise)) / h
        return change.square().mean() / 2


def _score(model: Regressor, images: Tensor, noise: Noise) -> Tensor:
    scores: Tensor = model(images, noise)
    return scores
