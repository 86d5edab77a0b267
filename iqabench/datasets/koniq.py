"""KonIQ-10k: 10,073 photographs with MOS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    collect,
    find_file,
    find_home,
    find_near,
    is_named,
    nearby,
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
ARCHIVES = {size: f"koniq10k_{size}" for size in SIZES}
HOMES = ("koniq", "koniq10k", "koniq-10k")
PLACES = (*HOMES, *ARCHIVES.values(), *SIZES, *(n.removesuffix(".csv") for n in FILES.values()))
"""Names of folders that parts of the data set come in."""
NESTED = 3
"""Folders called after a size that may lie in one another."""


@dataclass(frozen=True, kw_only=True)
class KonIQ(Dataset):
    """Reads either size of the images with either official label file.

    Hosu, Lin, Sziranyi and Saupe, IEEE Transactions on Image Processing 29, 2020. The two label
    files hold a column ``MOS`` on different scales, 1 to 5 and 0 to 100, and one is not a linear
    map of the other; both rise with quality. ``koniq10k_distributions_sets.csv`` also holds the
    official sets: if it is there, its test set is tested, and training and validation are trained
    on, because nothing here is selected on a validation set. Both hold the answers on the scale of
    five steps, which methods may train on (``nima:head=emd,bins=5``).

    Attributes:
        labels: ``scores`` takes the MOS of ``koniq10k_scores_and_distributions.csv``, ``sets`` that
            of ``koniq10k_distributions_sets.csv``; ``auto`` takes the first that is there. Results
            and ``data check`` say which it was.
        size: Which images; ``auto`` takes 1024x768 if they are there, else 512x384.
    """

    summary = "10,073 photographs in the wild with human MOS, official sets"
    paper = "https://doi.org/10.1109/TIP.2020.2967829"
    year = 2020

    title = "KonIQ-10k"
    homepage = "https://database.mmsp-kn.de/koniq-10k-database.html"
    licence = "terms not verified: see its page; no password"
    layout = (
        f"a folder koniq10k with 1024x768/ or 512x384/ and {FILES['scores']} or {FILES['sets']}"
    )
    expected_images = 10_073
    published_count = PublishedCount(
        "CPRL, Table 3",
        note="its number is not on record here; the release has 10073; it cites the reference of"
        " LIVE Challenge for this data set",
    )

    labels: Literal["auto", "scores", "sets"] = "auto"
    size: Literal["auto", "1024x768", "512x384"] = "auto"

    def locate(self, root: Path) -> Path | None:
        """See ``Dataset.locate``; known by a label file, or by images under a name of its own."""
        return find_home(root, *PLACES, parts=(_has_images, _has_labels))

    def read(self, folder: Path) -> Table:
        """See ``Dataset.read``."""
        (kind, labels), images = collect(
            "koniq", lambda: self._labels(folder), lambda: self._images(folder)
        )
        names = [label["image_name"] for label in labels]
        paths, sides = collect(
            "koniq", lambda: _paths(names, images), lambda: _sides(folder, names, FILES[kind])
        )
        scale = MAPS[kind]
        rows = [
            Row(
                image_id=name,
                path=path,
                mos=scale(read_number(label["MOS"], source=f"koniq: {scale.source}, {name}")),
                part=part,
                opinions=_opinions(label),
            )
            for name, label, path, part in zip(names, labels, paths, sides, strict=True)
        ]
        return Table(rows, scale)

    def _labels(self, folder: Path) -> tuple[str, list[dict[str, str]]]:
        """Return which label file it is, and its rows."""
        kinds = tuple(FILES) if self.labels == "auto" else (self.labels,)
        found = {kind: path for kind in kinds if (path := _label_file(folder, kind))}
        if not found:
            wanted = " or ".join(FILES[kind] for kind in kinds)
            others = [kind for kind in FILES if kind not in kinds]
            take = "".join(f", or take the MOS of {FILES[k]} with koniq:labels={k}" for k in others)
            raise DataError(
                f"koniq: {folder / wanted} is missing; get it from the page of the data set{take}"
            )
        kind, path = next(iter(found.items()))
        return kind, list(read_csv(path, "image_name", "MOS", MARKS[kind], source="koniq"))

    def _images(self, folder: Path) -> dict[str, Path]:
        """Return the folder of images of each size that is there and may be taken."""
        sizes = SIZES if self.size == "auto" else (self.size,)
        found: dict[str, Path] = {}
        for place in nearby(folder, *PLACES):
            for size in sizes:
                if size not in found and (images := _sized(place, size)):
                    found[size] = images
        if not found:
            raise DataError(
                f"koniq: the images are missing: {folder / ' or '.join(sizes)};"
                f" unpack koniq10k_{sizes[-1]}.zip there"
            )
        return {size: found[size] for size in sizes if size in found}


def _opinions(label: Mapping[str, str]) -> tuple[float, ...] | None:
    """Return the shares of the five answers, from counts or shares; None if some are missing."""
    given = [label.get(f"c{step}", "") for step in range(1, 6)]
    if not all(given):
        return None
    counts = [read_number(text, source=f"koniq: {label['image_name']}, c1 to c5") for text in given]
    total = sum(counts)
    if total <= 0 or min(counts) < 0:
        raise DataError(
            f"koniq: the answers c1 to c5 to {label['image_name']!r} are {', '.join(given)}; they"
            " cannot be negative or all 0; take the file as it was published"
        )
    return tuple(count / total for count in counts)


def _has_labels(folder: Path) -> bool:
    return any(find_file(folder, name) for name in FILES.values())


def _has_images(folder: Path) -> bool:
    """Return whether images are there, beside something that says that they are of KonIQ."""
    archived = any(find_file(folder, name) for name in ARCHIVES.values())
    known = archived or is_named(folder, *HOMES, *ARCHIVES.values()) or _has_labels(folder)
    return known and any(_sized(folder, size) for size in SIZES)


def _sized(folder: Path, size: str) -> Path | None:
    """Return the folder of the images of one size: the innermost that is called after it."""
    names = (size, ARCHIVES[size])
    found = folder if is_named(folder, *names) else None
    for _ in range(NESTED):
        found = next((p for n in names if (p := find_file(found or folder, n))), found)
    return found


def _label_file(folder: Path, kind: str) -> Path | None:
    return find_near(folder, FILES[kind], *PLACES)


def _paths(names: Sequence[str], images: Mapping[str, Path]) -> list[Path]:
    """Return the files of the first size, or say that the other one is complete."""
    first = next(iter(images.values()))
    try:
        return resolve_images(names, first, source="koniq")
    except DataError as e:
        for size in list(images)[1:]:
            if _is_complete(names, images[size]):
                raise DataError(f"{e}; {size} is complete: koniq:size={size}") from e
        raise


def _is_complete(names: Sequence[str], folder: Path) -> bool:
    try:
        return bool(resolve_images(names, folder, source="koniq"))
    except DataError:
        return False


def _sides(folder: Path, names: Sequence[str], listing: str) -> list[Part | None]:
    """Return the official side of each image; None for all without the file of the sets."""
    path = _label_file(folder, "sets")
    if path is None:
        return [None] * len(names)
    sides: dict[str, Part] = {}
    for label in read_csv(path, "image_name", "set", source="koniq"):
        name, given = label["image_name"], label["set"]
        if given not in SIDES:
            raise DataError(f"koniq: {path}: {name!r} is in the set {given!r}, not {list(SIDES)}")
        if name.casefold() in sides:
            raise DataError(f"koniq: {path}: {name!r} is listed more than once")
        sides[name.casefold()] = SIDES[given]
    if unknown := [name for name in names if name.casefold() not in sides]:
        raise DataError(
            f"koniq: {len(unknown)} of {len(names)} images of {listing} are not in"
            f" {FILES['sets']}, such as {unknown[0]!r}; take both as they were published"
        )
    return [sides[name.casefold()] for name in names]
