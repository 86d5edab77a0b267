"""An image-quality regressor: images in, scores out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from iqabench.contracts.noise import Noise


class Regressor(nn.Module, ABC):
    """Maps images ``(N, 3, H, W)`` in ``[0, 1]`` (RGB) to scores ``(N,)``, higher is better.

    A subclass writes ``logit``, and ``squash`` if its head does not end in a sigmoid. Normalisation
    happens inside. In ``eval()`` mode every image's score depends on that image alone.

    Attributes:
        stochastic: The score depends on ``noise``; the harness then scores it over several draws
            and attacks their expectation.
    """

    stochastic: bool = False

    @abstractmethod
    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """Return the unbounded value before the last squashing, shape ``(N,)``.

        Correlations rank on it (float32 sigmoids tie) and attacks climb it (it does not saturate).

        Args:
            images: ``(N, 3, H, W)`` in ``[0, 1]``.
            noise: All randomness of this pass. A stochastic regressor raises ``ValueError``
                without it; others ignore it.
        """

    def squash(self, logits: Tensor) -> Tensor:
        """Map logits to scores, monotone: a sigmoid, or the identity for a head without one."""
        return torch.sigmoid(logits)

    def forward(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """Return the scores, shape ``(N,)``, in ``[0, 1]`` (nominally, if not squashed)."""
        return self.squash(self.logit(images, noise))

    def surrogates(self) -> dict[str, Regressor]:
        """Return named gradient routes that share these weights.

        A surrogate supplies the *gradient* of an attack where this regressor's own is missing or
        dishonest (straight-through, mask frozen or removed, mean field, soft rank). The *value*
        that decides whether a step was good always comes from this regressor.
        """
        return {}


def scores_and_logits(
    regressor: Regressor, images: Tensor, noise: Noise | None = None
) -> tuple[Tensor, Tensor]:
    """Return both outputs, each of shape ``(N,)``, from one pass where the regressor allows it."""
    logits = regressor.logit(images, noise)
    if type(regressor).forward is Regressor.forward:
        return regressor.squash(logits), logits
    return regressor(images, noise), logits


class RegressorWrapper(Regressor):
    """A regressor around another one; the base of purifiers, smoothing, counting, expectation.

    Args:
        inner: The regressor inside; its weights are shared, not copied.
    """

    def __init__(self, inner: Regressor) -> None:
        super().__init__()
        self.inner = inner
        self.stochastic = inner.stochastic

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        return self.inner.logit(images, noise)

    def squash(self, logits: Tensor) -> Tensor:
        """See ``Regressor.squash``."""
        return self.inner.squash(logits)


class Routed(RegressorWrapper):
    """The values of a regressor with the gradient of another one (BPDA, Athalye et al. 2018).

    So every gradient attack goes through a surrogate as it is, and still sees what it really did.

    Args:
        inner: Gives the values.
        route: Gives the gradient; usually one of ``inner.surrogates()``.
    """

    def __init__(self, inner: Regressor, route: Regressor) -> None:
        super().__init__(inner)
        self.route = route

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """Return the inner regressor's logits; their gradient is the route's."""
        with torch.no_grad():
            values = self.inner.logit(images, noise)
        if not (torch.is_grad_enabled() and images.requires_grad):
            return values
        return _ValueOf.apply(values, self.route.logit(images, noise))  # type: ignore[no-any-return]

    def surrogates(self) -> dict[str, Regressor]:
        """Return none: this is one."""
        return {}


class _ValueOf(torch.autograd.Function):
    """The first argument, with the gradient going to the second."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, route: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient


class Expectation(RegressorWrapper):
    """The mean logit over several draws of a stochastic regressor (EOT, Athalye et al. 2018).

    Args:
        inner: The stochastic regressor.
        draws: Number of draws averaged; draw ``d`` uses ``noise.for_draw(first + d)``.
        first: Number of the first draw, so that attack and evaluation use different ones.
    """

    def __init__(self, inner: Regressor, *, draws: int, first: int = 0) -> None:
        super().__init__(inner)
        self.draws = draws
        self.first = first
        self.stochastic = False

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """Return the mean logit over the draws; see ``Regressor.logit``."""
        if noise is None:
            raise ValueError("an expectation over draws needs noise")
        total = self.inner.logit(images, noise.for_draw(self.first))
        for draw in range(self.first + 1, self.first + self.draws):
            total = total + self.inner.logit(images, noise.for_draw(draw))
        return total / self.draws

    def surrogates(self) -> dict[str, Regressor]:
        """Return the inner regressor's surrogates, averaged over draws where they need it."""
        return {
            name: Expectation(s, draws=self.draws, first=self.first) if s.stochastic else s
            for name, s in self.inner.surrogates().items()
        }
