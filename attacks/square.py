"""Square attack: random search by square-shaped changes, for scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
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
    keep_better,
    project,
    value_of,
)

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, of 10,000, after which the square's share of the image is halved."""


@dataclass(frozen=True, kw_only=True)
class Square(AscentAttack):
    """Random search that recolours a square to the border of the ball and keeps what helps.

    Andriushchenko et al. 2020, Algorithms 1 and 2 (L-infinity), with AutoAttack's schedule.
    Deviations: the goal is that of a score, so there is no margin and nothing stops early; squares
    are cut to what fits a narrow image; each image's search is its own.

    Attributes:
        objective: What is increased.
        threshold: For ``reflect`` and ``reflect_pred``; see ``ObjectiveAttack``.
        steps: Queries after the first two.
        share: Share of the image that the first squares cover.
    """

    summary = "random search by squares"
    paper = "https://arxiv.org/abs/1912.00049"
    year = 2020
    access = "black-box"

    objective: ObjectiveName = "reflect"
    steps: int = 1000
    share: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1], got {self.share}")

    @property
    def climb_queries(self) -> int:
        """See ``AscentAttack.climb_queries``."""
        return self.steps + 2

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
            best = Climb(clean, value_of(goal, regressor, clean, noise))
            draws = noise.generators("squares")
            stripes = torch.from_numpy(np.stack([_stripes(g, clean.shape) for g in draws]))
            images = project(clean + eps * stripes.to(clean), clean, eps)
            best = keep_better(best, Climb(images, value_of(goal, regressor, images, noise)))
            for step in range(self.steps):
                side = self._side(step, clean.shape)
                images = best.images.clone()
                for number, draw in enumerate(draws):
                    _recolour(images[number], clean[number], eps, side, draw)
                found = Climb(images, value_of(goal, regressor, images, noise))
                best = keep_better(best, found)
            yield best.images

    def climb_passes(self, eps_count: int) -> Passes:
        """See ``AscentAttack.climb_passes``."""
        return Passes(eps_count * self.climb_queries, 0)

    def _side(self, step: int, shape: Sequence[int]) -> int:
        height, width = shape[2:]
        spent = 10_000 * step / self.steps
        share = self.share / 2 ** sum(spent > query for query in HALVINGS)
        return min(max(round(math.sqrt(share * height * width)), 1), height, width)


def _stripes(draw: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Return +-1 per channel and column, as in the paper's start, in float32."""
    _, channels, height, width = shape
    signs = draw.integers(0, 2, size=(channels, 1, width)) * 2 - 1
    return np.broadcast_to(signs, (channels, height, width)).astype(np.float32)


def _recolour(
    image: Tensor, clean: Tensor, eps: float, side: int, draw: np.random.Generator
) -> None:
    """Move one square of an image, in place, to the border of the ball: one sign per channel."""
    _, height, width = image.shape
    top, left = draw.integers(0, height - side + 1), draw.integers(0, width - side + 1)
    signs = torch.from_numpy(draw.integers(0, 2, size=(len(image), 1, 1)) * 2 - 1).to(image)
    window = slice(top, top + side), slice(left, left + side)
    square = clean[:, window[0], window[1]]
    image[:, window[0], window[1]] = project(square + eps * signs, square, eps)
