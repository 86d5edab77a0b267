"""A wrapper: images are blurred before anything scores them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.api import Noise, Regressor, RegressorWrapper, Wrapper


class Blurred(RegressorWrapper):
    """Blurs the images and asks the regressor inside.

    ``RegressorWrapper`` takes care of the rest: ``squash`` and ``stochastic`` are those of what is
    inside. The noise is handed on, because what is inside may need it.

    Args:
        inner: The regressor inside; its weights are shared, not copied.
        strength: Share of the blurred image in what is scored.
    """

    def __init__(self, inner: Regressor, *, strength: float) -> None:
        super().__init__(inner)
        self.strength = strength
        row = torch.tensor([0.25, 0.5, 0.25])
        # A buffer moves to the device with the regressor; it is no weight, so it is not saved.
        self.register_buffer("kernel", torch.outer(row, row).expand(3, 1, 3, 3), persistent=False)

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``; differentiable, so that no surrogate is needed."""
        padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
        blurred = F.conv2d(padded, self.get_buffer("kernel"), groups=3)
        return self.inner.logit(torch.lerp(images, blurred, self.strength), noise)


@dataclass(frozen=True, kw_only=True)
class Blur3(Wrapper):
    """Score a blurred image: a binomial filter of 3 x 3 pixels, reflect padding.

    The simplest purifier. It acts when images are scored and changes nothing in training
    (``changes_training`` stays False), so ``blur3+X`` uses the checkpoint of ``X``.

    Attributes:
        strength: Share of the blurred image in what is scored, from 0 (nothing changes) to 1.
    """

    summary = "3 x 3 binomial blur before scoring"

    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength must be in [0, 1], got {self.strength}")

    def wrap(self, regressor: Regressor) -> Regressor:
        """See ``Wrapper.wrap``."""
        return Blurred(regressor, strength=self.strength)
