"""The images of a data set side as bytes in the memory of a GPU, where they fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from iqabench.pixels import Pixels

SHARE = 0.25
"""Share of a GPU's free memory that images may take; networks need the rest."""
_CHUNK = 256


class Resident:
    """Centre crops of all images on one device; batches are made there.

    Args:
        pixels: The images.
        crop: Side of the squares.
        device: Where they are kept.
    """

    def __init__(self, pixels: Pixels, crop: int, device: torch.device) -> None:
        self.crops = torch.empty((len(pixels), crop, crop, 3), dtype=torch.uint8, device=device)
        for start in range(0, len(pixels), _CHUNK):
            numbers = range(start, min(start + _CHUNK, len(pixels)))
            chunk = torch.from_numpy(pixels.centre_bytes(numbers, crop))
            self.crops[start : start + len(numbers)] = chunk.to(device)

    def batch(self, numbers: Sequence[int]) -> Tensor:
        """Return ``(N, 3, crop, crop)`` in ``[0, 1]``; see ``Pixels.centre_crops``."""
        index = torch.as_tensor(np.asarray(numbers), device=self.crops.device)
        return self.crops[index].permute(0, 3, 1, 2).contiguous().float() / 255


class Residence:
    """Where the images of one side are kept; decided once per device."""

    def __init__(self) -> None:
        self._found: dict[torch.device, Resident | None] = {}

    def on(self, device: torch.device, pixels: Pixels, crop: int) -> Resident | None:
        """Return the images on a device; None where they stay on the host.

        They stay there for a CPU, and for a GPU without room.
        """
        if device.type != "cuda":
            return None
        if device not in self._found:
            free, _ = torch.cuda.mem_get_info(device)
            fits = fits_in(len(pixels), crop, free)
            self._found[device] = Resident(pixels, crop, device) if fits else None
        return self._found[device]


def fits_in(count: int, crop: int, free: int) -> bool:
    """Say whether so many crops may be kept where ``free`` bytes are left."""
    return count * crop * crop * 3 <= SHARE * free
