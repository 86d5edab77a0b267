"""Feature denoising: non-local blocks between the stages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from iqabench.api import Backbone, Defense, Pooled, Regressor, local_filter

Filter = Literal["softmax", "dot", "mean", "median", "gauss"]
WEIGHTS = 2**24
"""Attention weights that are held at a time, over all images of a batch: 64 MiB in float32."""


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return softmax attention, exact, in memory that does not grow with the square of the size.

    Rows of the weights are made some at a time, and made again in the backward pass.

    Args:
        queries: ``(N, P, D)``.
        keys: ``(N, P, D)``.
        values: ``(N, P, C)``.
    """
    rows = max(1, WEIGHTS // (len(keys) * keys.shape[1]))
    parts = torch.split(queries, rows, dim=1)
    if len(parts) == 1:
        return _rows(queries, keys, values)
    return torch.cat([_recomputed(part, keys, values) for part in parts], dim=1)


def _rows(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    scale = queries.shape[-1] ** -0.5
    weights = torch.softmax(scale * queries @ keys.transpose(1, 2), dim=-1)
    return weights @ values


def _recomputed(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    out: Tensor = checkpoint(_rows, queries, keys, values, use_reentrant=False)
    return out


class NonLocal(nn.Module):
    """Non-local means with the embedded Gaussian (the paper's Eq 2; Wang et al. 2018).

    ``D_i = sum_j softmax_j(theta(x_i) . phi(x_j) / sqrt(C / 2)) x_j``: the values are x itself.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        for convolution in (self.theta, self.phi):
            nn.init.normal_(convolution.weight, std=0.01)
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to the same shape."""
        maps = (self.theta(features), self.phi(features), features)
        queries, keys, values = (x.flatten(2).transpose(1, 2) for x in maps)
        return attend(queries, keys, values).transpose(1, 2).reshape(features.shape)


def dot_product(features: Tensor) -> Tensor:
    """Return ``D_i = 1/P sum_j (x_i . x_j) x_j`` of ``(N, C, h, w)`` (the paper's Eq 4).

    The product is associative: whichever of C x C and P x P is smaller is made.
    """
    flat = features.flatten(2)
    count, channels = flat.shape[2], flat.shape[1]
    if channels <= count:
        found = (flat @ flat.transpose(1, 2)) @ flat
    else:
        found = flat @ (flat.transpose(1, 2) @ flat)
    return (found / count).reshape(features.shape)


class Denoising(nn.Module):
    """``z = x + BN(W D(x))``: the identity at first, because the norm's scale starts at 0.

    Args:
        channels: Channels of the features.
        kind: Which D.
    """

    def __init__(self, channels: int, kind: Filter) -> None:
        super().__init__()
        self.filter: nn.Module | partial[Tensor]
        if kind == "softmax":
            self.filter = NonLocal(channels)
        else:
            self.filter = (
                partial(dot_product) if kind == "dot" else partial(local_filter, kind=kind)
            )
        self.mix = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to the same shape."""
        added: Tensor = self.norm(self.mix(self.filter(features)))
        return features + added


@dataclass(frozen=True, kw_only=True)
class Denoise(Defense):
    """A denoising block after each of the last four stages (Xie et al. 2019, section 4).

    The paper denoises *and* trains adversarially; it reports no gain without the latter. That is
    ``at+denoise`` here; ``denoise`` alone is what "clean training" in the captions of the CPRL
    paper says of its row. Deviations: scores in place of classes; blocks after the last four stages
    of any backbone, the stem excepted, in place of res2 to res5; the new parameters learn at the
    rate of the others.

    Attributes:
        filter: D of the block: ``softmax`` (the paper's best: non-local, embedded Gaussian),
            ``dot`` (non-local, dot product), or a 3 x 3 ``mean``, ``median``, ``gauss``.
    """

    summary = "denoising blocks between the stages: non-local means, or a local filter"
    paper = "https://arxiv.org/abs/1812.03411"
    year = 2019

    filter: Filter = "softmax"

    def build(self, backbone: Backbone) -> Regressor:
        """See ``Defense.build``."""
        for stage in range(max(0, len(backbone.channels) - 4), len(backbone.channels)):
            if stage or len(backbone.channels) == 1:
                backbone.insert_after_stage(stage, Denoising(backbone.channels[stage], self.filter))
        return Pooled(backbone)
