"""Purifiers: filters of the input, around any regressor, with how each is differentiated."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.api import (
    Noise,
    Regressor,
    RegressorWrapper,
    Wrapper,
    as_jpeg,
    local_filter,
    quantised,
    smooth_jpeg,
    straight_through,
)

Purify = Callable[[Tensor], Tensor]


class Purified(RegressorWrapper):
    """A regressor that sees filtered images.

    Args:
        inner: The regressor.
        purify: What is done to a batch.
        twins: The same with a gradient, by name, where ``purify`` has none of its own.
    """

    def __init__(
        self, inner: Regressor, purify: Purify, twins: Mapping[str, Purify] | None = None
    ) -> None:
        super().__init__(inner)
        self.purify = purify
        self.twins = dict(twins or {})

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        return self.inner.logit(self.purify(images), noise)

    def surrogates(self) -> dict[str, Regressor]:
        """Return each way through the filter with each way through what is inside."""
        inside = {"": self.inner, **self.inner.surrogates()}
        ways = self.twins or {"": self.purify}
        return {
            "+".join(name for name in (way, route) if name): Purified(regressor, purify)
            for way, purify in ways.items()
            for route, regressor in inside.items()
            if route or purify != self.purify  # the regressor itself is no way around it
        }


class Noisy(RegressorWrapper):
    """A regressor that sees images with fresh noise at every look.

    Args:
        inner: The regressor.
        sigma: Standard deviation on the ``[0, 1]`` scale.
    """

    def __init__(self, inner: Regressor, sigma: float) -> None:
        super().__init__(inner)
        self.sigma = sigma
        self.stochastic = True

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        if noise is None:
            raise ValueError("noisy input needs noise")
        drawn = noise.normal("noisy_input", images.shape[1:], like=images)
        return self.inner.logit((images + self.sigma * drawn).clamp(0, 1), noise)

    def surrogates(self) -> dict[str, Regressor]:
        """Return the ways through what is inside, with the same noise."""
        return {name: Noisy(s, self.sigma) for name, s in self.inner.surrogates().items()}


@dataclass(frozen=True, kw_only=True)
class Purifier(Wrapper):
    """Base of the filters that draw nothing; they change the clean scores too."""

    @abstractmethod
    def purify(self, images: Tensor) -> Tensor:
        """Return the images ``(N, 3, H, W)`` as the regressor sees them."""

    def twins(self) -> dict[str, Purify]:
        """Return the same filter with a gradient, by name; none if it has one itself."""
        return {}

    def wrap(self, regressor: Regressor) -> Regressor:
        """See ``Wrapper.wrap``."""
        return Purified(regressor, self.purify, self.twins())


@dataclass(frozen=True, kw_only=True)
class JPEG(Purifier):
    """Images go through a JPEG file (Guo et al. 2018; Dziugaite et al. 2016).

    A file has no gradient. Attacks go through the identity (BPDA) and through a JPEG of our own
    whose rounding passes the gradient on (Shin and Song 2017).

    Attributes:
        quality: Of the JPEG, 1 to 95.
    """

    summary = "input through JPEG"
    paper = "https://arxiv.org/abs/1711.00117"
    year = 2018

    quality: int = 50

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 95:
            raise ValueError(f"quality must be from 1 to 95, got {self.quality}")

    def purify(self, images: Tensor) -> Tensor:
        """See ``Purifier.purify``."""
        return as_jpeg(images, self.quality)

    def twins(self) -> dict[str, Purify]:
        """See ``Purifier.twins``."""
        return {
            "identity": lambda images: straight_through(self.purify(images), images),
            "smooth_jpeg": partial(smooth_jpeg, quality=self.quality),
        }


@dataclass(frozen=True, kw_only=True)
class BitDepth(Purifier):
    """Fewer levels per channel (Guo et al. 2018; Xu, Evans, Qi 2018). Attacks go straight through.

    Attributes:
        levels: Levels per channel.
    """

    summary = "input with fewer levels per channel"
    paper = "https://arxiv.org/abs/1704.01155"
    year = 2018

    levels: int = 16

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= 256:
            raise ValueError(f"levels must be from 2 to 256, got {self.levels}")

    def purify(self, images: Tensor) -> Tensor:
        """See ``Purifier.purify``."""
        return quantised(images, self.levels)

    def twins(self) -> dict[str, Purify]:
        """See ``Purifier.twins``."""
        return {"identity": lambda images: straight_through(self.purify(images), images)}


@dataclass(frozen=True, kw_only=True)
class Blur(Purifier):
    """A 3 x 3 Gaussian, as in Gushchin et al. 2024 (Guardians of Image Quality); it has a gradient.

    Attributes:
        sigma: In pixels.
    """

    summary = "input blurred by a 3 x 3 Gaussian"
    paper = "https://arxiv.org/abs/2408.01541"
    year = 2024

    sigma: float = 0.8

    def __post_init__(self) -> None:
        if self.sigma <= 0:
            raise ValueError(f"sigma must be above 0, got {self.sigma}")

    def purify(self, images: Tensor) -> Tensor:
        """See ``Purifier.purify``."""
        return local_filter(images, "gauss", sigma=self.sigma)


@dataclass(frozen=True, kw_only=True)
class Median(Purifier):
    """A 3 x 3 median per channel (Xu, Evans, Qi 2018).

    Its gradient goes to one pixel of nine, so attacks go through a blur as well.
    """

    summary = "input through a 3 x 3 median"
    paper = "https://arxiv.org/abs/1704.01155"
    year = 2018

    def purify(self, images: Tensor) -> Tensor:
        """See ``Purifier.purify``."""
        return local_filter(images, "median")

    def twins(self) -> dict[str, Purify]:
        """See ``Purifier.twins``."""
        return {"median": self.purify, "blur": partial(local_filter, kind="gauss")}


@dataclass(frozen=True, kw_only=True)
class Resize(Purifier):
    """Images made smaller and large again, bilinear and antialiased; it has a gradient.

    As resize and upscale in Gushchin et al. 2024, but antialiased.

    Attributes:
        factor: Of the smaller size.
    """

    summary = "input made smaller and large again"
    paper = "https://arxiv.org/abs/2408.01541"
    year = 2024

    factor: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise ValueError(f"factor must be above 0 and below 1, got {self.factor}")

    def purify(self, images: Tensor) -> Tensor:
        """See ``Purifier.purify``."""
        h, w = images.shape[2:]
        size = [max(1, round(side * self.factor)) for side in (h, w)]
        small = F.interpolate(images, size, mode="bilinear", antialias=True)
        return F.interpolate(small, [h, w], mode="bilinear").clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class NoisyInput(Wrapper):
    """Normal noise on every input, fresh at every look; attacked in expectation (EOT).

    As in Gushchin et al. 2024.

    Attributes:
        sigma: Standard deviation on the ``[0, 1]`` scale.
    """

    summary = "input with fresh normal noise"
    paper = "https://arxiv.org/abs/2408.01541"
    year = 2024

    sigma: float = 0.01

    def __post_init__(self) -> None:
        if self.sigma < 0:
            raise ValueError(f"sigma must not be negative, got {self.sigma}")

    def wrap(self, regressor: Regressor) -> Regressor:
        """See ``Wrapper.wrap``."""
        return Noisy(regressor, self.sigma)
