"""LIVE release 2: 779 distorted images of 29 scenes with DMOS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from iqabench.api import (
    DataError,
    Dataset,
    LabelMap,
    PublishedCount,
    Row,
    Table,
    find_file,
    find_folder,
    read_mat,
    resolve_images,
)

IMAGES = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
"""Images of each kind, copies of references included, in the order of every label file."""
COPIES = {"jp2k": 58, "jpeg": 58, "wn": 29, "gblur": 29, "fastfading": 29}
"""How many of them are copies of references, which are no distorted images."""
TOTAL = sum(IMAGES.values())
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
    names. ``orgs`` is taken from ``dmos.mat``, or from ``dmos_realigned.mat`` if it holds all 982.

    Attributes:
        labels: ``dmos_new`` of the separate download ``dmos_realigned.mat`` (-2.640 to 111.775), or
            ``dmos`` of the release itself (0 to 84.489). Both fall with quality. There is no silent
            change from one to the other.
    """

    summary = "779 distorted images of 29 scenes with DMOS: JPEG, JPEG 2000, noise, blur, fading"
    paper = "https://doi.org/10.1109/TIP.2006.881959"
    year = 2006

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
        """See ``Dataset.locate``; the folder is known by its five folders of images."""
        return find_folder(root, *HOMES, holds=_holds_images)

    def read(self, folder: Path) -> Table:
        """See ``Dataset.read``."""
        scores = self._scores(folder)
        is_copy = _copies(folder)
        _check_copies(is_copy, scores, MAPS[self.labels].source)
        scenes = _variable(_label_file(folder, REFERENCES), "refnames_all")
        rows: list[Row] = []
        start = 0
        for kind, count in IMAGES.items():
            numbers = [n for n in range(1, count + 1) if not is_copy[start + n - 1]]
            names = [f"img{n}.bmp" for n in numbers]
            images = find_file(folder, kind) or folder / kind
            paths = resolve_images(names, images, source="live")
            for number, name, path in zip(numbers, names, paths, strict=True):
                at = start + number - 1
                rows.append(
                    Row(
                        image_id=f"{kind}/{name}",
                        path=path,
                        mos=self._mos(float(scores[at])),
                        scene=str(scenes[at]).casefold(),
                        distortion=kind,
                    )
                )
            start += count
        return Table(rows, MAPS[self.labels])

    def _scores(self, folder: Path) -> list[float | str]:
        if self.labels == "dmos":
            return _variable(_label_file(folder, RELEASE), "dmos")
        path = _realigned(folder)
        if path is None:
            raise DataError(
                f"live: {folder / REALIGNED} is missing; it is a separate download from the page of"
                f" the data set, or take the scores of {RELEASE} with live:labels=dmos"
            )
        return _variable(path, "dmos_new")

    def _mos(self, score: float) -> float:
        scale = MAPS[self.labels]
        if scale.low - ROUNDING <= score <= scale.high + ROUNDING:
            score = min(max(score, scale.low), scale.high)
        return scale(score)


def _holds_images(folder: Path) -> bool:
    return all(find_file(folder, kind) for kind in IMAGES)


def _label_file(folder: Path, name: str) -> Path:
    path = find_file(folder, name)
    if path is None:
        raise DataError(f"live: {folder / name} is missing; it is part of the release")
    return path


def _realigned(folder: Path) -> Path | None:
    """Return the separate download, which may lie beside the unpacked release."""
    return find_file(folder, REALIGNED) or find_file(folder.parent, REALIGNED)


def _variable(path: Path, name: str) -> list[float | str]:
    values = read_mat(path, name, source="live")[name]
    if len(values) != TOTAL:
        raise DataError(f"live: {path}: {name} has {len(values)} entries, not {TOTAL}")
    return values


def _copies(folder: Path) -> list[bool]:
    """Return for all 982 images whether they are copies of a reference."""
    for path in (find_file(folder, RELEASE), _realigned(folder)):
        if path is not None:
            values = read_mat(path, "orgs", source="live")["orgs"]
            if len(values) == TOTAL:
                return [value != 0 for value in values]
    raise DataError(
        f"live: orgs, which tells copies of references from distorted images, is missing for the"
        f" {TOTAL} images; take {RELEASE} of the release"
    )


def _check_copies(is_copy: list[bool], scores: list[float | str], source: str) -> None:
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
