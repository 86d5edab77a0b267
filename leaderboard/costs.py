"""``costs.csv`` and ``costs.json``: how far attacks moved the images, and what that took.

They stand beside the leaderboard and not in it: times, memory and even passes depend on the machine
and on where a run was interrupted, and the leaderboard has the same bytes wherever the numbers are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iqabench.files import json_text, write_text
from iqabench.leaderboard.load import Board, Cell, Entry, Group
from iqabench.leaderboard.rank import srocc_of
from iqabench.leaderboard.tables import DISTANCES, field_text

SCHEMA = 1
"""Raise it whenever a field of ``costs.json`` changes its meaning."""
COSTS = ("forwards", "backwards", "queries", "seconds", "peak_memory_mb")
HEADER = (
    *("dataset", "defense", "backbone", "recipe", "seed", "attack", "eps_255", "n"),
    *("srocc", "srocc_8bit", *DISTANCES),
    *("forwards", "backwards", "queries", "seconds", "seconds_per_image", "eps_255_together"),
    *("peak_memory_mb", "device", "key"),
)

Line = dict[str, Any]


def lines(group: Group) -> Iterator[Line]:
    """Yield what each finished cell moved and took; None where a cell file does not say."""
    for entry in group.entries:
        for cell in entry.cells:
            if cell.is_done:
                yield _line(group, entry, cell)


def to_csv(board: Board) -> str:
    """Return one line per finished cell; what is unknown is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for group in board.groups:
        for line in lines(group):
            writer.writerow([_text(line[name]) for name in HEADER])
    return out.getvalue()


def to_json(board: Board) -> str:
    """Return the same lines as a document."""
    datasets = [
        {"slug": group.slug, "title": group.title, "lines": [*lines(group)]}
        for group in board.groups
    ]
    return json_text({"schema": SCHEMA, "datasets": datasets})


def write_costs(folder: Path, board: Board) -> list[Path]:
    """Write both files, and return them.

    Raises:
        OutputError: The folder cannot be written.
    """
    paths = [folder / "costs.csv", folder / "costs.json"]
    write_text(paths[0], to_csv(board))
    write_text(paths[1], to_json(board))
    return paths


def _line(group: Group, entry: Entry, cell: Cell) -> Line:
    record = cell.record
    metrics, distance = record.metrics or {}, record.distance or {}
    cost, environment = record.cost or {}, record.environment or {}
    seconds, n = cost.get("seconds"), metrics.get("n")
    return {
        "dataset": group.slug,
        "defense": entry.label,
        **{name: entry.about[name] for name in ("backbone", "recipe")},
        "seed": entry.seed,
        "attack": group.attacks.get(cell.attack, cell.attack),
        "eps_255": cell.eps_255,
        "n": n,
        "srocc": cell.srocc,
        "srocc_8bit": srocc_of(record.metrics_8bit),
        **{name: distance.get(name) for name in DISTANCES},
        **{name: cost.get(name) for name in COSTS},
        "seconds_per_image": seconds / n if seconds is not None and n else None,
        "eps_255_together": cost.get("eps_255_together"),
        "device": environment.get("device"),
        "key": record.key,
    }


def _text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(f"{eps:g}" for eps in value)
    return field_text(value)
