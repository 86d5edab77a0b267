"""Smooth activations, for smooth adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.api import Backbone, Defense, Pooled, Regressor

Activation = Literal["silu", "smooth_relu", "softplus", "elu", "gelu"]
ALPHA = {"smooth_relu": 400.0, "softplus": 10.0}
"""Sharpness where none is given: the published start of SmoothReLU; a softplus that stays within
0.07 of ReLU, which the pretrained weights know."""


class Smooth(nn.Module):
    """SmoothReLU or parametric softplus: ReLU with its corner rounded off.

    Args:
        kind: ``smooth_relu``: ``x - log(alpha x + 1) / alpha`` above 0, else 0 (the paper's Eq 6);
            ``softplus``: ``log(1 + exp(alpha x)) / alpha``.
        alpha: Sharpness; both become ReLU as it grows.
        learned: Whether training changes it; it stays positive.
    """

    def __init__(self, kind: str, alpha: float, *, learned: bool) -> None:
        super().__init__()
        self.kind = kind
        root = torch.tensor(alpha).sqrt()
        self.root = nn.Parameter(root) if learned else root

    def forward(self, features: Tensor) -> Tensor:
        """Map any shape to the same shape."""
        alpha = self.root.to(features).square()
        if self.kind == "softplus":
            return F.softplus(alpha * features) / alpha
        above = features.relu()
        return above - torch.log1p(alpha * above) / alpha


@dataclass(frozen=True, kw_only=True)
class SAT(Defense):
    """Every activation replaced by a smooth one (Xie et al. 2020, sections 3.3 and 4).

    The paper's point is that adversarial training gains from exact gradients; it trains so with one
    signed step at 4/255. That is ``at:eps_255=4,steps=1+sat`` here. ``sat`` alone is the swap
    without adversarial training, as "clean training" in the captions of the CPRL paper says of its
    row SAT. Deviations: scores in place of classes; the rest of the network is what it was.

    Attributes:
        activation: What replaces every activation: ``silu`` (the paper's best), ``smooth_relu``,
            ``softplus``, ``elu``, ``gelu``.
        alpha: Sharpness of ``smooth_relu`` and ``softplus``; 0 takes 400 and 10.
        learn_alpha: Whether training changes it, one per activation, as the paper's SmoothReLU.
    """

    summary = "smooth activations in place of ReLU, for adversarial training"
    paper = "https://arxiv.org/abs/2006.14536"
    year = 2020

    activation: Activation = "silu"
    alpha: float = 0.0
    learn_alpha: bool = False

    def __post_init__(self) -> None:
        if self.alpha < 0:
            raise ValueError(f"alpha must not be negative, got {self.alpha}")
        if self.activation not in ALPHA and (self.alpha or self.learn_alpha):
            raise ValueError(f"{self.activation} has no alpha; smooth_relu and softplus have")

    def build(self, backbone: Backbone) -> Regressor:
        """See ``Defense.build``."""
        for site in backbone.sites:
            backbone.replace_activation(site, lambda _: self._make())
        return Pooled(backbone)

    def _make(self) -> nn.Module:
        plain: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "elu": nn.ELU, "gelu": nn.GELU}
        if self.activation in plain:
            return plain[self.activation]()
        alpha = self.alpha or ALPHA[self.activation]
        return Smooth(self.activation, alpha, learned=self.learn_alpha)
