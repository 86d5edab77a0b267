"""The images of one side of a split, as networks see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from iqabench.contracts.dataset import Row
from iqabench.contracts.noise import Noise
from iqabench.errors import DataError, UnreadableImagesError
from iqabench.files import hash_of
from iqabench.pixels import VERSION as PIXELS_VERSION
from iqabench.pixels import Pixels, cache_folder, hash_images, open_pixels
from iqabench.progress import Reporter
from iqabench.resident import Residence


@dataclass(frozen=True)
class Geometry:
    """How images become network inputs, in pixels: shorter side to ``resize``, ``crop`` square."""

    resize: int
    crop: int


@dataclass(frozen=True)
class Side:
    """The images of one side of a split, as the network sees them.

    Attributes:
        rows: Its rows.
        hashes: Content hash of each image file.
        geometry: Resize and crop.
        store: Where pixel caches are.
        held: The pixels, where they are in memory and in no cache.
    """

    rows: tuple[Row, ...]
    hashes: tuple[str, ...]
    geometry: Geometry
    store: Path
    held: Pixels | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything in these images and labels that can change a number."""
        facts = [
            [r.image_id, h, r.mos, r.scene, *_answers(r)]
            for r, h in zip(self.rows, self.hashes, strict=True)
        ]
        geometry = {"resize": self.geometry.resize, "crop": self.geometry.crop}
        return hash_of({"rows": facts, "decoding": PIXELS_VERSION, **geometry})

    @cached_property
    def mos(self) -> Tensor:
        """Labels, ``float32``, shape ``(n,)``."""
        return torch.tensor([r.mos for r in self.rows], dtype=torch.float32)

    @cached_property
    def opinions(self) -> Tensor | None:
        """Shares of the answers, ``float32``, ``(n, steps)``; None unless all rows have as many."""
        found = [r.opinions for r in self.rows if r.opinions is not None]
        alike = len(found) == len(self.rows) and len({len(one) for one in found}) == 1
        return torch.tensor(found) if alike else None

    @cached_property
    def spread(self) -> Tensor | None:
        """Standard deviations of the answers, ``float32``, ``(n,)``; None unless all are known."""
        found = [r.spread for r in self.rows if r.spread is not None]
        return torch.tensor(found) if len(found) == len(self.rows) else None

    @cached_property
    def image_ids(self) -> list[str]:
        """Identifiers in order."""
        return [r.image_id for r in self.rows]

    @cached_property
    def pixels(self) -> Pixels:
        """The pixel cache; ``open`` built it."""
        return self.open(None)

    def open(self, reporter: Reporter | None) -> Pixels:
        """Build the pixel cache if need be, showing progress.

        Raises:
            DataError: Images cannot be decoded; all of them are named.
        """
        if self.held is not None:
            return self.held
        paths = [r.path for r in self.rows]
        progress = reporter.counter(f"decoding {len(paths)} images") if reporter else None
        return open_pixels(
            paths,
            self.hashes,
            resize=self.geometry.resize,
            store=self.store,
            on_progress=progress,
        )

    def check_files(self) -> None:
        """Check, before they are decoded, that the files of this machine are the ones meant.

        Raises:
            DataError: Some cannot be read, or hold something else.
        """
        if cache_folder(self.hashes, resize=self.geometry.resize, store=self.store).exists():
            return
        paths = [r.path for r in self.rows]
        found = zip(paths, self.hashes, hash_images(paths), strict=True)
        if other := [str(path) for path, meant, hashed in found if hashed != meant]:
            shown = ", ".join(other[:3]) + (", ..." if len(other) > 3 else "")
            raise DataError(
                f"{len(other)} of {len(paths)} images hold something else than on the machine that"
                f" planned the run: {shown}"
            )

    def batches(
        self, size: int, among: Sequence[int] | None = None
    ) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
        """Yield (images, mos, numbers) in order: centre crops on the 8-bit grid.

        Args:
            size: Images per batch.
            among: Numbers of the images; None takes all.
        """
        chosen = range(len(self)) if among is None else among
        for start in range(0, len(chosen), size):
            numbers = list(chosen[start : start + size])
            images = self.pixels.centre_crops(numbers, self.geometry.crop)
            yield images, self.mos[numbers], numbers

    def batch(self, numbers: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return (images, mos) on a device: centre crops on the 8-bit grid.

        A GPU keeps all crops as bytes once asked, where they fit.
        """
        kept = self._resident.on(device, self.pixels, self.geometry.crop)
        if kept is not None:
            return kept.batch(numbers), self.mos[list(numbers)].to(device)
        images = self.pixels.centre_crops(numbers, self.geometry.crop)
        return images.to(device), self.mos[list(numbers)].to(device)

    @cached_property
    def _resident(self) -> Residence:
        return Residence()

    def noise(self, seed: int, numbers: Sequence[int], scope: str) -> Noise:
        """Return the noise of a batch of these images."""
        return Noise(seed, tuple(self.image_ids[i] for i in numbers), scope=scope)


def _answers(row: Row) -> list[Any]:
    """Return what else is known of a row's label; nothing where nothing is."""
    known = row.opinions is not None or row.spread is not None
    return [row.opinions, row.spread] if known else []


def decode(sides: Iterable[Side], reporter: Reporter) -> None:
    """Build the pixel caches of these sides.

    Raises:
        UnreadableImagesError: Images cannot be decoded; those of every side are in one message.
    """
    failures: list[str] = []
    total = 0
    for side in sides:
        total += len(side)
        try:
            side.open(reporter)
        except UnreadableImagesError as e:
            failures += e.failures
    if failures:
        raise UnreadableImagesError(failures, total)
