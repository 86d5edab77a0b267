"""The undefended regressor that every defense is measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from iqabench.api import Backbone, Defense, Noise, Regressor, global_average


class PooledLinear(Regressor):
    """Backbone, spatial pooling, one linear unit, sigmoid.

    Args:
        backbone: Gives features ``(N, C, h, w)``.
        pool: ``avg`` or ``max`` over the positions.
        dropout: Share of pooled features dropped in training.
    """

    def __init__(self, backbone: Backbone, *, pool: str = "avg", dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.out_channels, 1)

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``; ``noise`` is unused, the method is deterministic."""
        features = self.backbone(images)
        pooled = global_average(features) if self.pool == "avg" else torch.amax(features, (2, 3))
        logits: Tensor = self.head(self.dropout(pooled)).squeeze(1)
        return logits


@dataclass(frozen=True, kw_only=True)
class ResNet(Defense):
    """No defense: backbone, global average pooling, linear, sigmoid, MSE on the score.

    The paper's row "ResNet" (He et al. 2016 on ResNet-50); the backbone is chosen beside it, so the
    same head serves as the undefended sibling on any of them.

    Attributes:
        pool: Spatial pooling, ``avg`` (the paper's) or ``max``.
        dropout: Share of pooled features dropped in training; the paper has none.
    """

    summary = "no defense: backbone, pooling, linear, sigmoid, MSE"
    paper = "https://arxiv.org/abs/1512.03385"
    year = 2016

    pool: Literal["avg", "max"] = "avg"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")

    def build(self, backbone: Backbone) -> Regressor:
        """See ``Defense.build``."""
        return PooledLinear(backbone, pool=self.pool, dropout=self.dropout)
