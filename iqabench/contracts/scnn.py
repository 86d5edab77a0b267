"""S-CNN's convolutions: DBCNN has them, and ``iqabench pretrain-scnn`` trains them."""

from __future__ import annotations

from torch import nn

LAYERS = ((48, 1), (48, 2), (64, 1), (64, 2), (64, 1), (64, 2), (128, 1), (128, 1), (128, 2))
"""Channels and stride of each."""
SCNN_CHANNELS = LAYERS[-1][0]
"""Of its features, ``(N, SCNN_CHANNELS, ceil(H / 16), ceil(W / 16))``."""


def scnn_features() -> nn.Sequential:
    """Return the nine convolutions of S-CNN, named as in the published weights."""
    layers: list[nn.Module] = []
    before = 3
    for channels, stride in LAYERS:
        layers += [
            nn.Conv2d(before, channels, 3, stride, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
        before = channels
    return nn.Sequential(*layers)
