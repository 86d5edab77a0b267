"""A comparison on a terminal: one block per row and column of a published table."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from iqabench.leaderboard.compare import MAPPED, VERDICTS, Comparison, Line, too_weak
from iqabench.leaderboard.compare_tables import notes, places_of
from iqabench.leaderboard.tables import shown
from iqabench.leaderboard.terminal import WEAK, bulleted
from iqabench.metrics import Estimate

STYLES = {"reproduced": "green", "not reproduced": "red", "not comparable": "yellow"}
NAMES = {"plcc": "raw", MAPPED: "after logistic mapping"}


def render(comparison: Comparison, console: Console, *, with_unmeasured: bool) -> None:
    """Print every measured line, what must be known beside them, and the counts.

    Args:
        comparison: What to print.
        console: Where.
        with_unmeasured: Also list published values that nothing was measured for.

    Raises:
        ResultsError: Per-image columns are missing or damaged.
    """
    paper = comparison.paper
    console.print(Text(paper.title, style="bold"))
    console.print(Text(paper.source))
    for lines in places_of(comparison.lines):
        if lines[0].measured is not None or with_unmeasured:
            console.print()
            _print_place(lines, console)
    console.print()
    for note in notes(comparison):
        console.print(bulleted(note))
    if any(_is_weak(line) for line in comparison.lines):
        console.print(
            bulleted(f"{WEAK} attack too weak: it hardly hurts the undefended reference.")
        )
    console.print(_counts(comparison))


def _print_place(lines: Sequence[Line], console: Console) -> None:
    first = lines[0]
    place, measured = first.place, first.measured
    heading = f"Table {place.table.table}: {place.method} on {place.dataset}, {place.attack}"
    console.print(Text(heading, style="bold"))
    if measured is None:
        values = ", ".join(f"{line.metric} {line.published:f}" for line in lines)
        console.print(Text(f"  not measured: {values}"))
        return
    eps = f" at {measured.cell.eps_255:g}/255" if measured.cell.eps_255 else ""
    weak = f" {WEAK}" if _is_weak(first) else ""
    console.print(
        Text(
            f"  measured: {measured.entry.label} on {measured.group.title}, "
            f"{measured.attack}{eps}{weak}, seed {measured.entry.seed}"
        )
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(min_width=6)
    table.add_column(min_width=8, justify="right")
    table.add_column(min_width=24, overflow="fold")
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row(*_fields(line))
        if line.beside is not None:
            other = NAMES["plcc" if line.ours == MAPPED else MAPPED]
            table.add_row("", "", _number(line.beside), Text(other, style="dim"))
    console.print(Padding(table, (0, 0, 0, 2)))
    if first.check is not None and first.check.differences:
        why = f"  not comparable: {'; '.join(d.text for d in first.check.differences)}"
        console.print(Text(why, style="yellow"))
        if first.others:
            console.print(
                Text(f"  (the closest; {first.others} more of this method and attack differ too)")
            )


def _fields(line: Line) -> tuple[Text, Text, Text, Text]:
    return (
        Text(line.metric),
        Text(f"{line.published:f}"),
        Text(_number(line.estimate)),
        Text(_verdict(line), style=STYLES.get(line.verdict, "")),
    )


def _verdict(line: Line) -> str:
    if line.check is not None and line.check.differences:
        return "" if line.verdict == "not comparable" else line.verdict
    if line.outside:
        side = "above" if line.outside > 0 else "below"
        return f"{line.verdict}: published is {abs(line.outside):.4f} {side} the interval"
    return "; ".join([line.verdict, *line.reasons])


def _number(estimate: Estimate | None) -> str:
    return "" if estimate is None else shown(estimate)


def _is_weak(line: Line) -> bool:
    return line.measured is not None and bool(too_weak(line.measured))


def _counts(comparison: Comparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("table", *VERDICTS):
        table.add_column(name, justify="right")
    for number, count in comparison.counts().items():
        table.add_row(number, *(str(count[verdict]) for verdict in VERDICTS))
    return table
