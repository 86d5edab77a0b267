"""LIVE In the Wild Image Quality Challenge: 1,162 photographs with MOS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from iqabench.api import (
    DataError,
    Dataset,
    LabelMap,
    Row,
    Table,
    find_file,
    find_folder,
    read_mat,
    resolve_images,
)

NAMES, SCORES = "AllImages_release", "AllMOS_release"
MAP = LabelMap(f"LIVE Challenge {SCORES}.mat", low=0.0, high=100.0)
HOMES = ("livec", "ChallengeDB_release", "LIVE_Challenge")


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

    def locate(self, root: Path) -> Path | None:
        """See ``Dataset.locate``; the folder is known by the names or scores in its ``Data``."""
        return find_folder(
            root, *HOMES, holds=lambda f: any(_label_file(f, name) for name in (NAMES, SCORES))
        )

    def read(self, folder: Path) -> Table:
        """See ``Dataset.read``."""
        names, scores = (_variable(folder, name) for name in (NAMES, SCORES))
        if len(names) != len(scores):
            raise DataError(
                f"livec: {NAMES}.mat names {len(names)} images and {SCORES}.mat has {len(scores)}"
                " scores; take both from the same release"
            )
        kept = [
            (str(name), float(score))
            for name, score in zip(names, scores, strict=True)
            if not str(name).casefold().startswith("t")
        ]
        images = find_file(folder, "Images") or folder / "Images"
        paths = resolve_images([name for name, _ in kept], images, source="livec")
        rows = [
            Row(image_id=name, path=path, mos=MAP(score))
            for (name, score), path in zip(kept, paths, strict=True)
        ]
        return Table(rows, MAP)


def _label_file(folder: Path, name: str) -> Path | None:
    data = find_file(folder, "Data")
    return find_file(data, f"{name}.mat") if data else None


def _variable(folder: Path, name: str) -> list[float | str]:
    path = _label_file(folder, name)
    if path is None:
        raise DataError(
            f"livec: {folder / 'Data' / name}.mat is missing; it is part of the release"
        )
    return read_mat(path, name, source="livec")[name]
