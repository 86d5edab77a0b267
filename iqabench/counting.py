"""Counts what an attack asks of a regressor."""

from __future__ import annotations

import torch
from torch import Tensor

from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Regressor, RegressorWrapper


class Tally:
    """Images that went forwards and backwards through a network, and through its surrogates."""

    def __init__(self) -> None:
        self.forwards = 0
        self.backwards = 0


class Counted(RegressorWrapper):
    """The same regressor with its passes counted; one image through the network is one pass.

    Args:
        inner: The regressor.
        tally: Where its passes are counted.
    """

    def __init__(self, inner: Regressor, tally: Tally) -> None:
        super().__init__(inner)
        self.tally = tally

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        return self._count(self.inner.logit(images, noise))

    def forward(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.forward``."""
        return self._count(self.inner(images, noise))

    def surrogates(self) -> dict[str, Regressor]:
        """Return the inner regressor's surrogates, counted too."""
        return {name: Counted(s, self.tally) for name, s in self.inner.surrogates().items()}

    def _count(self, out: Tensor) -> Tensor:
        self.tally.forwards += len(out)
        if out.requires_grad and torch.is_grad_enabled():
            out.register_hook(self._backward)  # type: ignore[no-untyped-call]
        return out

    def _backward(self, gradient: Tensor) -> None:
        self.tally.backwards += len(gradient)
