"""Several runs as one: which of their cells are the same, and which contradict each other."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from iqabench.errors import ResultsError
from iqabench.leaderboard.load import Cell
from iqabench.results import Columns

TOLERANCE = 1e-6
"""Per-image numbers that differ by no more (relative above 1) are one, rounded on two machines."""
COMPARED = ("metrics", "metrics_8bit", "metrics_nonadaptive", "distance")


def merge_cells(cells: Iterable[Cell]) -> tuple[list[Cell], frozenset[str]]:
    """Return one cell for each key; which one does not depend on the order they are given in.

    A failed cell gives way to a finished one. Finished ones have to hold the same numbers: the same
    columns and metrics, or columns that differ by no more than ``TOLERANCE``. Metrics are not
    compared then: where two logits were almost equal, rounding changes ranks.

    Args:
        cells: Those of all runs.

    Returns:
        The cells, sorted by key, and the keys of those that differ by rounding.

    Raises:
        ResultsError: Two cells contradict each other, or per-image columns are damaged.
    """
    claims: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        claims[cell.record.key].append(cell)
    chosen, rounded = [], set()
    for key in sorted(claims):
        first, *others = sorted(claims[key], key=_preference)
        chosen.append(first)
        columns = first.columns() if first.is_done else {}
        for other in others:
            if other.is_done and _differs_by_rounding(first, columns, other):
                rounded.add(key)
    return chosen, frozenset(rounded)


def image_paths(cell: Cell) -> list[str]:
    """Return the saved images that a cell file names, relative to its run.

    Raises:
        ResultsError: One lies outside the run.
    """
    named = {one[kind] for one in cell.record.images or () for kind in ("clean", "attacked")}
    for name in named:
        path = Path(name)
        if path.is_absolute() or ".." in path.parts:
            raise ResultsError(f"{cell.path}: its image {name!r} lies outside the run")
    return sorted(named)


def _preference(cell: Cell) -> tuple[bool, bool, int, bytes]:
    """Finished, the reference, and with images first; then whatever stands first as text."""
    is_reference = bool(cell.record.about.get("reference"))
    return not cell.is_done, not is_reference, -len(image_paths(cell)), cell.path.read_bytes()


def _differs_by_rounding(first: Cell, columns: Columns, other: Cell) -> bool:
    """Say whether the columns of two cells differ; raise if by more than rounding."""
    theirs = other.columns()
    if _columns_hash(first) == _columns_hash(other):
        _check(first, other, _different_metrics(first, other))
        return False
    _check(first, other, _different_columns(columns, theirs))
    return True


def _columns_hash(cell: Cell) -> str | None:
    return cell.record.columns["sha256"] if cell.record.columns else None


def _check(first: Cell, other: Cell, difference: str | None) -> None:
    if difference is None:
        return
    one, two = sorted([first, other], key=lambda cell: str(cell.path))
    about = first.record.about
    raise ResultsError(
        f"cell {first.record.key} ({about.get('defense')}, {about.get('attack')}, eps "
        f"{first.eps_255:g}) is in two runs with different numbers: {difference}; {one.path} and "
        f"{two.path} contradict each other, so leave one run out or compute the cell again"
    )


def _different_metrics(one: Cell, two: Cell) -> str | None:
    for part in COMPARED:
        ours, theirs = getattr(one.record, part), getattr(two.record, part)
        if ours is None or theirs is None:  # an older file lacks it
            continue
        numbers = dict(_flat(theirs, part))
        for name, value in _flat(ours, part):
            if not _close(value, numbers.get(name)):
                found = _pair(value, numbers.get(name))
                return f"{name} is {found}, although the per-image columns are the same"
    return None


def _different_columns(one: Columns, two: Columns) -> str | None:
    if list(one) != list(two):
        names = ", ".join(sorted(set(one) ^ set(two))) or "their order"
        return f"per-image columns differ in {names}"
    if one["image_id"] != two["image_id"]:
        return "per-image columns are of other images, or in another order"
    for name in one:
        for image, a, b in zip(one["image_id"], one[name], two[name], strict=True):
            if not _close(a, b):
                return f"{name} of image {image!r} is {_pair(a, b)}"
    return None


def _pair(one: object, two: object) -> str:
    low, high = sorted("missing" if value is None else str(value) for value in (one, two))
    return f"{low} in one and {high} in the other"


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", value


def _close(a: object, b: object) -> bool:
    if isinstance(a, float | int) and isinstance(b, float | int):
        return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return a == b
