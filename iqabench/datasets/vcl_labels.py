"""The label files of VCL@FER: a table that a person saved, ``results.xls``, ``VCL_FER.mat``."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from iqabench.api import DataError, quoted, read_csv, read_headings, read_mat, read_number

KINDS = {"AWGN": ".bmp", "BLU": ".bmp", "J2K": ".bmp", "JPG": ".jpg"}
"""Kinds of distortion in the order of ``VCL_FER.mat``, with the endings of their files."""
ORDER = [
    f"IMG_{scene:02d}_{kind}_{level}"
    for kind, scene, level in itertools.product(KINDS, range(1, 24), range(1, 7))
]
IMAGE = re.compile(r"IMG_\d{2}_(AWGN|BLU|J2K|JPG)_[1-6]")
REFERENCE = re.compile(r"IMG_\d{2}")
IMAGE_HEADINGS = ("image", "image_name", "img_name", "name", "dis_img_path")
MOS_HEADINGS = ("mos", "score")
MOS_HEADING = re.compile(r"(mos|mean opinion scores?)\b(?!.*(std|sd\b|dev|var))", re.IGNORECASE)
"""A heading of a workbook that says MOS, and not how much the MOS varies."""
ADVICE = "save it as results.csv with the columns image and mos beside it"

Scores = Sequence[tuple[str, float]]
"""Names of distorted images without their endings, each with its MOS."""


def read_scores(path: Path) -> Scores:
    """Return what a label file says, in its order; references are left out.

    Raises:
        DataError: It cannot be read, or what the MOS of an image is is not clear.
    """
    return READERS[path.suffix.casefold()](path)


def _stem(cell: Any) -> str | None:
    """Return the image of VCL@FER that a cell names, without folders and ending, else None."""
    stem = PurePosixPath(str(cell).strip().replace("\\", "/")).name
    stem = re.sub(r"\.(bmp|jpe?g)$", "", stem, flags=re.IGNORECASE).upper()
    return stem if IMAGE.fullmatch(stem) or REFERENCE.fullmatch(stem) else None


def _from_mat(path: Path) -> Scores:
    values = read_mat(path, "mos", source="vcl", holds=float)["mos"]
    if len(values) != len(ORDER):
        raise DataError(f"vcl: {path}: mos has {len(values)} entries, not {len(ORDER)}")
    return list(zip(ORDER, values, strict=True))


def _from_csv(path: Path) -> Scores:
    """Read a table with commas or, as some countries save it, semicolons and decimal commas."""
    headings = read_headings(path, source="vcl", separators=",;")
    image = _heading(headings, IMAGE_HEADINGS, path)
    mos = _heading(headings, MOS_HEADINGS, path)
    scores = []
    for line in read_csv(path, image, mos, source="vcl", separators=",;"):
        stem = _stem(line[image])
        if stem is None:
            raise DataError(f"vcl: {path}: {quoted([line[image]])} is no image of VCL@FER")
        if IMAGE.fullmatch(stem):
            number = line[mos].replace(",", ".")
            scores.append((stem, read_number(number, source=f"vcl: {path}, {stem}")))
    return scores


def _heading(headings: Sequence[str], accepted: Sequence[str], path: Path) -> str:
    """Return the heading, as the file spells it, that comes first among the accepted ones."""
    for wanted in accepted:
        same = [heading for heading in headings if heading.casefold() == wanted]
        if len(same) > 1:
            raise DataError(f"vcl: {path}: {len(same)} columns are headed {wanted!r}")
        if same:
            return same[0]
    raise DataError(
        f"vcl: {path}: expected one of the columns {quoted(accepted)},"
        f" found {quoted(headings) or 'nothing'}"
    )


def _from_xls(path: Path) -> Scores:
    """Find names of images in any sheet, with the MOS in their rows."""
    import xlrd

    try:
        with xlrd.open_workbook(path, logfile=io.StringIO()) as book:
            sheets = [[sheet.row_values(r) for r in range(sheet.nrows)] for sheet in book.sheets()]
    except OSError as e:
        raise DataError(f"vcl: {path} cannot be read: {e.strerror or e}") from e
    except Exception as e:  # xlrd raises many kinds on what is no such workbook
        why = " ".join(str(e).split())
        raise DataError(f"vcl: {path} is no workbook that can be read ({why}); {ADVICE}") from e
    scores = [pair for cells in sheets for pair in _from_sheet(cells, path)]
    if not scores:
        raise DataError(f"vcl: {path}: no name of a distorted image was found; {ADVICE}")
    return scores


def _from_sheet(rows: Sequence[Sequence[Any]], path: Path) -> Scores:
    stems_of = [[stem for cell in row if (stem := _stem(cell))] for row in rows]
    others = [row for row, stems in zip(rows, stems_of, strict=True) if not stems]
    named = [
        (row, distorted)
        for row, stems in zip(rows, stems_of, strict=True)
        if (distorted := [stem for stem in stems if IMAGE.fullmatch(stem)])
    ]
    column = _headed_column(others)
    if column is None:
        column = _lone_column([row for row, _ in named], others)
    scores = []
    for row, stems in named:
        score = row[column] if column is not None and column < len(row) else None
        if len(stems) > 1 or not isinstance(score, float):
            raise DataError(f"vcl: {path}: the MOS of {stems[0]} is not clear; {ADVICE}")
        scores.append((stems[0], score))
    return scores


def _headed_column(rows: Sequence[Sequence[Any]]) -> int | None:
    """Return the one column with the heading MOS, or else with one that begins so."""
    texts = [(i, cell.strip()) for row in rows for i, cell in enumerate(row) if _is_text(cell)]
    exact = {i for i, text in texts if text.casefold() == "mos"}
    columns = exact or {i for i, text in texts if MOS_HEADING.match(text)}
    return columns.pop() if len(columns) == 1 else None


def _lone_column(named: Sequence[Sequence[Any]], others: Sequence[Sequence[Any]]) -> int | None:
    """Return the only column of numbers if nothing says that it is anything but the MOS.

    That is: it stands beside all images, without a heading, and does not count or grade them.
    """
    numbers = [[(i, c) for i, c in enumerate(row) if isinstance(c, float)] for row in named]
    columns = {i for row in numbers for i, _ in row}
    if len(named) != len(ORDER) or len(columns) != 1 or not all(numbers):
        return None
    column = columns.pop()
    is_headed = any(_is_text(row[column]) for row in others if column < len(row))
    counts = all(row[0][1].is_integer() for row in numbers)
    return None if is_headed or counts else column


def _is_text(cell: Any) -> bool:
    return isinstance(cell, str) and bool(cell.strip())


READERS: dict[str, Callable[[Path], Scores]] = {
    ".csv": _from_csv,
    ".mat": _from_mat,
    ".xls": _from_xls,
}
"""How a label file is read, by its ending."""
