"""LIVE release 2: 779 distorted images of 29 scenes with DMOS."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

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
    read_mat,
    resolve_images,
)

IMAGES = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
"""Images of each kind, copies of references included, in the order of every label file."""
ORDER = [(kind, f"img{n}.bmp") for kind, count in IMAGES.items() for n in range(1, count + 1)]
COPIES = {"jp2k": 58, "jpeg": 58, "wn": 29, "gblur": 29, "fastfading": 29}
"""How many of them are copies of references, which are no distorted images."""
TOTAL = len(ORDER)
SCENES = 29
HOMES = ("live", "databaserelease2", "LIVEIQA_release2")

RELEASE, REALIGNED, REFERENCES = "dmos.mat", "dmos_realigned.mat", "refnames_all.mat"
MAPS = {
    "dmos_new": LabelMap(
        f"LIVE {REALIGNED}, dmos_new", low=-2.640, high=111.775, higher_is_better=False
    ),
    "dmos": LabelMap(f"LIVE {RELEASE}, dmos", low=0.0, high=84.489, higher_is_better=False),
}
ROUNDING = 0.0005  # the ends of both scales are known to three decimals


@dataclass(frozen=True, kw_only=True)
class LIVE(Dataset):
    """Reads release 2: a folder for each kind of distortion beside the label files.

    Sheikh, Sabir and Bovik, IEEE Transactions on Image Processing 15(11), 2006. Labels are by
    position: first the 227 images of ``jp2k`` by number, then 233 of ``jpeg``, 174 each of ``wn``,
    ``gblur`` and ``fastfading``. ``orgs`` says which are copies of a reference; they have DMOS 0
    and are left out, so 779 images are read. The scene is the reference that ``refnames_all.mat``
    names. ``orgs`` is taken from ``dmos.mat``, or from ``dmos_realigned.mat`` if only that has all
    of it. Label files may also lie one or two levels above the images.

    Attributes:
        labels: ``dmos_new`` of the separate download ``dmos_realigned.mat`` (-2.640 to 111.775), or
            ``dmos`` of the release itself (0 to 84.489). Both fall with quality. There is no silent
            change from one to the other. Only the former comes with standard deviations.
    """

    summary = "779 distorted images of 29 scenes with DMOS: JPEG, JPEG 2000, noise, blur, fading"
    paper = "https://doi.org/10.1109/TIP.2006.881959"
    year = 2006
    version = 2  # 2: rows have the standard deviations of the answers

    title = "LIVE release 2"
    homepage = "https://live.ece.utexas.edu/research/quality/subjective.htm"
    licence = "free use, copies and changes with its notice; 9 references only in this database"
    layout = (
        f"a folder databaserelease2 with {', '.join(IMAGES)}, {RELEASE}, {REFERENCES} and the"
        f" separate download {REALIGNED} (not needed for live:labels=dmos)"
    )
    expected_images = TOTAL - sum(COPIES.values())
    published_count = PublishedCount(
        "CPRL, Table 3", 799, "a misprint of 779 distorted images; 808 with the 29 references"
    )

    labels: Literal["dmos_new", "dmos"] = "dmos_new"

    def locate(self, root: Path) -> Path | None:
        """See ``Dataset.locate``; known by two folders of images or a label file of the release."""
        return find_home(root, *HOMES, parts=(_has_images, _has_labels))

    def read(self, folder: Path) -> Table:
        """See ``Dataset.read``."""
        scores, is_copy, scenes, _ = collect(
            "live",
            lambda: self._scores(folder),
            lambda: _copies(folder),
            lambda: _variable(_label_file(folder, REFERENCES), "refnames_all", str),
            lambda: _check_folders(folder),
        )
        _check_copies(is_copy, scores, MAPS[self.labels].source)
        scenes = [scene.casefold() for scene in scenes]
        _check_scenes(scenes, is_copy)
        spreads = self._spreads(folder)
        distorted = [at for at in range(TOTAL) if not is_copy[at]]
        rows = [
            Row(
                image_id=f"{ORDER[at][0]}/{ORDER[at][1]}",
                path=path,
                mos=self._mos(scores[at]),
                scene=scenes[at],
                distortion=ORDER[at][0],
                spread=spreads[at],
            )
            for at, path in zip(distorted, _paths(folder, distorted), strict=True)
        ]
        return Table(rows, MAPS[self.labels])

    def _spreads(self, folder: Path) -> Sequence[float | None]:
        """Return the standard deviations of the answers; None for all without a list that fits."""
        path = find_near(folder, REALIGNED, *HOMES)
        if self.labels != "dmos_new" or path is None:
            return [None] * TOTAL
        try:
            found = _variable(path, "dmos_std", float)
        except DataError:
            return [None] * TOTAL
        scale = MAPS[self.labels]
        return [value / (scale.high - scale.low) for value in found]

    def _scores(self, folder: Path) -> list[float]:
        if self.labels == "dmos":
            return _variable(_label_file(folder, RELEASE), "dmos", float)
        path = find_near(folder, REALIGNED, *HOMES)
        if path is None:
            raise DataError(
                f"live: {folder / REALIGNED} is missing; it is a separate download from the page of"
                f" the data set, or take the scores of {RELEASE} with live:labels=dmos"
            )
        return _variable(path, "dmos_new", float)

    def _mos(self, score: float) -> float:
        scale = MAPS[self.labels]
        if scale.low - ROUNDING <= score <= scale.high + ROUNDING:
            score = min(max(score, scale.low), scale.high)
        return scale(score)


def _has_images(folder: Path) -> bool:
    return sum(find_file(folder, kind) is not None for kind in IMAGES) >= 2


def _has_labels(folder: Path) -> bool:
    return any(find_file(folder, name) for name in (RELEASE, REFERENCES))


def _check_folders(folder: Path) -> None:
    if missing := [kind for kind in IMAGES if not find_file(folder, kind)]:
        raise DataError(
            f"live: {folder} lacks the images in {', '.join(missing)}; unpack the release again"
        )


def _paths(folder: Path, distorted: Sequence[int]) -> list[Path]:
    """Return the image files of these positions, which are in order."""

    def paths(kind: str) -> list[Path]:
        names = [ORDER[at][1] for at in distorted if ORDER[at][0] == kind]
        return resolve_images(names, find_file(folder, kind) or folder / kind, source="live")

    found = collect("live", *(partial(paths, kind) for kind in IMAGES))
    return list(itertools.chain.from_iterable(found))


def _label_file(folder: Path, name: str) -> Path:
    path = find_near(folder, name, *HOMES)
    if path is None:
        raise DataError(f"live: {folder / name} is missing; it is part of the release")
    return path


def _variable(path: Path, name: str, holds: type[float] | type[str]) -> list[Any]:
    values = read_mat(path, name, source="live", holds=holds)[name]
    if len(values) != TOTAL:
        raise DataError(f"live: {path}: {name} has {len(values)} entries, not {TOTAL}")
    return values


def _copies(folder: Path) -> list[bool]:
    """Return for all 982 images whether they are copies of a reference."""
    why = []
    for name in (RELEASE, REALIGNED):
        if path := find_near(folder, name, *HOMES):
            try:
                return [value != 0 for value in _variable(path, "orgs", float)]
            except DataError as e:
                why.append(str(e).removeprefix("live: "))
    found = f" ({'; '.join(why)})" if why else ""
    raise DataError(
        f"live: orgs, which tells copies of references from distorted images, is missing for the"
        f" {TOTAL} images; take {RELEASE} of the release{found}"
    )


def _check_scenes(scenes: Sequence[str], is_copy: Sequence[bool]) -> None:
    named = {scene for scene, copy in zip(scenes, is_copy, strict=True) if not copy}
    if len(named) != SCENES or "" in named:
        raise DataError(
            f"live: {REFERENCES} names {len(named - {''})} references, not {SCENES}; take it as it"
            " was published"
        )


def _check_copies(is_copy: Sequence[bool], scores: Sequence[float], source: str) -> None:
    """Refuse an ``orgs`` that is not the official one, or not in the order of the scores."""
    start = 0
    for kind, count in IMAGES.items():
        found = sum(is_copy[start : start + count])
        if found != COPIES[kind]:
            raise DataError(
                f"live: orgs marks {found} copies of references in {kind}, not {COPIES[kind]};"
                f" take {RELEASE} of the release"
            )
        start += count
    if any(copy and score != 0 for copy, score in zip(is_copy, scores, strict=True)):
        raise DataError(
            f"live: copies of references have DMOS 0, but orgs marks others in {source}: the two"
            " files are not in the same order; take both as they were published"
        )
