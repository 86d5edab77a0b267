"""Reading the standings and the table of a synthetic run."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from iqabench.leaderboard.load import load_board
from iqabench.leaderboard.rank import Standing, standings
from iqabench.leaderboard.tables import to_csv


def only(run: Path, eps: float = 4.0) -> Standing:
    """Return the standing of a run with one group."""
    (group,) = load_board(run).groups
    (standing,) = [s for s in standings(group) if s.eps_255 == eps]
    return standing


def lines(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(load_board(run)))))
