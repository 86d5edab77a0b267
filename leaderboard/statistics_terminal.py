"""The statistics of a run on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import rich.table
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.text import Text

from iqabench.leaderboard.statistics import Statistics, notes
from iqabench.leaderboard.statistics_tables import Field, Table, tables
from iqabench.leaderboard.tables import remarks, shown
from iqabench.leaderboard.terminal import MISSING, broken, bulleted, heading


def render(found: Sequence[Statistics], console: Console) -> None:
    """Print the tables of every data set and what must be known about them.

    Columns that do not fit beside each other go to further tables; the details lose their intervals
    first.
    """
    for number, statistics in enumerate(found):
        if number:
            console.print()
        group = statistics.group
        console.print(heading(group, "statistics"))
        narrowed = False
        for table in tables(statistics):
            console.print()
            console.print(Text(table.title, style="bold"))
            console.print(Text(table.text, style="dim"))
            parts, has_intervals = _fitting(table, console)
            narrowed = narrowed or not has_intervals
            for part in parts:
                console.print(part)
        said = [*remarks(group), *notes(statistics)]
        if narrowed:
            said.append("The terminal is too narrow for some intervals: see statistics.csv.")
        for note in said:
            console.print(bulleted(note))


def _fitting(table: Table, console: Console) -> tuple[list[rich.table.Table], bool]:
    """Return the first layout that fits: whole, details without intervals, then in parts."""
    everything = range(len(table.columns))

    def fits(made: rich.table.Table) -> bool:
        wanted = Measurement.get(console, console.options.update(max_width=10_000), made)
        return wanted.maximum <= console.width

    whole = _table(table, everything, console.width, intervals=True)
    if fits(whole):
        return [whole], True
    intervals = not table.is_detail
    parts = [whole]
    for size in range(len(table.columns), 0, -1):
        starts = range(0, len(table.columns), size)
        parts = [
            _table(table, everything[start : start + size], console.width, intervals=intervals)
            for start in starts
        ]
        if all(fits(part) for part in parts):
            break
    return parts, intervals


def _table(
    table: Table, columns: Sequence[int], width: int, *, intervals: bool
) -> rich.table.Table:
    made = rich.table.Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in table.names:
        made.add_column(Text(name), max_width=max(12, width // 4), overflow="fold")
    for column in columns:
        made.add_column(Text(broken(table.columns[column])), justify="right", overflow="fold")
    for row in table.rows:
        first, *others = row.names
        names = [first + (" (reference)" if row.is_reference else ""), *others]
        fields = [_text(row.fields[column], intervals=intervals) for column in columns]
        made.add_row(*(Text(name) for name in names), *fields)
    return made


def _text(field: Field, *, intervals: bool) -> Text:
    if field.estimate is None:
        return Text(MISSING)
    value, *interval = shown(field.estimate, interval=intervals).split(" ", 1)
    lines = [value, *interval, *([field.small] if field.small else [])]
    return Text("\n".join(lines), style="bold" if field.is_strong else "")
