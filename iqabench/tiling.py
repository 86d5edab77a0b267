"""Batches of images in parts that fit a processor's cache."""

from __future__ import annotations

import torch
from torch import Tensor

TILE = 1 << 18
"""Pixels of a part: a few maps of them are a few megabytes."""


def tiles(images: Tensor) -> tuple[Tensor, ...]:
    """Split a batch, so that several passes over a part find it in the cache; a GPU's stays whole.

    Args:
        images: ``(N, C, H, W)``.
    """
    if images.device.type != "cpu":
        return (images,)
    pixels = images.shape[2] * images.shape[3]
    return torch.split(images, max(1, TILE // max(1, pixels)))
