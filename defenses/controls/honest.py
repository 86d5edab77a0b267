"""Controls that hide nothing."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from iqabench.api import Backbone, Defense, Noise, Regressor, global_average


class Const(Regressor):
    """The same score for every image, whatever its weights are trained to."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``; each logit depends on its image by nothing."""
        return self.value + 0 * images.mean((1, 2, 3))


@dataclass(frozen=True, kw_only=True)
class Constant(Defense):
    """One score for all images: perfectly robust, and useless.

    Shows why robustness says nothing without the SROCC of clean images.
    """

    summary = "one score for all images"

    def build(self, backbone: Backbone) -> Regressor:
        """See ``Defense.build``."""
        return Const()


class SpectralHead(Regressor):
    """Backbone, average pooling, a linear unit of norm 1, sigmoid.

    Args:
        backbone: Gives features ``(N, C, h, w)``.
        gain: What the unit's output is multiplied by.
    """

    def __init__(self, backbone: Backbone, gain: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.gain = gain
        self.head = spectral_norm(nn.Linear(backbone.out_channels, 1))

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        logits: Tensor = self.head(global_average(self.backbone(images))).squeeze(1)
        return self.gain * logits


@dataclass(frozen=True, kw_only=True)
class Spectral(Defense):
    """A head with spectral norm: its weights cannot grow (Miyato et al. 2018).

    Attributes:
        gain: What its output is multiplied by.
    """

    summary = "linear head with spectral norm"
    paper = "https://arxiv.org/abs/1802.05957"
    year = 2018

    gain: float = 1.0

    def build(self, backbone: Backbone) -> Regressor:
        """See ``Defense.build``."""
        return SpectralHead(backbone, self.gain)


class Mean(Regressor):
    """The mean logit of two networks.

    Args:
        backbone: Used by the first; the second has a copy of its own.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbones = nn.ModuleList([backbone, copy.deepcopy(backbone)])
        self.heads = nn.ModuleList([nn.Linear(backbone.out_channels, 1) for _ in range(2)])

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        pairs = zip(self.backbones, self.heads, strict=True)
        found = [head(global_average(net(images))).squeeze(1) for net, head in pairs]
        return torch.stack(found).mean(0)


@dataclass(frozen=True, kw_only=True)
class Average(Defense):
    """The mean of two networks that are trained as one.

    Both start from the same backbone and differ by their heads and by what training makes of them.
    """

    summary = "mean of two networks"

    def build(self, backbone: Backbone) -> Regressor:
        """See ``Defense.build``."""
        return Mean(backbone)
