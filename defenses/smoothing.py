"""Median smoothing: the median score under normal noise, with a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from iqabench.api import (
    Certifiable,
    Certificate,
    Noise,
    Regressor,
    Wrapper,
    median_bounds,
)


class MedianSmoothed(Certifiable):
    """The median logit of a regressor under normal noise.

    Args:
        inner: The regressor.
        sigma: Standard deviation of the noise on the ``[0, 1]`` scale.
        samples: Passes per score.
    """

    def __init__(self, inner: Regressor, sigma: float, samples: int) -> None:
        super().__init__(inner)
        self.sigma, self.samples = sigma, samples
        self.stochastic = True

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        return self.sampled(images, noise, self.samples).quantile(0.5, dim=0)

    def sampled(self, images: Tensor, noise: Noise | None, samples: int) -> Tensor:
        """Return the logits of so many noisy copies, ``(samples, N)``."""
        if noise is None:
            raise ValueError("smoothing needs noise")
        found = []
        for number in range(samples):
            one = noise.for_purpose(f"smoothing{number}")
            moved = images + self.sigma * one.normal("noise", images.shape[1:], like=images)
            found.append(self.inner.logit(moved.clamp(0, 1), one))
        return torch.stack(found)

    def surrogates(self) -> dict[str, Regressor]:
        """Return the mean in place of the median, through each way around what is inside."""
        inside = {"mean": self.inner, **self.inner.surrogates()}
        return {name: Mean(self, regressor) for name, regressor in inside.items()}

    @torch.no_grad()
    def certify(
        self,
        images: Tensor,
        noise: Noise,
        *,
        l2: Sequence[float],
        samples: int,
        confidence: float,
    ) -> Certificate:
        """See ``Certifiable.certify``."""
        scores = self.squash(self.sampled(images, noise.for_purpose("certify"), samples))
        values: np.ndarray = scores.double().cpu().numpy().T
        return median_bounds(values, sigma=self.sigma, l2=l2, confidence=confidence)


class Mean(Regressor):
    """The mean logit under the noise of a smoothed regressor: all samples have a gradient.

    Args:
        smoothed: Whose noise.
        inner: What sees it: what is inside, or a way around it.
    """

    stochastic = True

    def __init__(self, smoothed: MedianSmoothed, inner: Regressor) -> None:
        super().__init__()
        self.smoothed = MedianSmoothed(inner, smoothed.sigma, smoothed.samples)

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        return self.smoothed.sampled(images, noise, self.smoothed.samples).mean(0)

    def squash(self, logits: Tensor) -> Tensor:
        """See ``Regressor.squash``."""
        return self.smoothed.squash(logits)


@dataclass(frozen=True, kw_only=True)
class Smoothing(Wrapper):
    """The median score under normal noise (Chiang et al. 2020), which has an L2 certificate.

    The certificate says nothing about the L-infinity radii of a sweep: 1/255 on every value of a
    320 x 320 image is an L2 norm of 2.2, eighteen times the sigma here. There the defense is
    attacked like any other, in expectation, and through the mean over the noise, which is smooth
    where the median is not. Noisy images are clipped to ``[0, 1]``, which a regressor that clips by
    itself would do as well, so the certificate holds.

    Attributes:
        sigma: Standard deviation of the noise on the ``[0, 1]`` scale.
        samples: Passes per score.
    """

    summary = "median score under normal noise, with an L2 certificate"
    paper = "https://arxiv.org/abs/2007.03730"
    year = 2020

    sigma: float = 0.12
    samples: int = 20

    def __post_init__(self) -> None:
        if self.sigma <= 0:
            raise ValueError(f"sigma must be above 0, got {self.sigma}")
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")

    def wrap(self, regressor: Regressor) -> Regressor:
        """See ``Wrapper.wrap``."""
        return MedianSmoothed(regressor, self.sigma, self.samples)
