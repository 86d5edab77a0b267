"""``iqabench report RUN_DIR``: everything shown, made again from the files."""

from __future__ import annotations

import argparse
import sys

from iqabench.cli.console import data_console, print_json


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; needs no torch and no GPU."""
    from iqabench.leaderboard.load import load_board
    from iqabench.leaderboard.tables import leaderboard_json
    from iqabench.leaderboard.terminal import render
    from iqabench.leaderboard.write import write_outputs

    board = load_board(arguments.run)
    paths = write_outputs(arguments.run, board)
    if arguments.json:
        print_json(leaderboard_json(board))
        return 0
    render(board, data_console())
    sys.stdout.write("\n" + "".join(f"wrote {path}\n" for path in paths))
    return 0
