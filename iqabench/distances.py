"""How far attacked images are from the clean ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from iqabench.tiling import tiles

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
"""Window, width and constants of Wang et al. 2004, for pixels in ``[0, 1]``."""


@dataclass(frozen=True)
class Distances:
    """How far attacked images are from the clean ones, per image, on the CPU.

    Attributes:
        linf_255: Largest move of a pixel, in grey levels.
        linf_8bit_255: The same after rounding to 8 bits; NaN where that was not asked for.
        l2: Euclidean norm of the move on the ``[0, 1]`` scale.
        psnr: Decibels, infinite where nothing moved.
        ssim: Structural similarity of the luminance (Wang et al. 2004), 11 x 11 Gaussian window,
            images mirrored at the border.
    """

    linf_255: Tensor
    linf_8bit_255: Tensor
    l2: Tensor
    psnr: Tensor
    ssim: Tensor

    @classmethod
    def of_unmoved(cls, images: Tensor) -> Distances:
        """Return those of images that are what they were, which need not be measured."""
        still = torch.zeros(len(images))
        alike = torch.ones_like(still) if _has_windows(images) else torch.full_like(still, math.nan)
        return cls(still, still, still, torch.full_like(still, math.inf), alike)


class Ruler:
    """Measures versions of one batch of images; what the clean ones need is computed once.

    Args:
        clean: The clean images, ``(N, 3, H, W)`` in ``[0, 1]``.
    """

    def __init__(self, clean: Tensor) -> None:
        self.clean = clean
        self._tiles = [_Tile(images) for images in tiles(clean)]

    @torch.no_grad()
    def __call__(self, adversarial: Tensor, rounded: Tensor | None) -> Distances:
        """Return the distances of attacked images; ``rounded`` are the same after 8 bits."""
        sizes = [len(tile.clean) for tile in self._tiles]
        after = [None] * len(sizes) if rounded is None else torch.split(rounded, sizes)
        measured = [
            tile.distances(moved, grid)
            for tile, moved, grid in zip(
                self._tiles, torch.split(adversarial, sizes), after, strict=True
            )
        ]
        columns = zip(*(vars(part).values() for part in measured), strict=True)
        return Distances(*(torch.cat(column) for column in columns))


class _Tile:
    """Some images of a batch."""

    def __init__(self, clean: Tensor) -> None:
        self.clean = clean

    def distances(self, adversarial: Tensor, rounded: Tensor | None) -> Distances:
        """Return what ``Ruler`` does of these images."""
        clean = self.clean.flatten(1)
        move = adversarial.flatten(1) - clean
        largest, l2 = _largest(move), move.norm(dim=1)
        mse = move.square_().mean(1)
        if rounded is None:
            largest_8bit = torch.full_like(largest, math.nan)
        else:
            largest_8bit = _largest(torch.sub(rounded.flatten(1), clean, out=move))
        return Distances(
            linf_255=largest.cpu(),
            linf_8bit_255=largest_8bit.round().cpu(),
            l2=l2.cpu(),
            psnr=(-10 * torch.log10(mse)).cpu(),
            ssim=self._ssim(adversarial).cpu(),
        )

    def _ssim(self, adversarial: Tensor) -> Tensor:
        if not _has_windows(self.clean):
            return torch.full((len(self.clean),), math.nan)
        y, mean_y, square_y, spread_y = self._clean_means
        x = _luminance(adversarial)
        mean_x, spread_x, product = _blurred(torch.cat((x, x * x, x * y))).chunk(3)
        square_x, both = mean_x * mean_x, mean_x * mean_y
        spread = spread_x.sub_(square_x).clamp_min_(0).add_(spread_y).add_(SSIM_C2)
        likeness = product.sub_(both).mul_(2).add_(SSIM_C2).mul_(both.mul_(2).add_(SSIM_C1))
        return likeness.div_(square_x.add_(square_y).add_(SSIM_C1)).div_(spread).mean((1, 2))

    @cached_property
    def _clean_means(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Luminance, its windows' means, their squares, and the windows' variances."""
        y = _luminance(self.clean)
        mean, spread = _blurred(torch.cat((y, y * y))).chunk(2)
        square = mean * mean
        return y, mean, square, (spread - square).clamp_min_(0)


def _has_windows(images: Tensor) -> bool:
    return min(images.shape[2:]) >= SSIM_WINDOW


def _largest(move: Tensor) -> Tensor:
    """Return the largest absolute value of each row, in grey levels."""
    return torch.maximum(move.amax(1), -move.amin(1)) * 255


def _luminance(images: Tensor) -> Tensor:
    """Return ``(N, H, W)`` with a mirrored margin of half a window."""
    red, green, blue = images.unbind(1)
    grey = (0.299 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)
    return pad(grey, [SSIM_WINDOW // 2] * 4, "reflect")


def _blurred(maps: Tensor) -> Tensor:
    """Return Gaussian means of ``(N, H, W)`` over all windows, columns first, then rows.

    One axis after the other is a fifth of the work of square windows; those cost as much as half a
    ResNet-18.
    """
    places = torch.arange(SSIM_WINDOW, device=maps.device) - SSIM_WINDOW // 2
    weights = torch.softmax(-(places / SSIM_SIGMA).square() / 2, 0).expand(len(maps), 1, -1)
    down = conv2d(maps[None], weights[..., :, None], groups=len(maps))
    return conv2d(down, weights[..., None, :], groups=len(maps))[0]
