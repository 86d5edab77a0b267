"""PNG files as data URIs of a page, within a budget of bytes, and amplified differences."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BUDGET = 6_000_000
"""Bytes of PNG files that one page may hold."""
MOST_PIXELS = 16_000_000
GREY = 128
"""Grey level of a pixel that did not move, in a difference."""

Pixels = NDArray[np.uint8]


class PictureError(Exception):
    """A picture cannot be shown; the message is one line for the page."""


@dataclass
class Album:
    """The pictures of a page, each once.

    Attributes:
        budget: How many bytes of PNG files fit in all.
        uris: The pictures as data URIs.
        used: Bytes of those so far.
        is_full: Whether something did not fit; nothing is worth reading then.
    """

    budget: int = field(default_factory=lambda: BUDGET)
    uris: list[str] = field(default_factory=list)
    used: int = 0
    is_full: bool = False
    _places: dict[bytes, int] = field(default_factory=dict)

    def add(self, pictures: list[bytes]) -> list[int] | None:
        """Return the places of pictures that belong together; None if they do not all fit."""
        new = {data for data in pictures if data not in self._places}
        if self.used + sum(map(len, new)) > self.budget:
            self.is_full = True
            return None
        for data in pictures:
            if data not in self._places:
                self._places[data] = len(self.uris)
                self.uris.append(data_uri(data))
                self.used += len(data)
        return [self._places[data] for data in pictures]


def data_uri(png: bytes) -> str:
    """Return a PNG file as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def read_png(run: Path, name: str) -> tuple[bytes, Pixels]:
    """Read an 8-bit PNG file of a run.

    Args:
        run: The run directory.
        name: Path relative to it.

    Returns:
        The file, and its pixels of shape ``(height, width, 3)``.

    Raises:
        PictureError: It lies elsewhere, is missing, too large, or no 8-bit PNG file.
    """
    path = run / name
    if not path.resolve().is_relative_to(run.resolve()):
        raise PictureError(f"{name} lies outside the run and was not read.")
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as e:
        raise PictureError(f"{name} is missing or cannot be read.") from e
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.width * image.height > MOST_PIXELS:
                raise PictureError(f"{name} is too large to be shown.")
            if image.mode not in ("RGB", "L"):
                raise PictureError(f"{name} is no 8-bit PNG file in colour or grey.")
            return data, np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        raise PictureError(f"{name} is no PNG file that can be read.") from e


def factor_for(eps_255: float) -> int:
    """Return what a difference is multiplied by, so that eps (at least 1) fills the range.

    Example:
        >>> [factor_for(eps) for eps in (0.5, 1, 4, 200)]
        [127, 127, 31, 1]
    """
    return max(1, int((GREY - 1) // max(eps_255, 1.0)))


def difference(clean: Pixels, attacked: Pixels, factor: int) -> bytes:
    """Return ``128 + factor * (attacked - clean)``, clipped to 8 bits, as a PNG file.

    Raises:
        PictureError: The two have different sizes.
    """
    if clean.shape != attacked.shape:
        raise PictureError("A clean and an attacked picture differ in size.")
    moved = attacked.astype(np.int32) - clean.astype(np.int32)
    pixels = np.clip(GREY + factor * moved, 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG", optimize=True)
    return out.getvalue()
