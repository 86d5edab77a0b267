"""What attacks moved and took, on a terminal: beside each other where it is wide enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from iqabench.leaderboard.costs import lines
from iqabench.leaderboard.load import Board, Group
from iqabench.leaderboard.tables import remarks
from iqabench.leaderboard.terminal import MISSING, bulleted

VISIBILITY = {
    "psnr_mean": ("PSNR", "{:.2f}"),
    "ssim_mean": ("SSIM", "{:.4f}"),
    "linf_255_max": ("Linf", "{:.3g}"),
    "l2_mean": ("L2", "{:.3g}"),
    "srocc": ("SROCC", "{:.3f}"),
    "srocc_8bit": ("8 bits", "{:.3f}"),
}
COST = {
    "forwards": ("forwards", "{:.4g}"),
    "backwards": ("backwards", "{:.4g}"),
    "queries": ("queries", "{:g}"),
    "seconds_per_image": ("seconds", "{:.3g}"),
    "peak_memory_mb": ("MB", "{:.0f}"),
}
"""Of each number its head, and how it is written; ``costs.csv`` has it in full."""

Columns = Mapping[str, tuple[str, str]]


def render(board: Board, console: Console) -> None:
    """Print, for each finished cell, how far it moved the images and what that took.

    Args:
        board: What to print.
        console: Where to print it.
    """
    for number, group in enumerate(board.groups):
        if number:
            console.print()
        images = f", n = {group.sample.n} images" if group.sample else ""
        console.print(Text(f"{group.title}: visibility and cost{images}", style="bold"))
        for table in _fitting(group, console):
            console.print(table)
        for note in [*remarks(group), *_notes(group)]:
            console.print(bulleted(note))


def _fitting(group: Group, console: Console) -> list[Table]:
    """Return one table if it fits, else what is visible and what it costs below each other."""
    whole = _table(group, VISIBILITY | COST, console.width)
    wanted = Measurement.get(console, console.options.update(max_width=10_000), whole)
    if wanted.maximum <= console.width:
        return [whole]
    return [_table(group, columns, console.width) for columns in (VISIBILITY, COST)]


def _table(group: Group, columns: Columns, width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("defense", "attack"):
        table.add_column(name, max_width=max(12, width // 5), overflow="fold")
    table.add_column("eps", justify="right")
    for head, _ in columns.values():
        table.add_column(head, justify="right")
    for line in lines(group):
        numbers = [_number(line[name], text) for name, (_, text) in columns.items()]
        table.add_row(
            *(Text(str(line[name])) for name in ("defense", "attack")),
            f"{line['eps_255']:g}",
            *numbers,
        )
    return table


def _number(value: Any, text: str) -> str:
    return MISSING if value is None else text.format(value)


def _notes(group: Group) -> Iterable[str]:
    found: Sequence[Mapping[str, Any]] = [*lines(group)]
    yield (
        "PSNR in decibels, Linf in grey levels, 8 bits: SROCC after rounding the images; forwards, "
        "backwards, queries and seconds are per image."
    )
    attacked = [line for line in found if line["eps_255"]]
    if any(line["psnr_mean"] is None for line in attacked):
        yield "PSNR is missing where some image did not move at all: it would be infinite."
    if any(len(line["eps_255_together"] or ()) > 1 for line in attacked):
        yield (
            "Passes, time and memory are those of the sweep that computed the cell; it may have "
            "computed several radii together (eps_255_together in costs.csv)."
        )
    devices = sorted({str(line["device"]) for line in found if line["device"]})
    if len(devices) > 1:
        yield f"Computed on several devices, whose times cannot be compared: {', '.join(devices)}."
