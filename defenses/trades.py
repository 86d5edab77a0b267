"""Training for scores that stay where they are."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from iqabench.api import (
    NETWORK,
    Batch,
    Regressor,
    SignedAscent,
    Step,
    TrainState,
    TrainStep,
    Wrapper,
    evaluation_mode,
    make_goal,
    random_start,
)


@dataclass(frozen=True, kw_only=True)
class TRADES(Wrapper):
    """Penalise how far a score moves inside a ball (Zhang et al. 2019, Eq 5, for scores).

    The loss of what is wrapped on the clean images, plus beta times the mean of
    ``max (f(x') - f(x))^2`` over the ball. Deviations: squared difference of scores in place of a
    divergence of classes; the inner maximum climbs ``|logit(x') - logit(x)|``, which does not
    saturate, from a uniform start, because it has no slope at x; the best iterate is kept.

    Attributes:
        beta: Weight of the penalty.
        eps_255: Radius in grey levels.
        steps: Number of inner steps.
        step: Length of a step as a share of eps; 0 takes 2.5 / steps, but at most their 1.25.
    """

    summary = "penalty on how far a score moves inside a ball"
    paper = "https://arxiv.org/abs/1901.08573"
    year = 2019
    changes_training = True

    beta: float = 3.0
    eps_255: float = 2.0
    steps: int = 7
    step: float = 0.0

    def __post_init__(self) -> None:
        if min(self.beta, self.eps_255, self.step) < 0:
            raise ValueError("beta, eps_255 and step must not be negative")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def train_step(
        self, inner: TrainStep, regressor: Regressor, batch: Batch, state: TrainState
    ) -> Step:
        """See ``Wrapper.train_step``; the penalty is added to every loss of the network."""
        for loss, player in inner(batch, state):
            added = self.beta * self._penalty(regressor, batch) if player == NETWORK else 0
            yield loss + added, player

    def _penalty(self, regressor: Regressor, batch: Batch) -> Tensor:
        moved = self._moved(regressor, batch)
        apart = regressor(moved, batch.noise) - regressor(batch.images, batch.noise)
        penalty: Tensor = apart.square().mean()
        return penalty

    def _moved(self, regressor: Regressor, batch: Batch) -> Tensor:
        clean, noise = batch.images, batch.noise.for_purpose("trades")
        ascent = SignedAscent.in_training(eps_255=self.eps_255, steps=self.steps, step=self.step)
        with evaluation_mode(regressor):
            goal = make_goal("both", regressor, clean, batch.mos, noise)
            start = random_start(clean, noise, eps=ascent.eps)
            return ascent.climb(goal, regressor, clean, noise, start=start).images
