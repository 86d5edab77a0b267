"""Label files as data set readers need them: tables of text and of MATLAB, numbers checked."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from iqabench.contracts.matlab import MatlabError, WrongKindError, read_variables
from iqabench.errors import DataError, quoted

_KINDS = {float: "numbers", str: "texts", None: "numbers or texts"}


def read_csv(
    path: Path, *columns: str, source: str, separators: str = ","
) -> Iterator[dict[str, str]]:
    """Yield the rows of a label file with a header, values stripped, empty rows left out.

    Args:
        path: A CSV file in UTF-8, with or without a byte order mark.
        columns: Columns that must be there, once each; others are yielded as well.
        source: Name of the data set, for messages.
        separators: What may stand between two fields; the one that the header has most of counts.

    Raises:
        DataError: Unreadable, no text, no CSV, a column or value is missing, or a row has values
            beyond the last heading.
    """
    with _csv_rows(path, source, separators) as rows:
        headings = _headings(rows)
        _check_headings(headings, columns, f"{source}: {path}")
        # A value without a heading is of no use, and may be the rest of a number with a comma.
        width = max((i + 1 for i, name in enumerate(headings) if name), default=0)
        for row in rows:
            where = f"{source}: {path}, line {rows.line_num}"
            row = [value.strip() for value in row]
            if surplus := [value for value in row[width:] if value]:
                raise DataError(
                    f"{where}: {quoted(surplus)} after the last of {width} columns; numbers need a"
                    " decimal point, a comma begins another column"
                )
            values = {name: value for name, value in zip(headings, row, strict=False) if name}
            if not any(values.values()):
                continue
            if empty := [c for c in columns if not values.get(c)]:
                raise DataError(f"{where}: no {empty[0]!r}")
            yield values


def read_headings(path: Path, *, source: str, separators: str = ",") -> list[str]:
    """Return the headings of a label file as ``read_csv`` reads it, without empty ones.

    Raises:
        DataError: Unreadable, no text, or no CSV.
    """
    with _csv_rows(path, source, separators) as rows:
        return [name for name in _headings(rows) if name]


def read_number(text: str, *, source: str) -> float:
    """Return a label as a number.

    Args:
        text: What the file says.
        source: Where it says so, for the message.

    Raises:
        DataError: It is none, or not finite.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{source}: label {quoted([text])} is no number")
    return value


def read_mat(
    path: Path, *names: str, source: str, holds: type[float] | type[str] | None = None
) -> dict[str, list[Any]]:
    """Return variables of a MATLAB file, each as a flat list.

    Rows and columns are the same: a 1 x n and an n x 1 variable both give n values. Numbers and
    logical values become ``float``; a cell array of texts becomes a list of ``str``.

    Args:
        path: A MATLAB file of version 4 to 7.2.
        names: Variables that must be there.
        source: Name of the data set, for messages.
        holds: ``float`` or ``str`` where only numbers or only texts make sense.

    Raises:
        DataError: Unreadable, no MATLAB file, or a variable is missing or of another kind.
    """
    what = f"{source}: {path}"
    try:
        found, there = read_variables(path.read_bytes(), names)
    except OSError as e:
        raise DataError(f"{what} cannot be read: {e.strerror or e}") from e
    except WrongKindError as e:
        raise DataError(f"{what}: {e}, but {_KINDS[holds]} should be there") from e
    except MatlabError as e:
        advice = "download it again, or save it in MATLAB with -v7"
        raise DataError(f"{what} {e}; {advice}") from e
    if missing := [name for name in names if name not in found]:
        shown = quoted(there) or "nothing"
        raise DataError(f"{what}: expected the variable {missing[0]!r}, found {shown}")
    for name, values in found.items():
        if odd := [v for v in values if holds is not None and not isinstance(v, holds)]:
            raise DataError(
                f"{what}: {name!r} holds {quoted(odd[:1])}, but {_KINDS[holds]} should be there;"
                " take the file as it was published"
            )
    return found


@contextmanager
def _csv_rows(path: Path, source: str, separators: str) -> Iterator[Any]:
    """Open a CSV file and give its reader; what goes wrong with it becomes a ``DataError``."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            yield csv.reader(file, strict=True, delimiter=max(separators, key=header.count))
    except OSError as e:
        raise DataError(f"{source}: {path} cannot be read: {e.strerror or e}") from e
    except (UnicodeDecodeError, csv.Error) as e:
        raise DataError(f"{source}: {path} is no CSV file in UTF-8: {e}") from e


def _headings(rows: Iterator[list[str]]) -> list[str]:
    """Return the first row that is not empty."""
    return [name.strip() for name in next((row for row in rows if row), [])]


def _check_headings(headings: Sequence[str], columns: Sequence[str], where: str) -> None:
    if not set(columns) <= set(headings):
        found = quoted([name for name in headings if name]) or "nothing"
        raise DataError(
            f"{where}: expected the columns {', '.join(map(repr, columns))}, found {found}"
        )
    if twice := [name for name in columns if headings.count(name) > 1]:
        raise DataError(f"{where}: {headings.count(twice[0])} columns are headed {twice[0]!r}")
