"""Controls that hide their gradient, each in a way of its own.

All wrap a trained regressor and change what an attacker sees of it, hardly what it says. None
declares a way around itself, and some break the contract on purpose: a score of a single undeclared
draw, a score that depends on the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.api import Noise, Regressor, RegressorWrapper, Wrapper, as_jpeg, quantised


class Seen(RegressorWrapper):
    """A regressor that sees changed images.

    Args:
        inner: The regressor.
        change: What is done to a batch.
    """

    def __init__(self, inner: Regressor, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__(inner)
        self.change = change

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        return self.inner.logit(self.change(images), noise)


class Said(RegressorWrapper):
    """A regressor whose logit is changed.

    Args:
        inner: The regressor.
        change: What is done to the logits of a batch.
    """

    def __init__(self, inner: Regressor, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__(inner)
        self.change = change

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        return self.change(self.inner.logit(images, noise))


class _Backward(torch.autograd.Function):
    """The identity, with another gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.change = change
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.change(gradient), None


@dataclass(frozen=True, kw_only=True)
class QuantisedInput(Wrapper):
    """Pixels are rounded to few levels; rounding has no gradient.

    Attributes:
        levels: Levels per channel.
    """

    summary = "input rounded to few levels, without a gradient"

    levels: int = 32

    def wrap(self, regressor: Regressor) -> Regressor:
        """See ``Wrapper.wrap``."""
        return Seen(regressor, lambda images: quantised(images, self.levels))


@dataclass(frozen=True, kw_only=True)
class JPEGInput(Wrapper):
    """Images are stored as JPEG and read again, without a gradient.

    Attributes:
        quality: Of the JPEG, 1 to 95.
    """

    summary = "input through JPEG, without a gradient"

    quality: int = 75

    def wrap(self, regressor: Regressor) -> Regressor:
        """See ``Wrapper.wrap``."""
        return Seen(regressor, lambda images: as_jpeg(images, self.quality) + 0 * images)


@dataclass(frozen=True, kw_only=True)
class StepHead(Wrapper):
    """The logit is rounded down to steps; a staircase has no gradient.

    Attributes:
        width: Of a step, in logits.
    """

    summary = "logit in steps, without a gradient"

    width: float = 0.05

    def wrap(self, regressor: Regressor) -> Regressor:
        """See ``Wrapper.wrap``."""
        return Said(regressor, lambda logits: (logits / self.width).floor() * self.width)


@dataclass(frozen=True, kw_only=True)
class SaturatedHead(Wrapper):
    """The logit runs into a tanh so steep that its float32 gradient is zero for most images.

    A little of the true logit is added without a gradient, so that the order stays.

    Attributes:
        gain: Steepness.
    """

    summary = "logit saturated until its gradient underflows"

    gain: float = 200.0

    def wrap(self, regressor: Regressor) -> Regressor:
        """See ``Wrapper.wrap``."""
        return Said(regressor, self._saturated)

    def _saturated(self, logits: Tensor) -> Tensor:
        return torch.tanh(self.gain * logits) / self.gain + logits.detach()


@dataclass(frozen=True, kw_only=True)
class FalseGradient(Wrapper):
    """The gradient on its way to the pixels is turned around, or clipped to nothing.

    Attributes:
        how: ``flipped``: the other sign; ``clipped``: too small for float32; ``scrambled``: signs
            of a fixed pattern.
    """

    summary = "gradient flipped, clipped or scrambled on its way back"

    how: Literal["flipped", "clipped", "scrambled"] = "flipped"

    def wrap(self, regressor: Regressor) -> Regressor:
        """See ``Wrapper.wrap``."""
        change = {"flipped": _flip, "clipped": _clip, "scrambled": _scramble}[self.how]

        def through(images: Tensor) -> Tensor:
            return _Backward.apply(images, change)  # type: ignore[no-any-return]

        return Seen(regressor, through)


def _flip(gradient: Tensor) -> Tensor:
    return -gradient


def _clip(gradient: Tensor) -> Tensor:
    return gradient.clamp(-1e-30, 1e-30) * 1e-30


def _scramble(gradient: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, gradient.shape[1:], generator=generator) * 2 - 1
    return gradient * signs.to(gradient)


@dataclass(frozen=True, kw_only=True)
class DetachedGradient(Wrapper):
    """Most of the logit is computed without a gradient; the rest sees a coarse copy of the image.

    Attributes:
        share: Share of the logit that keeps its gradient.
    """

    summary = "most of the logit without a gradient"

    share: float = 0.0

    def wrap(self, regressor: Regressor) -> Regressor:
        """See ``Wrapper.wrap``."""
        return Detached(regressor, self.share)


class Detached(RegressorWrapper):
    """See ``DetachedGradient``.

    Args:
        inner: The regressor.
        share: Share of the logit that keeps its gradient, at the image in blocks of 8 pixels.
    """

    def __init__(self, inner: Regressor, share: float) -> None:
        super().__init__(inner)
        self.share = share

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        with torch.no_grad():
            logits = self.inner.logit(images, noise)
        if self.share == 0:
            return logits + 0 * images.mean((1, 2, 3))
        small = F.avg_pool2d(images, 8, ceil_mode=True)
        coarse = self.inner.logit(F.interpolate(small, size=images.shape[2:]), noise)
        return (1 - self.share) * logits + self.share * coarse


@dataclass(frozen=True, kw_only=True)
class RandomInput(Wrapper):
    """The image is changed at random in every pass; scored by one draw that is not declared.

    Attributes:
        how: ``noise``: normal noise; ``resize``: to a random size and back.
        strength: Standard deviation in grey levels, or the largest share that is cut off the size.
    """

    summary = "random noise or resize, undeclared"

    how: Literal["noise", "resize"] = "noise"
    strength: float = 4.0

    def wrap(self, regressor: Regressor) -> Regressor:
        """See ``Wrapper.wrap``."""
        return Seen(regressor, self._noisy if self.how == "noise" else self._resized)

    def _noisy(self, images: Tensor) -> Tensor:
        return (images + self.strength / 255 * torch.randn_like(images)).clamp(0, 1)

    def _resized(self, images: Tensor) -> Tensor:
        size = images.shape[2:]
        share = 1 - self.strength * float(torch.rand(()))
        small = [max(8, round(share * side)) for side in size]
        smaller = F.interpolate(images, size=small, mode="bilinear", antialias=True)
        return F.interpolate(smaller, size=size, mode="bilinear").clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class BatchScore(Wrapper):
    """The mean of the batch is added to each logit, and only it has a gradient.

    So the gradient moves all images of a batch one way, the right one for about half of them.

    Attributes:
        weight: How much of the batch's mean is added.
    """

    summary = "score that depends on the batch"

    weight: float = 1.0

    def wrap(self, regressor: Regressor) -> Regressor:
        """See ``Wrapper.wrap``."""
        return Said(regressor, lambda logits: logits.detach() + self.weight * logits.mean())
