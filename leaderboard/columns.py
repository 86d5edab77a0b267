"""Tables for papers: in each column the best row, and those that cannot be told apart from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from iqabench.errors import ResultsError
from iqabench.leaderboard.draws import Place, draws_of
from iqabench.leaderboard.load import Board, Entry, Group
from iqabench.leaderboard.rank import Measures, Result, Row, Standing, lowest_place, standings
from iqabench.metrics import Estimate
from iqabench.results import CLEAN
from iqabench.statistics.ranks import told_apart

LOWEST = "lowest"


@dataclass(frozen=True)
class Field:
    """One number of a table.

    Attributes:
        estimate: The number; None where there is only a word.
        word: Why there is none.
        is_best: The highest of its column, told apart from every other one.
        is_highest: The highest of its column, not told apart from every other one.
        is_like_highest: Not told apart from the highest of its column.
        is_too_weak: The attack hardly hurts the row's reference at this eps.
    """

    estimate: Estimate | None = None
    word: str = ""
    is_best: bool = False
    is_highest: bool = False
    is_like_highest: bool = False
    is_too_weak: bool = False


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a table.

    Attributes:
        label: ``clean``, the label of an attack, or ``lowest``: what ranks at this eps.
        eps_255: Radius in grey levels; None without attack.
        fields: One for each row.
    """

    label: str
    eps_255: float | None
    fields: tuple[Field, ...]


@dataclass(frozen=True, eq=False)
class Sheet:
    """The table of one data set.

    Attributes:
        group: Whose rows.
        entries: Rows, best first at the largest radius that is shown.
        standings: The rankings at the radii that are shown.
        columns: Without attack, then by eps.
    """

    group: Group
    entries: tuple[Entry, ...]
    standings: tuple[Standing, ...]
    columns: tuple[Column, ...]


def check_radii(board: Board, eps_255: Collection[float] | None) -> None:
    """Raise unless something was attacked at each of these radii.

    Raises:
        ResultsError: Nothing was.
    """
    there = sorted({eps for group in board.groups for eps in group.eps_255})
    if missing := sorted(set(eps_255 or ()) - set(there)):
        radii = ", ".join(f"{eps:g}" for eps in there) or "none"
        raise ResultsError(
            f"nothing was attacked at eps {', '.join(f'{eps:g}' for eps in missing)};"
            f" there are: {radii}"
        )


def shown_standings(group: Group, eps_255: Collection[float] | None) -> tuple[Standing, ...]:
    """Return the rankings at some radii; at all of them for None."""
    return tuple(s for s in standings(group) if eps_255 is None or s.eps_255 in eps_255)


def sheet(group: Group, eps_255: Collection[float] | None = None) -> Sheet:
    """Return the table of a data set.

    Args:
        group: Its rows.
        eps_255: The radii that get columns; None for all.

    Raises:
        ResultsError: Per-image columns are missing, damaged, or of different images.
    """
    shown = shown_standings(group, eps_255)
    rows = (shown or standings(group))[-1].rows
    entries = tuple(row.entry for row in rows)
    columns = [_column(group, CLEAN, None, rows, _clean, lambda row: Place(row.entry))]
    for standing in shown:
        columns += _attacked(group, standing, entries)
    return Sheet(group, entries, shown, tuple(columns))


def _attacked(group: Group, standing: Standing, entries: Sequence[Entry]) -> Iterable[Column]:
    by_entry = {row.entry: row for row in standing.rows}
    rows = [by_entry[entry] for entry in entries]
    eps = standing.eps_255
    for number, spec in enumerate(standing.attacks):

        def field(row: Row, number: int = number) -> Field:
            return _result(row.results[number])

        def place(row: Row, spec: str = spec) -> Place:
            return Place(row.entry, (spec,), eps)

        yield _column(group, group.attacks[spec], eps, rows, field, place)
    if len(standing.compared) > 1:
        yield _column(group, LOWEST, eps, rows, _lowest, lambda row: lowest_place(row, eps))


def _column(
    group: Group,
    label: str,
    eps_255: float | None,
    rows: Sequence[Row],
    field: Callable[[Row], Field],
    place: Callable[[Row], Place | None],
) -> Column:
    fields = [field(row) for row in rows]
    places = {
        i: found
        for i, (row, one) in enumerate(zip(rows, fields, strict=True))
        if one.estimate is not None
        and one.estimate.value is not None
        and (found := place(row)) is not None
    }
    if len(places) > 1:
        highest, like = _highest(group, places)
        fields[highest] = replace(fields[highest], is_best=not like, is_highest=bool(like))
        for i in like:
            fields[i] = replace(fields[i], is_like_highest=True)
    return Column(label, eps_255, tuple(fields))


def _highest(group: Group, places: dict[int, Place]) -> tuple[int, list[int]]:
    """Return the row with the highest number of a column, and those that may be as high."""
    drawn = draws_of(group).srocc(places.values())
    rows, numbers = list(places), [drawn[place] for place in places.values()]
    highest = max(range(len(rows)), key=lambda i: numbers[i].value or 0.0)
    lower = {worse for better, worse in told_apart(numbers) if better == highest}
    return rows[highest], [r for i, r in enumerate(rows) if i != highest and i not in lower]


def _clean(row: Row) -> Field:
    return _measured(row.clean, "not run" if row.entry.clean is None else "failed")


def _result(result: Result) -> Field:
    word = "not run" if result.status == "missing" else "failed"
    return replace(_measured(result.measures, word), is_too_weak=result.too_weak is True)


def _lowest(row: Row) -> Field:
    return Field(row.lowest.srocc) if row.lowest else Field(word="not ranked")


def _measured(measures: Measures | None, word: str) -> Field:
    return Field(word=word) if measures is None else Field(measures.srocc)
