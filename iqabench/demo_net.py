"""The demo backbone: a small convolutional network that learns the demo data set on two CPU cores.

Every activation is a ``ReLU`` module of its own, named ``act`` and never in place, because defenses
replace activations one by one.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

DEMO_CHANNELS = (24, 48, 64, 96)
"""Channels after each stage, the stem first."""


class ConvBlock(nn.Module):
    """Convolution that halves height and width, batch norm, activation ``act``."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int) -> None:
        """Make the layers.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output.
            kernel: Side of the kernel, odd.
        """
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride=2, padding=kernel // 2, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, ceil(H / 2), ceil(W / 2))``."""
        out: Tensor = self.act(self.norm(self.conv(features)))
        return out


def demo_stages() -> list[nn.Module]:
    """Build the stages in order, the stem first, with weights drawn from torch's generator.

    Returns:
        Modules to apply one after the other to normalised images; the last one gives
        ``DEMO_CHANNELS[-1]`` channels at 1/16 of the image side.
    """
    stem = ConvBlock(3, DEMO_CHANNELS[0], kernel=5)
    with torch.no_grad():
        # Distortions live in differences of neighbours; starting blind to the local mean colour,
        # which belongs to the content, helps in the few epochs that there are.
        stem.conv.weight -= stem.conv.weight.mean(dim=(2, 3), keepdim=True)
    later = (ConvBlock(before, after, kernel=3) for before, after in pairwise(DEMO_CHANNELS))
    return [stem, *later]
