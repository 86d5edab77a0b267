"""The undefended regressor that every defense is measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from iqabench.api import Backbone, Defense, Pooled, Regressor


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
        return Pooled(backbone, pool=self.pool, dropout=self.dropout)
