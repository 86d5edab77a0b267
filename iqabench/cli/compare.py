"""``iqabench compare RUN_DIR --with PAPER``: published numbers beside measured ones."""

from __future__ import annotations

import argparse
import sys

from iqabench.cli.console import data_console
from iqabench.leaderboard.compare import compare
from iqabench.leaderboard.compare_tables import to_json, write_csv
from iqabench.leaderboard.compare_terminal import render
from iqabench.leaderboard.load import load_board
from iqabench.published.reading import load_paper


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; it needs no GPU and loads no network. Any verdict is exit code 0."""
    paper = load_paper(arguments.paper)
    comparison = compare(load_board(arguments.run), paper)
    written = write_csv(arguments.run, comparison)
    if arguments.json:
        sys.stdout.write(to_json(comparison))
        return 0
    render(comparison, data_console(), with_unmeasured=arguments.all)
    sys.stdout.write(f"\nwrote {written}\n")
    return 0
