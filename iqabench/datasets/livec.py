"""LIVE In the Wild Image Quality Challenge: 1,162 photographs with MOS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iqabench.api import (
    DataError,
    Dataset,
    LabelMap,
    PublishedCount,
    Row,
    Table,
    collect,
    find_file,
    find_home,
    find_near,
    is_named,
    read_mat,
    resolve_images,
)

NAMES, SCORES, SPREADS = "AllImages_release", "AllMOS_release", "AllStdDev_release"
MAP = LabelMap(f"LIVE Challenge {SCORES}.mat", low=0.0, high=100.0)
HOMES = ("livec", "ChallengeDB_release", "LIVE_Challenge")
PLACES = ("Data", *HOMES)
TRAINING = "t"


@dataclass(frozen=True, kw_only=True)
class LIVEChallenge(Dataset):
    """Reads the official release: ``Data/*.mat`` with names and scores, ``Images/``.

    Ghadiyaram and Bovik, IEEE Transactions on Image Processing 25(1), 2016. Names and scores belong
    together by position. The seven images that taught the viewers what to do (``t1.bmp`` and so on,
    in ``Images/trainingImages``) head both lists and are left out; every other one has a number for
    a name. Names are compared without case (more than half end in ``.JPG``). MOS is from 0 to 100
    and rises with quality.
    """

    summary = "1,162 photographs of mobile cameras in the wild with human MOS"
    paper = "https://doi.org/10.1109/TIP.2015.2500021"
    year = 2016

    title = "LIVE In the Wild Image Quality Challenge"
    homepage = "https://live.ece.utexas.edu/research/ChallengeDB"
    licence = "free use, copies and changes with its notice; by a form on its page"
    layout = (
        f"a folder ChallengeDB_release with Data/{NAMES}.mat, Data/{SCORES}.mat and the images in"
        " Images/"
    )
    expected_images = 1162
    published_count = PublishedCount(
        "CPRL, Table 3", note="its number is not on record here; the release has 1162"
    )

    def locate(self, root: Path) -> Path | None:
        """See ``Dataset.locate``; known by names or scores, or by its name and ``Images``."""
        return find_home(root, *HOMES, parts=(_has_images, _has_labels))

    def read(self, folder: Path) -> Table:
        """See ``Dataset.read``."""
        names, scores, images = collect(
            "livec",
            lambda: _variable(folder, NAMES, str),
            lambda: _variable(folder, SCORES, float),
            lambda: _images(folder),
        )
        if len(names) != len(scores):
            raise DataError(
                f"livec: {NAMES}.mat names {len(names)} images and {SCORES}.mat has {len(scores)}"
                " scores; take both from the same release"
            )
        first = _count_training(names)
        spreads = _spreads(folder, len(names))
        paths = resolve_images(names[first:], images, source="livec")
        rows = [
            Row(image_id=name, path=path, mos=MAP(score), spread=spread)
            for name, score, path, spread in zip(
                names[first:], scores[first:], paths, spreads[first:], strict=True
            )
        ]
        return Table(rows, MAP)


def _has_labels(folder: Path) -> bool:
    data = find_file(folder, "Data") or folder
    return any(find_file(data, f"{name}.mat") for name in (NAMES, SCORES))


def _has_images(folder: Path) -> bool:
    """Return whether ``Images`` is there; other data sets have a folder of that name as well."""
    return is_named(folder, *HOMES) and find_file(folder, "Images") is not None


def _images(folder: Path) -> Path:
    images = find_near(folder, "Images", *HOMES)
    if images is None:
        raise DataError(f"livec: its image folder {folder / 'Images'} is missing")
    return images


def _variable(folder: Path, name: str, holds: type[float] | type[str]) -> list[Any]:
    path = find_near(folder, f"{name}.mat", *PLACES)
    if path is None:
        raise DataError(
            f"livec: {folder / 'Data' / name}.mat is missing; it is part of the release"
        )
    return read_mat(path, name, source="livec", holds=holds)[name]


def _spreads(folder: Path, count: int) -> Sequence[float | None]:
    """Return the standard deviations of the answers; None for all without a file that fits."""
    if find_near(folder, f"{SPREADS}.mat", *PLACES) is None:
        return [None] * count
    found = _variable(folder, SPREADS, float)
    if len(found) != count:
        return [None] * count
    return [value / (MAP.high - MAP.low) for value in found]


def _count_training(names: Sequence[str]) -> int:
    """Return how many training images head the list; elsewhere they would shift all scores."""
    training = [i for i, name in enumerate(names) if name.casefold().startswith(TRAINING)]
    if training != list(range(len(training))):
        raise DataError(
            f"livec: {NAMES}.mat has the training image {names[training[-1]]!r} as entry"
            f" {training[-1] + 1}, but they head the list of the release; take it as it was"
            " published"
        )
    return len(training)
