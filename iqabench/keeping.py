"""Attacked images, kept as 8-bit PNGs beside the cell that they belong to."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from iqabench.errors import BudgetError, ConfigError, OutputError, ResultsError
from iqabench.files import hash_file, hash_of, write_bytes
from iqabench.sides import Side

FOLDER = "images"
"""Of a run directory."""
CLEAN = f"{FOLDER}/clean"
"""Where the images before the attack are, once for all cells."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Saving:
    """Which images of a cell are kept.

    Attributes:
        count: How many, drawn by their names alone, so that all cells keep the same ones and a
            larger number adds to a smaller one's; None keeps all.
    """

    count: int | None

    @classmethod
    def parse(cls, text: str) -> Saving:
        """Return what a flag asks for.

        Raises:
            ConfigError: It is neither a number above 0 nor ``all``.
        """
        if text == "all":
            return cls(None)
        if not (text.isascii() and text.isdigit() and int(text) > 0):
            raise ConfigError(f"--save-images {text}: give how many images of a cell, or 'all'")
        return cls(int(text))

    def numbers(self, side: Side) -> frozenset[int]:
        """Return the places of the kept images on a side."""
        ranked = sorted(range(len(side)), key=lambda n: hash_of(side.image_ids[n]))
        return frozenset(ranked[: self.count])


def can_keep(eps_255: float) -> bool:
    """Say whether 8 bits can use up a radius: whole grey levels alone, for rounding to them."""
    return float(eps_255).is_integer()


@dataclass(frozen=True)
class Keeper:
    """Keeps images of one cell.

    Attributes:
        run: The run directory.
        key: The cell's.
        side: The attacked images.
        numbers: Places of those that are kept.
        eps_255: The radius, in whole grey levels.
        bounded: Whether the threat model has the L-infinity ball.
        kept: What the cell file says of each, in the order of the split.
    """

    run: Path
    key: str
    side: Side
    numbers: frozenset[int]
    eps_255: float
    bounded: bool
    kept: list[dict[str, str]] = field(default_factory=list)

    def keep(self, clean: Tensor, rounded: Tensor, numbers: Sequence[int]) -> None:
        """Write the wanted ones of a batch, and look at what the files give back.

        Args:
            clean: ``(N, 3, H, W)`` in ``[0, 1]``, on the 8-bit grid.
            rounded: The attacked ones, on the 8-bit grid.
            numbers: Their places on the side.

        Raises:
            BudgetError: A file gives back other pixels, or some that moved too far.
            OutputError: The folder cannot be written.
        """
        for place, number in enumerate(numbers):
            if number in self.numbers:
                self._keep_one(to_bytes(clean[place]), to_bytes(rounded[place]), number)

    def discard(self) -> None:
        """Remove what was kept, of a cell that failed later on; clean images are everybody's."""
        shutil.rmtree(self.run / FOLDER / self.key, ignore_errors=True)

    def _keep_one(self, clean: Bytes, attacked: Bytes, number: int) -> None:
        name = f"{self._name(number)}.png"
        before, after = f"{CLEAN}/{name}", f"{FOLDER}/{self.key}/{name}"
        if not _holds(self.run / before, clean):
            write_bytes(self.run / before, to_png(clean))
        write_bytes(self.run / after, to_png(attacked))
        again = [read_png(self.run / path) for path in (before, after)]
        for wanted, found, path in zip((clean, attacked), again, (before, after), strict=True):
            if not np.array_equal(wanted, found):
                raise BudgetError(f"{self.run / path} gives back other pixels than were saved")
        moved = int(np.abs(again[1].astype(int) - again[0].astype(int)).max())
        if self.bounded and moved > self.eps_255:
            raise BudgetError(
                f"{self.run / after}: saved in 8 bits, a pixel moved by {moved}/255, more than eps"
                f" = {self.eps_255:g}/255"
            )
        self.kept.append(
            {
                "image_id": self.side.image_ids[number],
                "clean": before,
                "attacked": after,
                "sha256": hash_file(self.run / after),
            }
        )

    def _name(self, number: int) -> str:
        """Return what names an image in all runs: its file's content and how it was cut."""
        geometry = self.side.geometry
        return hash_of([self.side.hashes[number], geometry.resize, geometry.crop])[:16]


def whole(run: Path, kept: Sequence[dict[str, Any]] | None, wanted: Sequence[str]) -> bool:
    """Say whether every wanted image was kept, and both its files are there."""
    there = {
        one["image_id"]
        for one in kept or ()
        if all((run / one[kind]).is_file() for kind in ("clean", "attacked"))
    }
    return there >= set(wanted)


def file_of(run: Path, name: str) -> Path:
    """Return a file that a cell names.

    Raises:
        ResultsError: It lies outside the run: cell files come from other people too.
    """
    if not (run / name).resolve().is_relative_to(run.resolve()):
        raise ResultsError(f"the image {name!r} lies outside the run {run}")
    return run / name


def _holds(path: Path, image: Bytes) -> bool:
    try:
        return path.exists() and np.array_equal(read_png(path), image)
    except OutputError:
        return False


def to_bytes(image: Tensor) -> Bytes:
    """Return ``(3, H, W)`` in ``[0, 1]`` as ``(H, W, 3)`` in whole grey levels."""
    levels = (image.detach().cpu() * 255).round().clamp(0, 255)
    found: Bytes = levels.permute(1, 2, 0).numpy().astype(np.uint8)
    return found


def to_png(image: Bytes) -> bytes:
    """Return ``(H, W, 3)`` as the bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def read_png(path: Path) -> Bytes:
    """Return a kept image, ``(H, W, 3)``.

    Raises:
        OutputError: It is missing, damaged, or no RGB image of 8 bits.
    """
    try:
        with Image.open(path) as image:
            if image.mode != "RGB":
                raise OutputError(f"{path} is no RGB image of 8 bits, but of mode {image.mode}")
            return np.asarray(image)
    except OSError as e:
        raise OutputError(f"{path} cannot be read: {e}") from e
