"""The same tables on a terminal, in as much detail as its width allows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from iqabench.leaderboard.load import Board, Group
from iqabench.leaderboard.rank import (
    PER_IMAGE_WORST,
    WEAK_DROP,
    Measures,
    Result,
    Row,
    Standing,
    standings,
)
from iqabench.leaderboard.tables import remarks, shown, standing_remarks
from iqabench.metrics import Estimate

WEAK = "~"
"""Stands behind a number whose attack is too weak."""
MISSING = "-"


def render(board: Board, console: Console) -> None:
    """Print one table per group and, below it, what must be known about its numbers.

    Intervals are printed where the terminal is wide enough; attacks that do not fit beside each
    other go to further tables. From 80 columns on nothing is cut off.

    Args:
        board: What to print.
        console: Where to print it.

    Raises:
        ResultsError: Per-image columns are missing or damaged.
    """
    for number, group in enumerate(board.groups):
        if number:
            console.print()
        console.print(heading(group, "SROCC"))
        tables, has_intervals = _fitting(group, console)
        for table in tables:
            console.print(table)
        for note in _notes(group, has_intervals=has_intervals):
            console.print(bulleted(note))


def heading(group: Group, what: str) -> Text:
    """Return the line above the tables of a data set: what they show and what it rests on."""
    title = Text(group.title, style="bold")
    if group.proxy_labels:
        title.append(" (proxy labels)", style="bold yellow")
    title.append(f": {what}", style="bold")
    if group.sample:
        title.append(f", n = {group.sample.n} images")
        title.append(f", 95 % intervals over {group.sample.units} {group.sample.resampled}")
        title.append(" (few scenes)" if group.sample.few_scenes else "", style="yellow")
    return title


def _fitting(group: Group, console: Console) -> tuple[list[Table], bool]:
    """Return the first layout that fits: with intervals, without, then attacks in parts."""
    specs = list(group.attacks)

    def fits(table: Table) -> bool:
        wanted = Measurement.get(console, console.options.update(max_width=10_000), table)
        return wanted.maximum <= console.width

    for intervals in (" ", "\n"):
        table = _table(group, specs, intervals, console.width)
        if fits(table):
            return [table], True
    for size in range(len(specs), 0, -1):
        parts = [specs[i : i + size] for i in range(0, len(specs), size)]
        tables = [_table(group, part, None, console.width) for part in parts]
        if size == 1 or all(fits(table) for table in tables):
            return tables, False
    return [_table(group, specs, None, console.width)], False


def _table(group: Group, specs: Sequence[str], intervals: str | None, width: int) -> Table:
    """Build a table of some attacks.

    Args:
        group: Whose rows.
        specs: Which attacks get a column.
        intervals: What stands between a number and its interval; None for no intervals.
        width: Width of the terminal: a quarter of it is the most that names may take.
    """
    padding = (0, 0 if intervals is None else 1, 0, 0)
    table = Table(box=box.SIMPLE_HEAD, padding=padding, pad_edge=False)
    table.add_column("rank", justify="right")
    table.add_column("defense", max_width=max(12, width // 4), overflow="fold")
    table.add_column("eps", justify="right")
    names = ["clean", *(group.attacks[spec] for spec in specs), PER_IMAGE_WORST, "lowest"]
    for name in names:
        header = Text(name if intervals == " " else broken(name))
        table.add_column(header, justify="right", overflow="fold")
    for standing in standings(group):
        for row in standing.rows:
            table.add_row(*_fields(row, standing, specs, intervals))
        table.add_section()
    return table


def _fields(
    row: Row, standing: Standing, specs: Sequence[str], intervals: str | None
) -> Iterator[Text]:
    deciding = row.lowest.by if row.lowest else None
    yield _rank(row)
    yield Text(row.entry.label + (" (reference)" if row.entry.is_reference else ""))
    yield Text(f"{standing.eps_255:g}")
    yield _measured(row.clean, intervals)
    results = {result.attack: result for result in row.results}
    for spec in specs:
        result = results.get(spec)
        is_deciding = result is not None and result.label == deciding
        yield _result(result, intervals, "bold" if is_deciding else "")
    yield _measured(row.worst, intervals, "bold" if deciding == PER_IMAGE_WORST else "")
    yield _number(row.lowest.srocc if row.lowest else None, intervals, "bold")


def _rank(row: Row) -> Text:
    text = Text(MISSING if row.rank is None else str(row.rank), style="bold")
    if row.open_ranks is not None:
        best, worst = row.open_ranks
        text.append(f" ({best}-{worst})", style="not bold")
    return text


def _result(result: Result | None, intervals: str | None, style: str) -> Text:
    if result is not None and result.status == "failed":
        return Text("failed", style="red")
    number = _measured(result.measures if result else None, intervals, style)
    if result is None or not result.too_weak:
        return number
    head, *rest = number.plain.split("\n")
    return Text("\n".join([head + WEAK, *rest]), style="yellow")


def _measured(measures: Measures | None, intervals: str | None, style: str = "") -> Text:
    return _number(measures.srocc if measures else None, intervals, style)


def _number(estimate: Estimate | None, intervals: str | None, style: str) -> Text:
    if estimate is None:
        return Text(MISSING)
    value, *interval = shown(estimate, interval=intervals is not None).split(" ", 1)
    return Text((intervals or "").join([value, *interval]), style=style)


def broken(name: str) -> str:
    """Break a name into lines after its punctuation, so that its column stays narrow."""
    return re.sub(r"(?<=[-:,=_+/ ])(?=.)", "\n", name).replace(" \n", "\n")


def _notes(group: Group, *, has_intervals: bool) -> list[str]:
    notes = remarks(group)
    eps_of: dict[str, list[str]] = {}
    ranked = standings(group)
    for standing in ranked:
        for remark in standing_remarks(group, standing):
            eps_of.setdefault(remark, []).append(f"{standing.eps_255:g}")
    for remark, eps in eps_of.items():
        everywhere = len(eps) == len(ranked)
        notes.append(remark if everywhere else f"eps {', '.join(eps)}: {remark}")
    if any(result.too_weak for result in _results(ranked)):
        notes.append(
            f"{WEAK} attack too weak: it takes less than {WEAK_DROP} SROCC from the undefended "
            "reference at this eps."
        )
    for entry, cell in group.failures:
        attack = group.attacks.get(cell.attack, cell.attack)
        error = cell.record.error or "no error was recorded"
        notes.append(f"Failed: {entry.label}, {attack}, eps {cell.eps_255:g}: {error}")
    if not has_intervals:
        notes.append(
            "The terminal is too narrow for the intervals: see leaderboard.csv or report.html."
        )
    return notes


def _results(ranked: Iterable[Standing]) -> Iterator[Result]:
    for standing in ranked:
        for row in standing.rows:
            yield from row.results


def bulleted(note: str) -> Table:
    """Return a note with a bullet and its further lines indented."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column()
    grid.add_column(overflow="fold")
    grid.add_row(Text("*"), Text(note))
    return grid
