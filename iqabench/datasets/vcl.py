"""VCL@FER: 552 distorted images of 23 scenes with MOS."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from iqabench.api import (
    DataError,
    Dataset,
    LabelMap,
    PublishedCount,
    Row,
    Table,
    find_file,
    find_folder,
    read_csv,
    read_mat,
    read_number,
    resolve_images,
)

KINDS = {"AWGN": ".bmp", "BLU": ".bmp", "J2K": ".bmp", "JPG": ".jpg"}
"""Kinds of distortion in the order of ``VCL_FER.mat``, with the endings of their files."""
ORDER = [
    f"IMG_{scene:02d}_{kind}_{level}"
    for kind, scene, level in itertools.product(KINDS, range(1, 24), range(1, 7))
]
IMAGE = re.compile(r"IMG_\d{2}_(AWGN|BLU|J2K|JPG)_[1-6]")
REFERENCE = re.compile(r"IMG_\d{2}")
HOMES = ("vcl", "VCL_FER", "VCLFER", "vcl@fer", "vlc@fer")
COLUMNS = (("image", "mos"), ("dis_img_path", "score"))
LABELS = ("results.csv", "VCL_FER.csv", "VCLFER.csv", "results.xls", "VCL_FER.mat")
"""In order of precedence: a table that a person saved comes before the file it was saved from."""

Scores = Sequence[tuple[str, float]]


@dataclass(frozen=True, kw_only=True)
class VCLFER(Dataset):
    """Reads ``vcl_fer/`` with the MOS of ``results.xls``, of a CSV file or of ``VCL_FER.mat``.

    Zaric et al., Automatika 53(4), 2012: 23 scenes, noise (AWGN), blur (BLU), JPEG 2000 (J2K) and
    JPEG (JPG) at six levels. MOS is from 0 to 100 and rises with quality. The scene is the first
    six characters of a name. References have no part in the benchmark: a label of one is left out,
    and their images are not looked at, be they in ``vcl_fer/`` or in ``Ref_Images/``. The columns
    of ``results.xls`` were not known when this was written: its names of images are searched, and
    beside them a column headed MOS or the one number in the row.
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
        """See ``Dataset.locate``; the folder is known by its images, in ``vcl_fer`` or in it."""
        return find_folder(root, *HOMES, holds=lambda folder: _images(folder) is not None)

    def read(self, folder: Path) -> Table:
        """See ``Dataset.read``."""
        images = _images(folder)
        if images is None:
            raise DataError(f"vcl: no image such as {ORDER[0]}.bmp is in {folder / 'vcl_fer'}")
        path = _label_file(folder, images)
        read, column = READERS[path.suffix.casefold()]
        scale = LabelMap(f"VCL@FER {path.name}, {column}", low=0.0, high=100.0)
        scores = read(path)
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
    for place in (find_file(folder, "vcl_fer"), folder):
        if place is not None and place.is_dir():
            names = (PurePosixPath(p.name).stem.upper() for p in place.iterdir())
            if any(IMAGE.fullmatch(name) for name in names):
                return place
    return None


def _label_file(folder: Path, images: Path) -> Path:
    found = (find_file(place, name) for name in LABELS for place in (folder, images))
    path = next((p for p in found if p is not None), None)
    if path is None:
        raise DataError(
            f"vcl: no label file is in {folder}: get results.xls, a download of its own, or give"
            f" results.csv with the columns image and mos (also read: {', '.join(LABELS[1:])})"
        )
    return path


def _stem(text: str) -> str | None:
    """Return the name of a distorted image without its ending, None for a reference.

    Raises:
        ValueError: It is neither.
    """
    stem = PurePosixPath(text.strip().replace("\\", "/")).name
    stem = re.sub(r"\.(bmp|jpe?g)$", "", stem, flags=re.IGNORECASE).upper()
    if IMAGE.fullmatch(stem):
        return stem
    if REFERENCE.fullmatch(stem):
        return None
    raise ValueError(text)


def _from_mat(path: Path) -> Scores:
    values = read_mat(path, "mos", source="vcl")["mos"]
    if len(values) != len(ORDER):
        raise DataError(f"vcl: {path}: mos has {len(values)} entries, not {len(ORDER)}")
    return list(zip(ORDER, map(float, values), strict=True))


def _from_csv(path: Path) -> Scores:
    lines = list(read_csv(path, source="vcl"))
    headed = [pair for pair in COLUMNS if lines and set(pair) <= set(lines[0])]
    if not headed:
        wanted = " or ".join(f"{a!r} and {b!r}" for a, b in COLUMNS)
        found = ", ".join(map(repr, lines[0])) if lines else "nothing"
        raise DataError(f"vcl: {path}: expected the columns {wanted}, found {found}")
    image, mos = headed[0]
    scores = []
    for line in lines:
        try:
            stem = _stem(line[image])
        except (KeyError, ValueError) as e:
            raise DataError(f"vcl: {path}: {e} is no image of VCL@FER") from e
        if stem is not None:
            scores.append((stem, read_number(line.get(mos, ""), source=f"vcl: {path}, {stem}")))
    return scores


def _from_xls(path: Path) -> Scores:
    """Find names of images in any sheet, with the MOS in their rows."""
    import xlrd

    advice = "save it as results.csv with the columns image and mos beside it"
    try:
        with xlrd.open_workbook(path, logfile=io.StringIO()) as book:
            sheets = [[sheet.row_values(r) for r in range(sheet.nrows)] for sheet in book.sheets()]
    except OSError as e:
        raise DataError(f"vcl: {path} cannot be read: {e.strerror or e}") from e
    except Exception as e:  # xlrd raises many kinds on what is no such workbook
        why = " ".join(str(e).split())
        raise DataError(f"vcl: {path} is no workbook that can be read ({why}); {advice}") from e
    scores: list[tuple[str, float]] = []
    for cells in sheets:
        column: int | None = None
        for row in cells:
            headings = [i for i, cell in enumerate(row) if str(cell).strip().casefold() == "mos"]
            if headings:
                column = headings[0]
                continue
            stems = [stem for cell in row if (stem := _stem_of_cell(cell))]
            if not stems:
                continue
            score = _score_of_row(row, column)
            if len(stems) > 1 or score is None:
                raise DataError(f"vcl: {path}: the MOS of {stems[0]} is not clear; {advice}")
            scores.append((stems[0], score))
    if not scores:
        raise DataError(f"vcl: {path}: no name of a distorted image was found; {advice}")
    return scores


def _stem_of_cell(cell: Any) -> str | None:
    try:
        return _stem(cell) if isinstance(cell, str) else None
    except ValueError:
        return None


def _score_of_row(row: Sequence[Any], column: int | None) -> float | None:
    numbers = [row[column]] if column is not None and column < len(row) else list(row)
    numbers = [cell for cell in numbers if isinstance(cell, float)]
    return numbers[0] if len(numbers) == 1 else None


READERS: dict[str, tuple[Callable[[Path], Scores], str]] = {
    ".csv": (_from_csv, "MOS"),
    ".mat": (_from_mat, "mos"),
    ".xls": (_from_xls, "MOS"),
}
"""How a label file is read, by its ending, and what holds the scores in it."""
