"""What makes a defense that breaks the contract fit to be attacked and scored.

The audit puts these around a defense whose scores change from call to call, or with the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iqabench.api import Noise, Regressor, RegressorWrapper, Wrapper


class Seeded(RegressorWrapper):
    """A regressor that draws from torch's global generator, with every draw seeded by the noise.

    Args:
        inner: The regressor.
    """

    def __init__(self, inner: Regressor) -> None:
        super().__init__(inner)
        self.stochastic = True

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``; image by image, because each has a stream of its own.

        Raises:
            ValueError: There is no noise.
        """
        if noise is None:
            raise ValueError("a stochastic regressor needs noise")
        seeds = [int(g.integers(2**62)) for g in noise.generators("undeclared")]
        devices = [images.device] if images.device.type == "cuda" else []
        found = []
        with torch.random.fork_rng(devices):
            for number, seed in enumerate(seeds):
                torch.manual_seed(seed)
                one = slice(number, number + 1)
                found.append(self.inner.logit(images[one], noise.select([number])))
        return torch.cat(found)


@dataclass(frozen=True, kw_only=True)
class Declared(Wrapper):
    """Declares randomness that the defense inside draws without saying so."""

    summary = "declares the randomness of what it wraps"

    def wrap(self, regressor: Regressor) -> Regressor:
        """See ``Wrapper.wrap``."""
        return Seeded(regressor)


class Alone(RegressorWrapper):
    """A regressor that is shown one image at a time.

    Args:
        inner: The regressor.
    """

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        found = []
        for number in range(len(images)):
            one = None if noise is None else noise.select([number])
            found.append(self.inner.logit(images[number : number + 1], one))
        return torch.cat(found)


@dataclass(frozen=True, kw_only=True)
class OneByOne(Wrapper):
    """Shows one image at a time to a defense whose score depends on the batch."""

    summary = "shows one image at a time to what it wraps"

    def wrap(self, regressor: Regressor) -> Regressor:
        """See ``Wrapper.wrap``."""
        return Alone(regressor)
