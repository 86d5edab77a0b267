"""BIQ2021: 12,000 photographs with human scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from iqabench.api import (
    DataError,
    Dataset,
    LabelMap,
    Part,
    Row,
    Table,
    find_file,
    read_csv,
    read_number,
    resolve_images,
)

LABELS: dict[Part, str] = {
    "train": "Train (Images and MOS).csv",
    "test": "Test (Images and MOS).csv",
}
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
        """See ``Dataset.locate``; accepts ``root`` itself, ``biq2021`` or ``BIQ2021`` in it."""
        for folder in (root, find_file(root, "biq2021"), find_file(root, "BIQ2021-master")):
            if folder is not None and all(find_file(folder, n) for n in LABELS.values()):
                return folder
        return None

    def read(self, folder: Path) -> Table:
        """See ``Dataset.read``."""
        images = find_file(folder, "Images") or folder / "Images"
        rows: list[Row] = []
        for part, name in LABELS.items():
            path = find_file(folder, name)
            if path is None:
                raise DataError(f"biq2021: label file {folder / name} is missing")
            labels = list(read_csv(path, "Image Name", "MOS", source="biq2021"))
            names = [label["Image Name"] for label in labels]
            paths = resolve_images(names, images, source=f"biq2021: {path.name}")
            for label, image in zip(labels, paths, strict=True):
                name = label["Image Name"]
                mos = read_number(label["MOS"], source=f"biq2021: {path}, {name}")
                rows.append(Row(image_id=name, path=image, mos=MAP(mos), part=part))
        return Table(rows, MAP)
