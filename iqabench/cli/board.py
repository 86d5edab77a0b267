"""What ``run`` and ``report`` end with."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from iqabench.cli.console import data_console
from iqabench.leaderboard.load import Board, load_board
from iqabench.leaderboard.tables import to_json
from iqabench.leaderboard.terminal import render
from iqabench.leaderboard.write import write_outputs


def show_board(run: Path, *, as_json: bool) -> None:
    """Make every output of a run from its files, and show the leaderboard.

    Raises:
        ResultsError: The run has no cells, or damaged ones.
        OutputError: The folder cannot be written.
    """
    board = load_board(run)
    show(board, write_outputs(run, board), as_json=as_json)


def show(board: Board, written: Sequence[Path], *, as_json: bool) -> None:
    """Print the leaderboard and what was written, or the leaderboard as one JSON document."""
    if as_json:
        sys.stdout.write(to_json(board))
        return
    render(board, data_console())
    sys.stdout.write("\n" + "".join(f"wrote {path}\n" for path in written))
