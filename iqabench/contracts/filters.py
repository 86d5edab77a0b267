"""Filters of images and feature maps that several methods use."""

from __future__ import annotations

import io
import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

LocalFilter = Literal["mean", "median", "gauss"]
BLOCK = 8
"""Side of JPEG's blocks."""
LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 32),
)
"""Quantisation tables of ITU-T T.81, annex K, row by row."""


def local_filter(images: Tensor, kind: LocalFilter, *, sigma: float = 0.8) -> Tensor:
    """Return a 3 x 3 filter of every channel of ``(N, C, H, W)``; edges repeat.

    Args:
        images: Images or feature maps.
        kind: ``mean``, ``median`` or ``gauss``.
        sigma: Standard deviation of ``gauss``, in positions.
    """
    h, w = images.shape[2:]
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    shifted = torch.stack([padded[:, :, y : y + h, x : x + w] for y in range(3) for x in range(3)])
    if kind == "median":
        return shifted.median(dim=0).values
    steps = torch.tensor([-1.0, 0.0, 1.0]).to(images)
    line = torch.ones_like(steps) if kind == "mean" else torch.exp(-((steps / sigma) ** 2) / 2)
    weights = (line[:, None] * line).flatten()
    return torch.einsum("k,knchw->nchw", weights / weights.sum(), shifted)


def quantised(images: Tensor, levels: int) -> Tensor:
    """Return images in ``[0, 1]`` with so many levels per channel; rounding has no gradient."""
    steps = levels - 1
    return (images * steps).round() / steps


def straight_through(changed: Tensor, images: Tensor) -> Tensor:
    """Return ``changed`` with the gradient of ``images`` (BPDA with the identity)."""
    return images + (changed - images).detach()


def as_jpeg(images: Tensor, quality: int) -> Tensor:
    """Return images ``(N, 3, H, W)`` in ``[0, 1]`` stored as JPEG and read again; no gradient.

    Args:
        images: Rounded to 8 bits first.
        quality: 1 to 95.
    """
    return torch.stack([_stored(one, quality) for one in images.detach().cpu()]).to(images)


def _stored(image: Tensor, quality: int) -> Tensor:
    pixels = (image * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    read = np.asarray(Image.open(file), dtype=np.float32) / 255
    return torch.from_numpy(read).permute(2, 0, 1)


def smooth_jpeg(images: Tensor, quality: int) -> Tensor:
    """Return what ``as_jpeg`` does, step by step, with a gradient.

    Colours to YCbCr, chroma at half the resolution, 8 x 8 cosine transform, division by the tables,
    rounding, and back (ITU-T T.81). Rounding passes the gradient straight through (Shin and Song
    2017); values are as rounded.

    Args:
        images: ``(N, 3, H, W)`` in ``[0, 1]``.
        quality: 1 to 95, on the scale of the Independent JPEG Group.
    """
    h, w = images.shape[2:]
    padded = F.pad(images * 255, (0, -w % (2 * BLOCK), 0, -h % (2 * BLOCK)), mode="replicate")
    r, g, b = padded.unbind(1)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    chroma = torch.stack([(b - luma) / 1.772, (r - luma) / 1.402], dim=1)
    half = F.avg_pool2d(chroma, 2)
    luma = _through_blocks(luma[:, None] - 128, LUMINANCE, quality)[:, 0] + 128
    chroma = F.interpolate(
        _through_blocks(half, CHROMINANCE, quality), scale_factor=2, mode="bilinear"
    )
    blue, red = luma + 1.772 * chroma[:, 0], luma + 1.402 * chroma[:, 1]
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    out = torch.stack([red, green, blue], dim=1)[:, :, :h, :w]
    return straight_through(out.round(), out).clamp(0, 255) / 255


def _through_blocks(planes: Tensor, table: tuple[int, ...], quality: int) -> Tensor:
    """Return planes ``(N, C, H, W)`` after quantised cosine transforms of their blocks."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    steps = torch.tensor(table).float().mul(scale).add(50).div(100).floor().clamp(1, 255)
    steps = steps.reshape(BLOCK, BLOCK).to(planes)
    cosines = _cosines().to(planes)
    n, c, h, w = planes.shape
    blocks = planes.reshape(n, c, h // BLOCK, BLOCK, w // BLOCK, BLOCK).transpose(3, 4)
    found = cosines @ blocks @ cosines.T / steps
    kept = straight_through(found.round(), found) * steps
    return (cosines.T @ kept @ cosines).transpose(3, 4).reshape(n, c, h, w)


@lru_cache
def _cosines() -> Tensor:
    """Return the orthonormal cosine transform, ``(8, 8)``."""
    k, x = torch.arange(BLOCK)[:, None], torch.arange(BLOCK)[None]
    rows = torch.cos(math.pi * k * (2 * x + 1) / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    rows[0] /= math.sqrt(2)
    return rows
