"""``iqabench report RUN [RUN ...]``: everything shown, made again from the files of runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from iqabench.cli.board import show
from iqabench.cli.console import ConsoleReporter
from iqabench.config import check_eps
from iqabench.errors import ConfigError, OutputError
from iqabench.leaderboard.formats import FORMATS, Wanted, formats_of
from iqabench.leaderboard.load import Board, load_board
from iqabench.leaderboard.merged_runs import check_out, merge_runs, write_merged

PRINTED = Path("-")
"""What ``--out`` is for standard output."""


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; it needs no GPU and loads no network."""
    runs, out, wanted = arguments.run, arguments.out, _wanted(arguments)
    reporter = ConsoleReporter()
    if out == PRINTED:
        _print(_board(runs), wanted)
        return 0
    try:
        if out is None:
            board = load_board(runs[0], reporter)
            wanted.check(board)
            written = wanted.write(runs[0], board, reporter)
        else:
            check_out(out, runs)
            board, written = _merge(runs, out, wanted, reporter)
    finally:
        reporter.close()
    show(board, written, as_json=arguments.json, with_costs=arguments.costs)
    return 0


def _wanted(arguments: argparse.Namespace) -> Wanted:
    """Return which files to write, after a look at flags that do not go together."""
    formats = formats_of(arguments.format or [])
    runs, out = arguments.run, arguments.out
    if out is None and len(runs) > 1:
        raise OutputError(f"{len(runs)} runs are merged into a folder; say which with --out DIR")
    if out == PRINTED and (len(formats) != 1 or arguments.json or arguments.costs):
        raise ConfigError(
            "--out - prints one format: give one --format, and neither --json nor --costs"
        )
    if out is not None and out.suffix[1:] in FORMATS:
        raise ConfigError(
            f"--out {out} would be a folder; for a file, print: --format {out.suffix[1:]} --out -"
        )
    if arguments.eps is not None and not {"md", "tex"} & set(formats):
        raise ConfigError("--eps chooses what md and tex show; give --format md or --format tex")
    if arguments.intervals and "tex" not in formats:
        raise ConfigError("--intervals is for LaTeX tables; give --format tex")
    eps = None if arguments.eps is None else check_eps(arguments.eps.split(","))
    return Wanted(formats, eps, arguments.intervals)


def _board(runs: list[Path]) -> Board:
    return load_board(runs[0]) if len(runs) == 1 else merge_runs(runs).board


def _print(board: Board, wanted: Wanted) -> None:
    wanted.check(board)
    (format,) = wanted.formats
    sys.stdout.write(wanted.text(board, format))


def _merge(
    runs: list[Path], out: Path, wanted: Wanted, reporter: ConsoleReporter
) -> tuple[Board, list[Path]]:
    merged = merge_runs(runs)
    board = merged.board
    wanted.check(board)
    written: list[Path] = []

    def finish(folder: Path) -> None:
        written.extend(path.relative_to(folder) for path in wanted.write(folder, board, reporter))

    write_merged(out, merged, finish)
    return board, [out / path for path in written]
