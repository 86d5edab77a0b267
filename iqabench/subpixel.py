"""Pixel gradients of convolutions that read images and skip pixels.

The usual kernel for this gradient is made for many input channels; with three it takes twice as
long. Here each of the pixels between two strides is a channel of one ordinary convolution, as in
sub-pixel upsampling (Shi et al. 2016, section 3.2).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812 - the usual name

FEW = 4
"""Up to so many input channels it is faster."""


class SubpixelConv(nn.Conv2d):
    """The same convolution, with a faster gradient of what it reads.

    Args:
        conv: One that ``suits`` likes; its weights are shared, not copied.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            bias=conv.bias is not None,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.train(conv.training)

    def forward(self, images: Tensor) -> Tensor:
        """See ``nn.Conv2d``; images ``(N, C, H, W)``."""
        if images.requires_grad and torch.is_grad_enabled():
            return _Pixels.apply(images, self)  # type: ignore[no-any-return]
        return super().forward(images)


def suits(conv: nn.Conv2d) -> bool:
    """Say whether a convolution gains: on a CPU, frozen, few channels in, and square strides."""
    return (
        conv.weight.device.type == "cpu"
        and not any(p.requires_grad for p in conv.parameters())
        and conv.in_channels <= FEW
        and conv.groups == 1
        and conv.dilation == (1, 1)
        and conv.stride[0] == conv.stride[1] > 1
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )


class _Pixels(torch.autograd.Function):
    """A convolution's output, with the gradient going to its input."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, conv: SubpixelConv) -> Tensor:
        ctx.conv, ctx.size = conv, images.shape[2:]
        return nn.Conv2d.forward(conv, images)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _input_gradient(gradient, ctx.conv, ctx.size), None


def _input_gradient(gradient: Tensor, conv: SubpixelConv, size: torch.Size) -> Tensor:
    """Return the gradient of the input from that of the output, ``(N, C, *size)``."""
    stride, weight = int(conv.stride[0]), conv.weight
    height, width = (-(-k // stride) for k in weight.shape[2:])
    missing = (0, width * stride - weight.shape[3], 0, height * stride - weight.shape[2])
    split = F.pad(weight, missing).reshape(*weight.shape[:2], height, stride, width, stride)
    # (out, in, rows, row phase, columns, column phase) -> (in and phases, out, rows, columns)
    kernel = split.permute(1, 3, 5, 0, 2, 4).flatten(0, 2).flip(2, 3)
    phases = F.conv2d(gradient, kernel, padding=(height - 1, width - 1))
    whole = F.pixel_shuffle(phases, stride)
    top, left = (int(p) for p in conv.padding)
    return F.pad(
        whole, (-left, size[1] + left - whole.shape[3], -top, size[0] + top - whole.shape[2])
    )
