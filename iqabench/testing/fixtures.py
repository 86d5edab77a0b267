"""Tiny regressors, images and noise with known properties."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.contracts.backbone import Backbone
from iqabench.contracts.defense import Defense
from iqabench.contracts.noise import Noise
from iqabench.contracts.pooled import global_average
from iqabench.contracts.regressor import Regressor, RegressorWrapper
from iqabench.seeding import lent_rng, seed_torch

R = TypeVar("R", bound=Regressor)
_PERIOD = 4


class ImageByImage(Regressor):
    """A regressor whose numbers cannot depend on the batch, not even in the last bit.

    Convolutions over a batch may round differently from those over one image. Here every image goes
    through alone, so that any difference between batches is the attack's own.
    """

    @abstractmethod
    def one(self, image: Tensor) -> Tensor:
        """Return the logit, a scalar, of one image ``(1, 3, H, W)``."""

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``; deterministic."""
        return torch.stack([self.one(image[None]) for image in images])


class LinearRegressor(ImageByImage):
    """logit = sum(slope * images) + offset, for images of any size.

    The best move in a ball of radius eps is therefore ``eps * sign(slope)`` or its opposite, as far
    as the pixel range allows it.

    Args:
        offset: Added to the logit.
        seed: Seed of the slope.
    """

    def __init__(self, *, offset: float = 0.1, seed: int = 0) -> None:
        super().__init__()
        generator = np.random.default_rng([seed, 7])
        signs = generator.choice([-1.0, 1.0], (3, _PERIOD, _PERIOD))
        values = signs * generator.uniform(2.0, 6.0, signs.shape)
        self.weight = nn.Parameter(torch.from_numpy(values.astype(np.float32)))
        self.offset = offset

    def slope(self, height: int, width: int) -> Tensor:
        """Return the gradient of the logit with respect to an image, ``(3, height, width)``."""
        tiles = self.weight.repeat(1, -(-height // _PERIOD), -(-width // _PERIOD))
        return tiles[:, :height, :width] / (3 * height * width)

    def one(self, image: Tensor) -> Tensor:
        """See ``ImageByImage.one``."""
        return (self.slope(*image.shape[2:]) * (image[0] - 0.5)).sum() + self.offset


class SmoothRegressor(ImageByImage):
    """A small smooth network with batch norm, for images of any size.

    Args:
        seed: Seed of its weights.
    """

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        with lent_rng():
            seed_torch("iqabench.testing", seed)
            self.first = nn.Conv2d(3, 8, 3, padding=1)
            self.norm = nn.BatchNorm2d(8)
            self.second = nn.Conv2d(8, 8, 3, stride=2, padding=1)
            self.head = nn.Linear(8, 1)
        self.norm.running_mean = torch.linspace(-0.2, 0.2, 8)
        self.norm.running_var = torch.linspace(0.1, 0.3, 8)

    def one(self, image: Tensor) -> Tensor:
        """See ``ImageByImage.one``."""
        features = torch.tanh(self.norm(self.first(image)))
        features = F.softplus(self.second(features), beta=4)
        logit: Tensor = self.head(4 * global_average(features)).squeeze()
        return logit


class NoisyRegressor(RegressorWrapper):
    """A stochastic regressor: normal noise of deviation ``sigma`` on the images.

    Args:
        inner: What scores the noisy images.
        sigma: Standard deviation on the ``[0, 1]`` scale.
    """

    def __init__(self, inner: Regressor, *, sigma: float = 0.05) -> None:
        super().__init__(inner)
        self.sigma = sigma
        self.stochastic = True

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        if noise is None:
            raise ValueError("a stochastic regressor needs noise")
        drawn = noise.normal("pixels", images.shape[1:], like=images)
        return self.inner.logit(images + self.sigma * drawn, noise)


class PooledHead(Regressor):
    """Backbone, global average pooling, one linear unit, sigmoid.

    Args:
        backbone: Gives features ``(N, C, h, w)``.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.out_channels, 1)

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``; deterministic."""
        logits: Tensor = self.head(global_average(self.backbone(images))).squeeze(1)
        return logits


@dataclass(frozen=True, kw_only=True)
class PlainDefense(Defense):
    """No defense at all; what wrappers are checked around.

    It is the smallest regressor on a backbone, trained with the default step of the contract.
    """

    summary = "backbone, pooling, linear, sigmoid"

    def build(self, backbone: Backbone) -> Regressor:
        """See ``Defense.build``."""
        return PooledHead(backbone)


def frozen(regressor: R) -> R:
    """Return the regressor as the harness hands it to an attack: eval mode, weights frozen."""
    return regressor.eval().requires_grad_(False)


def tiny_images(count: int = 8, height: int = 12, width: int = 12, *, seed: int = 0) -> Tensor:
    """Return images on the 8-bit grid; of eight, one is black, one white, one of zeros and ones."""
    generator = np.random.default_rng([seed, count, height, width])
    levels = generator.integers(0, 256, (count, 3, height, width))
    for number, image in enumerate(levels):
        if number % 8 == 5:
            image[...] = 255 * (image > 127)
        elif number % 8 in (6, 7):
            image[...] = 255 * (number % 8 - 6)
    return torch.from_numpy(levels.astype(np.float32)) / 255


def tiny_mos(count: int = 8) -> Tensor:
    """Return labels spread over ``[0.05, 0.95]``, in no order and none of them 0.5."""
    return torch.linspace(0.05, 0.95, count)[[(3 * i + 1) % count for i in range(count)]]


def tiny_noise(count: int = 8, *, seed: int = 0) -> Noise:
    """Return the noise of a batch of ``count`` images."""
    return Noise(seed, tuple(f"image-{i}.png" for i in range(count)), scope="contract")
