"""The regressor that most methods change a part of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iqabench.contracts.backbone import Backbone
from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Regressor


class Pooled(Regressor):
    """Backbone, spatial pooling, one linear unit, sigmoid.

    A method that replaces activations or adds modules does so in the backbone first.

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
        """See ``Regressor.logit``; ``noise`` is unused."""
        features = self.backbone(images)
        pooled = global_average(features) if self.pool == "avg" else torch.amax(features, (2, 3))
        logits: Tensor = self.head(self.dropout(pooled)).squeeze(1)
        return logits


def global_average(features: Tensor) -> Tensor:
    """Return the spatial mean ``(N, C)`` of features ``(N, C, h, w)``."""
    return torch.mean(features, dim=(2, 3))
