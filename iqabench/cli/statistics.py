"""``iqabench statistics RUN_DIR``: differences, areas, seeds, rank damage and MSU's scores."""

from __future__ import annotations

import argparse
import sys

from iqabench.cli.console import data_console
from iqabench.leaderboard.load import load_board
from iqabench.leaderboard.statistics import gather, to_json, write_statistics
from iqabench.leaderboard.statistics_terminal import render


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; it needs no GPU and loads no network."""
    found = gather(load_board(arguments.run), arguments.against)
    written = write_statistics(arguments.run, found)
    if arguments.json:
        sys.stdout.write(to_json(found))
        return 0
    render(found, data_console())
    sys.stdout.write("\n" + "".join(f"wrote {path}\n" for path in written))
    return 0
