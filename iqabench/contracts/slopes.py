"""Directions in which a goal rises, where the plain gradient is missing or dishonest.

Each is a ``Slope`` for ``SignedAscent``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.contracts.ascent import per_image, pixel_gradient, value_of
from iqabench.contracts.noise import Noise
from iqabench.contracts.objective import Goal
from iqabench.contracts.regressor import Regressor


@dataclass(frozen=True)
class Smoothed:
    """The mean gradient at points around the images: that of the goal blurred by a normal law.

    It sees the slope of a jagged landscape where the gradient at one point describes a vanishingly
    small piece of it (Tramer et al. 2020, section 5, on k-Winners-Take-All).

    Attributes:
        samples: Points per image, half of them mirror images of the others.
        sigma: Standard deviation of a pixel's move, on the ``[0, 1]`` scale.
    """

    samples: int
    sigma: float

    def __call__(
        self, goal: Goal, model: Regressor, images: Tensor, noise: Noise
    ) -> tuple[Tensor, Tensor]:
        """See ``Slope``; the values are those at the images themselves."""
        total = torch.zeros_like(images)
        for number in range(self.samples):
            if number % 2 == 0:
                move = self.sigma * noise.normal(f"smooth{number}", images.shape[1:], like=images)
            else:
                move = -move
            total += pixel_gradient(goal, model, (images + move).clamp(0, 1), noise)[1]
        return value_of(goal, model, images, noise), total / self.samples


@dataclass(frozen=True)
class Probed:
    """A gradient estimated from values alone, by pairs of opposite moves.

    The mean of (goal(x + u) - goal(x - u)) * u / (2 sigma^2) over random moves u. Moves are cut at
    the pixel range, as an outsider can only show images.

    Attributes:
        pairs: Pairs of moves per image; two queries each.
        sigma: Size of a pixel's move, on the ``[0, 1]`` scale.
        law: ``normal`` (NES, Ilyas et al. 2018, section 3.1), or ``sign``: every pixel moves by
            sigma, up or down (SPSA, Uesato et al. 2018, section 4.1).
    """

    pairs: int
    sigma: float
    law: Literal["normal", "sign"]

    def __call__(
        self, goal: Goal, model: Regressor, images: Tensor, noise: Noise
    ) -> tuple[Tensor, Tensor]:
        """See ``Slope``; 2 * pairs + 1 queries."""
        total = torch.zeros_like(images)
        for number in range(self.pairs):
            move = noise.normal(f"probe{number}", images.shape[1:], like=images)
            if self.law == "sign":
                move = torch.where(move < 0, -1.0, 1.0)
            above = (images + self.sigma * move).clamp(0, 1)
            below = (images - self.sigma * move).clamp(0, 1)
            gain = value_of(goal, model, above, noise) - value_of(goal, model, below, noise)
            total += per_image(gain) * (above - below)
        scale = 4 * self.sigma**2 * self.pairs
        return value_of(goal, model, images, noise), total / scale


@dataclass(frozen=True)
class Diverse:
    """The gradient through a random resize and pad (input diversity, Xie et al. 2019, section 3.2).

    For transfer: what raises the goal of many sizes of an image is less peculiar to one network.

    Attributes:
        probability: Share of steps in which an image is resized.
        smallest: Smallest size, as a share of the image's; the rest is filled with zeros.
    """

    probability: float
    smallest: float = 0.9

    def __call__(
        self, goal: Goal, model: Regressor, images: Tensor, noise: Noise
    ) -> tuple[Tensor, Tensor]:
        """See ``Slope``; the values are those of the resized images."""
        chances = noise.uniform("diverse", (4,)).tolist()

        def through(inner: Regressor, pixels: Tensor, n: Noise) -> Tensor:
            resized = [self._resized(x, c) for x, c in zip(pixels, chances, strict=True)]
            return goal(inner, torch.stack(resized), n)

        return pixel_gradient(through, model, images, noise)

    def _resized(self, image: Tensor, chance: list[float]) -> Tensor:
        if chance[0] >= self.probability:
            return image
        height, width = image.shape[1:]
        share = self.smallest + (1 - self.smallest) * chance[1]
        new = max(1, round(share * height)), max(1, round(share * width))
        top, left = int(chance[2] * (height - new[0] + 1)), int(chance[3] * (width - new[1] + 1))
        small = F.interpolate(image[None], size=new, mode="bilinear", antialias=True)[0]
        return F.pad(small, (left, width - new[1] - left, top, height - new[0] - top))
