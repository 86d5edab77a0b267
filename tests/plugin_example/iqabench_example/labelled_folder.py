"""A data set: your own images in a folder, with a table of labels beside them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from iqabench.api import DataError, Dataset, LabelMap, Row, Table, resolve_images

LABELS = "labels.csv"


@dataclass(frozen=True, kw_only=True)
class LabelledFolder(Dataset):
    """Reads ``labels.csv`` (columns ``image``, ``mos``, optionally ``scene``) beside ``Images/``.

    Labels are mapped to [0, 1] by the ends of their scale, which are parameters, and never by the
    smallest and largest label that happen to be there: scores would then mean something else
    whenever an image is added.

    Attributes:
        low: Lower end of the scale of the labels.
        high: Upper end.
        higher_is_better: False for DMOS.
    """

    summary = "your own images: a folder with labels.csv"

    title = "labelled folder"
    homepage = "your own images"
    licence = "yours"
    expected_images = 0

    low: float = 0.0
    high: float = 100.0
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")

    def locate(self, root: Path) -> Path | None:
        """See ``Dataset.locate``: the root itself, or ``labelled_folder`` in it."""
        for folder in (root, root / "labelled_folder"):
            if (folder / LABELS).is_file():
                return folder
        return None

    def read(self, folder: Path) -> Table:
        """See ``Dataset.read``; ``Table`` itself refuses duplicates and labels off the scale."""
        path = folder / LABELS
        scale = LabelMap(
            f"{LABELS}, column mos", self.low, self.high, higher_is_better=self.higher_is_better
        )
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
        if not lines or not {"image", "mos"} <= set(lines[0]):
            raise DataError(f"{path}: expected the columns 'image' and 'mos' and at least one row")
        # Every missing image is named here, in one DataError.
        paths = resolve_images([line["image"] for line in lines], folder / "Images", source=LABELS)
        rows = [
            Row(
                image_id=line["image"],
                path=image,
                mos=scale(_number(line["mos"], path, number)),
                scene=line.get("scene") or None,
            )
            for number, (line, image) in enumerate(zip(lines, paths, strict=True), start=2)
        ]
        return Table(rows, scale)


def _number(text: str | None, path: Path, line: int) -> float:
    try:
        return float(text or "")
    except ValueError as e:
        raise DataError(f"{path}, line {line}: mos {text!r} is no number") from e
