"""One JSON file per cell beside its per-image columns: written once, whole, found by its key.

``docs/results-format.md`` describes every field. This module knows no torch, so that tables and
pages can be made again anywhere.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from iqabench.errors import ResultsError
from iqabench.files import file_name, hash_of, write_json, write_text

SCHEMA = 1
"""Raise it, and keep a reader for the old one, whenever a field changes its meaning."""
ADDED = ("metrics_nonadaptive", "images")
"""Fields that the first files of this schema do not have."""
CLEAN = "clean"
"""What stands in place of an attack for the clean pass, at eps 0."""

Status = Literal["done", "failed"]
Columns = dict[str, list[Any]]
TEXT_COLUMNS = ("image_id", "scene")


def key_of(cell: Mapping[str, Any]) -> str:
    """Return the 16 hex digits that name a cell.

    Args:
        cell: Everything that can change a number, and nothing that cannot (no batch size, device,
            path or host name).
    """
    return hash_of({"schema": SCHEMA, **cell})[:16]


@dataclass(frozen=True)
class CellRecord:
    """The contents of one cell file.

    Attributes:
        cell: What was computed; its hash is the key.
        about: What people want to read beside it: titles, labels, recipe, reference or not.
        status: ``done``, or ``failed`` with ``error``.
        metrics: ``Agreement.to_json()`` of the attacked scores; None if failed.
        metrics_8bit: The same after rounding the images to 8 bits; None for fractional eps.
        metrics_nonadaptive: The same where the attack took the defense's own gradient alone; None
            where there is no other route.
        distance: Largest and mean distances from the clean images.
        cost: Passes, queries, seconds and memory.
        columns: File name and hash of the per-image columns.
        images: The attacked images that were kept: ``image_id``, ``clean`` and ``attacked`` (files
            in the run directory), ``sha256`` of the latter; None if none were.
        environment: Versions and device.
        error: Why it failed.
    """

    cell: dict[str, Any]
    about: dict[str, Any]
    status: Status = "done"
    metrics: dict[str, Any] | None = None
    metrics_8bit: dict[str, Any] | None = None
    metrics_nonadaptive: dict[str, Any] | None = None
    distance: dict[str, Any] | None = None
    cost: dict[str, Any] | None = None
    columns: dict[str, str] | None = None
    images: list[dict[str, str]] | None = None
    environment: dict[str, Any] | None = None
    error: str | None = None

    @property
    def key(self) -> str:
        """The 16 hex digits that name this cell."""
        return key_of(self.cell)


def cell_path(run: Path, cell: Mapping[str, Any]) -> Path:
    """Return where a cell's file lies in a run; the names are for people, the key decides."""
    defense = file_name(cell["defense"]["spec"])
    attack = file_name(cell["attack"]["spec"])
    name = f"{attack}-eps{cell['eps_255']:g}-{key_of(cell)}.json"
    return run / "cells" / file_name(cell["dataset"]["name"]) / defense / name


def write_cell(run: Path, record: CellRecord, columns: Columns | None) -> Path:
    """Write the columns, then the cell file: a cell exists once its own file does.

    Raises:
        OutputError: The folder cannot be written.
        ValueError: A number is NaN or infinite; use None for "could not be computed".
    """
    path = cell_path(run, record.cell)
    if columns is not None:
        text = columns_to_csv(columns)
        side = path.with_suffix(".csv")
        write_text(side, text)
        record = replace(record, columns={"file": side.name, "sha256": _sha256(text)})
    _write(path, record)
    return path


def refresh_about(path: Path, about: dict[str, Any]) -> None:
    """Replace what stands beside a cell's numbers, if it changed since they were computed."""
    record = read_cell(path)
    if record.about != about:
        _write(path, replace(record, about=about))


def _write(path: Path, record: CellRecord) -> None:
    document = {name: getattr(record, name) for name in CellRecord.__dataclass_fields__}
    write_json(path, {"schema": SCHEMA, "key": record.key, **document})


def read_cell(path: Path) -> CellRecord:
    """Read one cell file.

    Raises:
        ResultsError: Damaged, of another schema, or edited.
    """
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as e:
        raise ResultsError(f"{path}: cannot be read as a cell file ({e})") from e
    reader = _reader_of(document, path)
    try:
        record = reader(document)
        _check_shape(record)
        key = record.key
    except (KeyError, TypeError, AttributeError) as e:
        raise ResultsError(f"{path}: incomplete cell file ({type(e).__name__}: {e})") from e
    if key != document.get("key"):
        raise ResultsError(f"{path}: edited by hand? its contents do not match its key")
    return record


def _read_schema_1(document: Mapping[str, Any]) -> CellRecord:
    fields = CellRecord.__dataclass_fields__
    return CellRecord(**{k: document[k] for k in fields if k not in ADDED or k in document})


READERS: Mapping[int, Callable[[Mapping[str, Any]], CellRecord]] = {1: _read_schema_1}
"""What makes a record of a document, by the schema it was written in; an old one stays for ever."""


def _reader_of(document: Any, path: Path) -> Callable[[Mapping[str, Any]], CellRecord]:
    found = document.get("schema") if isinstance(document, dict) else type(document).__name__
    if type(found) is int and found in READERS:
        return READERS[found]
    if type(found) is int and found > SCHEMA:
        raise ResultsError(
            f"{path}: schema {found} is newer than this iqabench, which reads up to {SCHEMA};"
            " install the version that wrote it"
        )
    raise ResultsError(f"{path}: schema {found!r}, expected {SCHEMA}")


def _check_shape(record: CellRecord) -> None:
    """Look at what is not in the key: an edit there would otherwise go unnoticed."""
    cell = record.cell
    for place, name in (("dataset", "name"), ("defense", "spec"), ("attack", "spec")):
        if not isinstance(cell[place][name], str):
            raise TypeError(f"{place}.{name} is no text")
    others = {"cell", "about", "status", "error", "images"}
    for part in set(CellRecord.__dataclass_fields__) - others:
        if not isinstance(getattr(record, part), dict | None):
            raise TypeError(f"{part} is no mapping")
    if not isinstance(record.images, list | None):
        raise TypeError("images is no list")
    for image in record.images or ():
        if not all(isinstance(image[part], str) for part in ("image_id", "clean", "attacked")):
            raise TypeError("images names something that is no text")
    if not isinstance(record.about, dict):
        raise TypeError("about is no mapping")
    if record.status == "done" and not record.metrics:
        raise TypeError("a finished cell has metrics")
    if record.columns is not None and not {"file", "sha256"} <= set(record.columns):
        raise KeyError("columns")


def read_columns(path: Path, record: CellRecord) -> Columns:
    """Read the per-image columns that belong to the cell file at ``path``.

    Raises:
        ResultsError: Missing, or not what the cell file was written with.
    """
    if record.columns is None:
        raise ResultsError(f"{path}: this cell has no per-image columns")
    name = record.columns["file"]
    if Path(name).name != name:
        raise ResultsError(f"{path}: its columns {name!r} are no file beside it")
    side = path.parent / name
    try:
        text = side.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as e:
        raise ResultsError(f"{side}: cannot be read ({e})") from e
    if _sha256(text) != record.columns["sha256"]:
        raise ResultsError(f"{side}: does not match the hash in {path.name}")
    return columns_from_csv(text)


def is_complete(path: Path) -> bool:
    """Say whether a finished cell lies at ``path``; failed or damaged ones are done again."""
    if not path.exists():
        return False
    try:
        record = read_cell(path)
        return record.status == "done" and bool(read_columns(path, record))
    except ResultsError:
        return False


def find_cells(run: Path) -> Iterator[Path]:
    """Yield every cell file of a run, in the order of their names."""
    yield from sorted((run / "cells").glob("*/*/*.json"))


def columns_to_csv(columns: Columns) -> str:
    """Return the columns as CSV: floats in shortest exact form, None as an empty field."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow("" if v is None else v for v in row)
    return out.getvalue()


def columns_from_csv(text: str) -> Columns:
    """Return what ``columns_to_csv`` was given."""
    header, *rows = csv.reader(io.StringIO(text))
    return {name: [_value(name, row[i]) for row in rows] for i, name in enumerate(header)}


def finite_or_none(values: Sequence[float]) -> list[float | None]:
    """Return plain floats with None for what is not finite."""
    return [float(v) if math.isfinite(v) else None for v in values]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _value(name: str, text: str) -> str | float | None:
    if text == "":
        return None
    return text if name in TEXT_COLUMNS else float(text)
