"""What ``run`` and ``report`` end with."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from iqabench.cli.console import ConsoleReporter, data_console
from iqabench.leaderboard import costs, costs_terminal, terminal
from iqabench.leaderboard.formats import Wanted
from iqabench.leaderboard.load import Board, load_board
from iqabench.leaderboard.tables import to_json


def show_board(run: Path, reporter: ConsoleReporter, *, as_json: bool) -> None:
    """Make every output of a run from its files, and show the leaderboard.

    The reporter is closed before anything is shown.

    Raises:
        ResultsError: The run has no cells, or damaged ones.
        OutputError: The folder cannot be written.
    """
    try:
        board = load_board(run, reporter)
        written = Wanted().write(run, board, reporter)
    finally:
        reporter.close()
    show(board, written, as_json=as_json)


def show(board: Board, written: Sequence[Path], *, as_json: bool, with_costs: bool = False) -> None:
    """Print the leaderboard and what was written, or the leaderboard as one JSON document.

    Args:
        board: The results.
        written: Paths that are named below it.
        as_json: Print the document, and no paths.
        with_costs: Show what attacks moved and took in place of SROCC.
    """
    if as_json:
        sys.stdout.write(costs.to_json(board) if with_costs else to_json(board))
        return
    render = costs_terminal.render if with_costs else terminal.render
    render(board, data_console())
    sys.stdout.write("\n" + "".join(f"wrote {path}\n" for path in written))
