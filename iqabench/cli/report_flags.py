"""The flags of the commands that show what runs found."""

from __future__ import annotations

import argparse
from pathlib import Path

from iqabench.cli.flags import Parser, add_batch_size, add_conditions, add_json, command


def add_report(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add ``iqabench report``."""
    parser = command(
        commands,
        "report",
        "make tables, curves and page again from the files of a run, or of several as one",
        "iqabench report runs/default",
    )
    parser.add_argument("run", type=Path, nargs="+", metavar="RUN_DIR")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write a run directory that holds all of the runs (default: one run's own);"
        " - prints the one --format",
    )
    parser.add_argument(
        "--format",
        action="append",
        metavar="LIST",
        help="write html, md, tex, csv or json alone; may be repeated (default: all but md, tex)",
    )
    parser.add_argument(
        "--eps", metavar="LIST", help="radii that md and tex show, in grey levels (default: all)"
    )
    parser.add_argument(
        "--intervals", action="store_true", help="print intervals in the LaTeX tables"
    )
    parser.add_argument(
        "--costs",
        action="store_true",
        help="show how far images moved and what attacks took, in place of SROCC",
    )
    parser.add_argument(
        "--json", action="store_true", help="the leaderboard as JSON on standard output"
    )


def add_site(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add ``iqabench site``."""
    parser = command(
        commands,
        "site",
        "write a leaderboard site: an index over many runs and a page for each",
        "iqabench site runs --out site",
    )
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="where runs are, up to 3 folders below it"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the site; new, empty, or a site that was made before",
    )
    add_json(parser)


def add_verify(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add ``iqabench verify``."""
    parser = command(
        commands,
        "verify",
        "check the files of a run: keys, hashes, numbers, budgets, completeness",
        "iqabench verify runs/default",
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR")
    add_json(parser)


def add_rescore(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add ``iqabench rescore``."""
    parser = command(
        commands,
        "rescore",
        "score the attacked images that a run kept by other defenses, without attacking again",
        "iqabench rescore runs/default --defense cprl",
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN_DIR", help="a run with --save-images; its settings count"
    )
    add_conditions(parser)
    add_batch_size(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where the tables go (default: RUN_DIR)"
    )
    add_json(parser)
