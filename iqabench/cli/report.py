"""``iqabench report RUN [RUN ...]``: everything shown, made again from the files of runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from iqabench.cli.board import show, show_board
from iqabench.errors import OutputError
from iqabench.leaderboard.merged_runs import check_out, merge_runs, write_merged
from iqabench.leaderboard.write import write_outputs


def execute(arguments: argparse.Namespace) -> int:
    """Run the command; it needs no GPU and loads no network."""
    runs, out = arguments.run, arguments.out
    if out is None:
        if len(runs) > 1:
            raise OutputError(
                f"{len(runs)} runs are merged into a folder; say which with --out DIR"
            )
        show_board(runs[0], as_json=arguments.json)
        return 0
    check_out(out, runs)
    merged = merge_runs(runs)
    board = merged.board
    written: list[Path] = []

    def finish(folder: Path) -> None:
        written.extend(path.relative_to(folder) for path in write_outputs(folder, board))

    write_merged(out, merged, finish)
    show(board, [out / path for path in written], as_json=arguments.json)
    return 0
