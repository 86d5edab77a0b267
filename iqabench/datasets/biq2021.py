"""BIQ2021: 12,000 photographs with human scores."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from iqabench.api import (
    DataError,
    Dataset,
    LabelMap,
    Part,
    Row,
    Table,
    collect,
    find_file,
    find_home,
    find_near,
    is_named,
    read_csv,
    read_number,
    resolve_images,
)

LABELS: dict[Part, str] = {
    "train": "Train (Images and MOS).csv",
    "test": "Test (Images and MOS).csv",
}
HOMES = ("biq2021", "BIQ2021-master")
MAP = LabelMap("BIQ2021 (Images and MOS).csv, column MOS", low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class BIQ2021(Dataset):
    """Reads the official layout: ``Images/`` beside one label file for each side of the split.

    Ahmed and Asif, Journal of Electronic Imaging 31(5), 2022. Names are compared without case (one
    file is ``.JPG`` where its row says ``.jpg``); empty columns of the Train file are ignored. A
    part of the data set is accepted as long as its label files list just the images that are there.
    """

    summary = "12,000 photographs in the wild with human MOS, official split"
    paper = "https://doi.org/10.1117/1.JEI.31.5.053010"
    year = 2022

    title = "BIQ2021"
    homepage = "https://github.com/nisarahmedrana/BIQ2021"
    licence = "no licence file: research use, no redistribution"
    layout = f"a folder biq2021 with Images/, {LABELS['train']!r} and {LABELS['test']!r}"
    expected_images = 12_000

    def locate(self, root: Path) -> Path | None:
        """See ``Dataset.locate``; known by a label file, or by its name and ``Images``."""
        return find_home(root, *HOMES, parts=(_has_images, _has_labels))

    def read(self, folder: Path) -> Table:
        """See ``Dataset.read``."""
        sides = collect("biq2021", *(partial(_side, folder, part) for part in LABELS))
        return Table(list(itertools.chain.from_iterable(sides)), MAP)


def _has_labels(folder: Path) -> bool:
    return any(find_file(folder, name) for name in LABELS.values())


def _has_images(folder: Path) -> bool:
    """Return whether ``Images`` is there; other data sets have a folder of that name as well."""
    return is_named(folder, *HOMES) and find_file(folder, "Images") is not None


def _side(folder: Path, part: Part) -> list[Row]:
    """Return the rows of one side of the official split."""
    path = find_near(folder, LABELS[part], *HOMES)
    if path is None:
        raise DataError(
            f"biq2021: label file {folder / LABELS[part]} is missing; it is part of the data set"
        )
    labels = list(read_csv(path, "Image Name", "MOS", source="biq2021"))
    names = [label["Image Name"] for label in labels]
    images = find_near(folder, "Images", *HOMES) or folder / "Images"
    paths = resolve_images(names, images, source=f"biq2021: {path.name}")
    rows = []
    for label, image in zip(labels, paths, strict=True):
        name = label["Image Name"]
        mos = read_number(label["MOS"], source=f"biq2021: {path}, {name}")
        rows.append(Row(image_id=name, path=image, mos=MAP(mos), part=part))
    return rows
