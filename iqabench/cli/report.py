"""``iqabench report RUN_DIR``: everything shown, made again from the files."""

from __future__ import annotations

import argparse

from iqabench.cli.board import show_board


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; it needs no GPU and loads no network."""
    show_board(arguments.run, as_json=arguments.json)
    return 0
