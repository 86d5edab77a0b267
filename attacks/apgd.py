"""Auto-PGD: projected gradient ascent that chooses its own step sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from iqabench.api import (
    AscentAttack,
    Climb,
    Goal,
    Noise,
    ObjectiveName,
    Passes,
    Regressor,
    Transferred,
    keep_better,
    per_image,
    pixel_gradient,
    project,
    random_start,
    value_of,
)

MOMENTUM = 0.75
"""Weight of the new step against the last one."""
IMPROVING = 0.75
"""Share of the steps of a period that must raise the goal, or the step is halved."""
FIRST, SHRINK, SHORTEST = 0.22, 0.03, 0.06
"""Lengths of the first period, of its shortening, and of the last, as shares of all steps."""


@dataclass(frozen=True, kw_only=True)
class APGD(AscentAttack):
    """Momentum steps whose length is halved, image by image, where progress stalls.

    Croce and Hein 2020, Algorithm 1, with its constants. Deviations: the goals are those of scores,
    not of classes, so nothing stops early; the first start is the clean image (the others are
    uniform in the ball); an image whose gradient is exactly zero there starts at a random point.

    Attributes:
        objective: What the steps increase.
        threshold: For ``reflect`` and ``reflect_pred``; see ``ObjectiveAttack``.
        steps: Steps per restart.
        restarts: Starts in all, the clean image among them.
        start: A trained defense (a component string) whose transferred images are one more start;
            none if empty.
    """

    summary = "gradient ascent that chooses its own step sizes"
    paper = "https://arxiv.org/abs/2003.01690"
    year = 2020

    objective: ObjectiveName = "reflect"
    steps: int = 100
    restarts: int = 1
    start: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.restarts < 1:
            raise ValueError("steps and restarts must be at least 1")

    def sources(self) -> tuple[str, ...]:
        """See ``Attack.sources``."""
        return (self.start,) if self.start else ()

    def ascend(
        self,
        goal: Goal,
        regressor: Regressor,
        clean: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        """See ``AscentAttack.ascend``."""
        for eps in eps_list:
            kick = random_start(clean, noise, eps=eps, purpose="kick")
            starts = [self._away(goal, regressor, clean, kick, noise)]
            starts += [
                random_start(clean, noise, eps=eps, purpose=f"restart{number}")
                for number in range(1, self.restarts)
            ]
            if self.start:
                assert self.facts is not None
                source = self.facts.sources[self.start]
                starts.append(Transferred().images(goal, source, clean, eps, noise))
            best = Climb(clean, value_of(goal, regressor, clean, noise))
            for start in starts:
                best = keep_better(best, self._climb(goal, regressor, clean, start, eps, noise))
            yield best.images

    def climb_passes(self, eps_count: int) -> Passes:
        """See ``AscentAttack.climb_passes``; the start on another defense is not counted."""
        climbs = eps_count * (self.restarts + bool(self.start))
        return Passes(2 * eps_count + climbs * (self.steps + 1), eps_count + climbs * self.steps)

    def _away(
        self, goal: Goal, regressor: Regressor, clean: Tensor, kick: Tensor, noise: Noise
    ) -> Tensor:
        """Return the clean images, moved where their gradient is exactly zero."""
        _, gradient = pixel_gradient(goal, regressor, clean, noise)
        dead = gradient.flatten(1).abs().amax(1) == 0
        return torch.where(per_image(dead), kick, clean)

    def _climb(
        self,
        goal: Goal,
        regressor: Regressor,
        clean: Tensor,
        start: Tensor,
        eps: float,
        noise: Noise,
    ) -> Climb:
        values, gradient = pixel_gradient(goal, regressor, start, noise.for_purpose("step0"))
        pace = _Pace(values, start, gradient, eps)
        images = before = start
        for step in range(1, self.steps + 1):
            ahead = project(images + per_image(pace.sizes) * gradient.sign(), clean, eps)
            share = 1.0 if step == 1 else MOMENTUM
            moved = images + share * (ahead - images) + (1 - share) * (images - before)
            before, images = images, project(moved, clean, eps)
            if step == self.steps:
                last = Climb(images, value_of(goal, regressor, images, noise))
                return keep_better(pace.best, last)
            scope = noise.for_purpose(f"step{step}")
            values, gradient = pixel_gradient(goal, regressor, images, scope)
            pace.saw(values, images, gradient)
            if step in _checkpoints(self.steps):
                images, gradient = pace.review(images, gradient)
        raise AssertionError("steps is at least 1")


class _Pace:
    """Step sizes of a batch, and what they are decided by.

    Args:
        values: Of the goal at the start.
        images: The start.
        gradient: There.
        eps: Radius; the first step is twice as long.
    """

    def __init__(self, values: Tensor, images: Tensor, gradient: Tensor, eps: float) -> None:
        self.best = Climb(images, values)
        self.best_gradient = gradient
        self.sizes = torch.full_like(values, 2 * eps)
        self.last = values
        self.rises = torch.zeros_like(values)
        self.steps = 0
        self.best_at_review = values
        self.halved = torch.zeros_like(values, dtype=torch.bool)

    def saw(self, values: Tensor, images: Tensor, gradient: Tensor) -> None:
        """Take note of a step."""
        better = per_image(values > self.best.values)
        self.best_gradient = torch.where(better, gradient, self.best_gradient)
        self.best = keep_better(self.best, Climb(images, values))
        self.rises += values > self.last
        self.last = values
        self.steps += 1

    def review(self, images: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Halve the steps that need it, and send those images back to their best point."""
        few = self.rises < IMPROVING * self.steps
        stalled = ~self.halved & (self.best.values <= self.best_at_review)
        self.halved = few | stalled
        self.sizes = torch.where(self.halved, self.sizes / 2, self.sizes)
        self.best_at_review = self.best.values
        self.rises = torch.zeros_like(self.rises)
        self.steps = 0
        back = per_image(self.halved)
        self.last = torch.where(self.halved, self.best.values, self.last)
        return (
            torch.where(back, self.best.images, images),
            torch.where(back, self.best_gradient, gradient),
        )


def _checkpoints(steps: int) -> set[int]:
    """Return the steps after which step sizes are reviewed."""
    found: set[int] = set()
    length, place = FIRST, FIRST
    while place < 1:
        found.add(max(round(place * steps), 1))
        length = max(length - SHRINK, SHORTEST)
        place += length
    return found - {steps}
