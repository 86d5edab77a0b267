"""One perturbation for all images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from typing_extensions import Self

from iqabench.api import (
    AttackBatch,
    Noise,
    ObjectiveAttack,
    Passes,
    Regressor,
    pixel_gradient,
    project,
    state,
)


@dataclass(frozen=True, kw_only=True)
class UniversalPerturbation(ObjectiveAttack):
    """One perturbation, fitted on training images, that is added to every image.

    Signed steps along the mean gradient (Shafahi et al. 2020, Algorithm 1, in the L-infinity ball).
    Deviation: of all the images in every step, not of a batch, so that the batch size changes
    nothing. It can move scores one way only, so the objective has a direction.

    Attributes:
        objective: ``raise`` or ``lower``.
        threshold: Not used.
        images: Training images, at most; the first ones in the split's order.
        steps: Steps, each with one gradient of all of them.
        step: Length of a step as a share of eps; 0 takes 2.5 / steps.
        perturbation: ``(3, H, W)``, set by ``fit``.
    """

    summary = "one perturbation for all images, fitted on training images"
    paper = "https://arxiv.org/abs/1811.11304"
    year = 2020
    needs_fit = True

    objective: Literal["raise", "lower"] = "lower"
    images: int = 256
    steps: int = 20
    step: float = 0.1
    perturbation: Tensor | None = state()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images < 1 or self.steps < 1:
            raise ValueError("images and steps must be at least 1")
        if self.step < 0:
            raise ValueError(f"step must not be negative, got {self.step}")

    def fit(
        self, regressor: Regressor, batches: Iterable[AttackBatch], eps: float, noise: Noise
    ) -> Self:
        """See ``Attack.fit``."""
        delta: Tensor | None = None
        step = eps * (self.step or 2.5 / self.steps)
        for _ in range(self.steps):
            total = None
            for batch in self._first(batches):
                goal = self.goal(regressor, batch.images, batch.mos, batch.noise)
                moved = batch.images if delta is None else (batch.images + delta).clamp(0, 1)
                _, gradient = pixel_gradient(goal, regressor, moved, batch.noise)
                part = gradient.double().sum(0)
                total = part if total is None else total + part
            if total is None:
                raise ValueError("there are no training images to fit on")
            move = step * total.sign().float()
            delta = (move if delta is None else delta + move).clamp(-eps, eps)
        return self.with_state(perturbation=delta)

    def _first(self, batches: Iterable[AttackBatch]) -> Iterator[AttackBatch]:
        """Yield the first ``images`` training images, the last batch cut."""
        left = self.images
        for batch in batches:
            count = min(left, len(batch.images))
            noise = batch.noise.select(range(count))
            yield AttackBatch(batch.images[:count], batch.mos[:count], noise)
            left -= count
            if left == 0:
                return

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        """See ``Attack.perturb``."""
        assert self.perturbation is not None
        return project(images + self.perturbation, images, eps)

    def passes(self, eps_count: int) -> Passes:
        """See ``Attack.passes``: adding it costs nothing; fitting it is not counted per image."""
        return Passes(0, 0)
