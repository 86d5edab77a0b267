"""The demo backbone: a small residual network that learns the demo data set on two CPU cores.

Every activation is a ``ReLU`` module of its own and never in place, because defenses replace
activations one by one.
"""

from __future__ import annotations

from torch import Tensor, nn

DEMO_CHANNELS = (24, 48, 64, 96)
"""Channels after the stem and after each later stage."""


class ConvBlock(nn.Module):
    """Convolution, batch norm, activation ``act``."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int) -> None:
        """Make the layers.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output.
            kernel: Odd side of the kernel; the padding keeps the size at stride 1.
            stride: Factor by which height and width shrink.
        """
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``."""
        out: Tensor = self.act(self.norm(self.conv(features)))
        return out


class ResidualBlock(nn.Module):
    """Two convolutions beside an identity: ``act`` inside, ``post`` after the addition."""

    def __init__(self, channels: int) -> None:
        """Make the layers.

        Args:
            channels: Channels of input and output.
        """
        super().__init__()
        self.inner = ConvBlock(channels, channels, kernel=3, stride=1)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.post = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Keep the shape ``(N, channels, H, W)``."""
        out: Tensor = self.post(features + self.norm(self.conv(self.inner(features))))
        return out


def demo_stages() -> list[nn.Module]:
    """Build the stages in order, the stem first, with torch's default initialisation.

    Returns:
        Modules to apply one after the other to normalised images; the last one gives
        ``DEMO_CHANNELS[-1]`` channels at 1/16 of the image side.
    """
    stem, first, second, last = DEMO_CHANNELS
    return [
        ConvBlock(3, stem, kernel=5, stride=2),
        ConvBlock(stem, first, kernel=3, stride=2),
        nn.Sequential(ConvBlock(first, second, kernel=3, stride=2), ResidualBlock(second)),
        ConvBlock(second, last, kernel=3, stride=2),
    ]
