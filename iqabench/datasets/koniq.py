"""KonIQ-10k: 10,073 photographs with MOS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from iqabench.api import (
    DataError,
    Dataset,
    LabelMap,
    Part,
    PublishedCount,
    Row,
    Table,
    find_file,
    find_folder,
    read_csv,
    read_number,
    resolve_images,
)

FILES = {
    "scores": "koniq10k_scores_and_distributions.csv",
    "sets": "koniq10k_distributions_sets.csv",
}
MARKS = {"scores": "MOS_zscore", "sets": "set"}
"""The column that only this file has: both have a column MOS, on different scales."""
MAPS = {
    "scores": LabelMap(f"KonIQ-10k {FILES['scores']}, column MOS", low=1.0, high=5.0),
    "sets": LabelMap(f"KonIQ-10k {FILES['sets']}, column MOS", low=0.0, high=100.0),
}
SIZES = ("1024x768", "512x384")
SIDES: Mapping[str, Part] = {"training": "train", "validation": "train", "test": "test"}
HOMES = ("koniq", "koniq10k", "koniq-10k")


@dataclass(frozen=True, kw_only=True)
class KonIQ(Dataset):
    """Reads either size of the images with either official label file.

    Hosu, Lin, Sziranyi and Saupe, IEEE Transactions on Image Processing 29, 2020. The two label
    files hold a column ``MOS`` on different scales, 1 to 5 and 0 to 100, and one is not a linear
    map of the other; both rise with quality. ``koniq10k_distributions_sets.csv`` also holds the
    official sets: if it is there, its test set is tested, and training and validation are trained
    on, because nothing here is selected on a validation set.

    Attributes:
        labels: ``scores`` takes the MOS of ``koniq10k_scores_and_distributions.csv``, ``sets`` that
            of ``koniq10k_distributions_sets.csv``. There is no silent change from one to the other.
        size: Which images; ``auto`` takes 1024x768 if they are there, else 512x384.
    """

    summary = "10,073 photographs in the wild with human MOS, official sets"
    paper = "https://doi.org/10.1109/TIP.2020.2967829"
    year = 2020

    title = "KonIQ-10k"
    homepage = "https://database.mmsp-kn.de/koniq-10k-database.html"
    licence = "terms not verified: see its page; no password"
    layout = (
        f"a folder koniq10k with 1024x768/ or 512x384/ and {FILES['scores']}"
        f" (or {FILES['sets']} for koniq:labels=sets)"
    )
    expected_images = 10_073
    published_count = PublishedCount(
        "CPRL, Table 3", note="it cites the reference of LIVE Challenge for this data set"
    )

    labels: Literal["scores", "sets"] = "scores"
    size: Literal["auto", "1024x768", "512x384"] = "auto"

    def locate(self, root: Path) -> Path | None:
        """See ``Dataset.locate``; the folder is known by either label file."""
        return find_folder(root, *HOMES, holds=lambda f: any(_label_file(f, k) for k in FILES))

    def read(self, folder: Path) -> Table:
        """See ``Dataset.read``."""
        labels = self._labels(folder)
        names = [label["image_name"] for label in labels]
        paths = resolve_images(names, self._images(folder), source="koniq")
        sides = _sides(folder)
        if sides and (unknown := [n for n in names if n.casefold() not in sides]):
            raise DataError(
                f"koniq: {len(unknown)} of {len(names)} images of {FILES[self.labels]} are not in"
                f" {FILES['sets']}, such as {unknown[0]!r}; take both as they were published"
            )
        scale = MAPS[self.labels]
        rows = [
            Row(
                image_id=name,
                path=path,
                mos=scale(read_number(label["MOS"], source=f"koniq: {scale.source}, {name}")),
                part=sides[name.casefold()] if sides else None,
            )
            for name, label, path in zip(names, labels, paths, strict=True)
        ]
        return Table(rows, scale)

    def _labels(self, folder: Path) -> list[dict[str, str]]:
        path = _label_file(folder, self.labels)
        if path is None:
            other = next(kind for kind in FILES if kind != self.labels)
            raise DataError(
                f"koniq: {folder / FILES[self.labels]} is missing; get it from the page of the data"
                f" set, or take the MOS of {FILES[other]} with koniq:labels={other}"
            )
        return list(read_csv(path, "image_name", "MOS", MARKS[self.labels], source="koniq"))

    def _images(self, folder: Path) -> Path:
        sizes = SIZES if self.size == "auto" else (self.size,)
        for size in sizes:
            for name in (size, f"koniq10k_{size}"):
                if found := find_file(folder, name):
                    return find_file(found, size) or found
        raise DataError(
            f"koniq: the images are missing: {folder / ' or '.join(sizes)};"
            f" unpack koniq10k_{sizes[-1]}.zip there"
        )


def _label_file(folder: Path, kind: str) -> Path | None:
    """Return a label file in the folder, or in the folder of the archive that it comes in."""
    name = FILES[kind]
    archive = find_file(folder, name.removesuffix(".csv"))
    return find_file(folder, name) or (find_file(archive, name) if archive else None)


def _sides(folder: Path) -> dict[str, Part]:
    """Return the side of each image by its name in lower case; empty without official sets."""
    path = _label_file(folder, "sets")
    if path is None:
        return {}
    sides: dict[str, Part] = {}
    for label in read_csv(path, "image_name", "set", source="koniq"):
        name, given = label["image_name"], label["set"]
        if given not in SIDES:
            raise DataError(f"koniq: {path}: {name!r} is in the set {given!r}, not {list(SIDES)}")
        sides[name.casefold()] = SIDES[given]
    return sides
