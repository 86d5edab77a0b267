"""Adversarial training, around any defense."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from iqabench.api import (
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
class AdversarialTraining(Wrapper):
    """Train on images that signed steps have moved against the network as it is now.

    Madry et al. 2018, Eq 2.1: min over weights of the mean over images of the max over the ball of
    the loss. The inner maximum is climbed as under attack (eval mode, weights frozen), once per
    batch, before what is wrapped makes its steps on the moved images. Deviations: only a share
    ``mix`` of the images is moved, the others stay clean, so that the loss is in expectation that
    mixture of both risks; the best iterate is kept, not the last.

    ``mse`` climbs the training loss itself. To first order it takes the worse of the two
    directions, for that is the one in which the score errs already; where the error is exactly zero
    it has no gradient, which the random start cures. ``alternate`` raises scores in one batch and
    lowers them in the next; on the demo data set it was the weaker of the two by far.

    Attributes:
        eps_255: Radius in grey levels.
        objective: What the inner steps increase.
        steps: Number of inner steps; 1 is fast adversarial training (Wong et al. 2020).
        step: Length of a step as a share of eps; 0 takes 2.5 / steps, but at most their 1.25.
        random_start: Start from a uniform point of the ball instead of the clean image.
        mix: Probability that an image is moved; 1 is Madry's.
    """

    summary = "adversarial training: steps on images moved against the present network"
    paper = "https://arxiv.org/abs/1706.06083"
    year = 2018
    changes_training = True

    eps_255: float = 2.0
    objective: Literal["mse", "reflect", "raise", "lower", "alternate"] = "mse"
    steps: int = 7
    step: float = 0.0
    random_start: bool = True
    mix: float = 0.5

    def __post_init__(self) -> None:
        if self.eps_255 < 0 or self.step < 0:
            raise ValueError("eps_255 and step must not be negative")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if not 0 < self.mix <= 1:
            raise ValueError(f"mix must be above 0 and at most 1, got {self.mix}")

    def train_step(
        self, inner: TrainStep, regressor: Regressor, batch: Batch, state: TrainState
    ) -> Step:
        """See ``Wrapper.train_step``."""
        yield from inner(self._moved(regressor, batch, state), state)

    def _moved(self, regressor: Regressor, batch: Batch, state: TrainState) -> Batch:
        noise = batch.noise.for_purpose("at")
        chosen = (noise.uniform("mix", ()) < self.mix).nonzero().flatten()
        if not len(chosen):
            return batch
        noise = noise.select(chosen.tolist())
        chosen = chosen.to(batch.images.device)
        clean, mos = batch.images[chosen], batch.mos[chosen]
        ascent = SignedAscent.in_training(eps_255=self.eps_255, steps=self.steps, step=self.step)
        with evaluation_mode(regressor):
            goal = make_goal(self._objective(state), regressor, clean, mos, noise)
            start = random_start(clean, noise, eps=ascent.eps) if self.random_start else None
            climb = ascent.climb(goal, regressor, clean, noise, start=start)
        images = batch.images.clone()
        images[chosen] = climb.images
        return replace(batch, images=images)

    def _objective(self, state: TrainState) -> str:
        if self.objective == "alternate":
            return "lower" if state.step % 2 else "raise"
        return self.objective
