"""Write everything that is made from a board into the folder of its run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from iqabench.files import write_bytes, write_text
from iqabench.leaderboard.curves import draw, to_png, to_svg
from iqabench.leaderboard.html import to_html
from iqabench.leaderboard.load import Board, Group
from iqabench.leaderboard.statistics import gather, write_statistics
from iqabench.leaderboard.tables import to_csv, to_json
from iqabench.progress import Reporter, Silent, counted


def write_outputs(run: Path, board: Board, reporter: Reporter | None = None) -> list[Path]:
    """Write tables, figures and the page; each file is replaced whole.

    Args:
        run: Folder to write to; usually the one the board was loaded from.
        board: What to write.
        reporter: For progress.

    Returns:
        The files, tables first: ``leaderboard.csv``, ``leaderboard.json``,
        ``figures/curves-<data set>.png`` and ``.svg``, ``statistics.csv``, ``statistics.json``,
        ``report.html``.

    Raises:
        OutputError: The folder cannot be written.
        ResultsError: Per-image columns are missing or damaged.
    """
    steps: list[Callable[[], list[Path]]] = [
        partial(_tables, run, board),
        *(partial(_curves, run, group) for group in board.groups),
        lambda: write_statistics(run, gather(board)),
        partial(_page, run, board),
    ]
    progress = (reporter or Silent()).counter("writing tables, curves and the page")
    return [path for step in counted(steps, progress) for path in step()]


def _tables(run: Path, board: Board) -> list[Path]:
    paths = [run / "leaderboard.csv", run / "leaderboard.json"]
    write_text(paths[0], to_csv(board))
    write_text(paths[1], to_json(board))
    return paths


def _curves(run: Path, group: Group) -> list[Path]:
    figure = draw(group)
    if figure is None:
        return []
    path = run / "figures" / f"curves-{group.slug}.png"
    write_bytes(path, to_png(figure))
    write_bytes(path.with_suffix(".svg"), to_svg(figure))
    return [path, path.with_suffix(".svg")]


def _page(run: Path, board: Board) -> list[Path]:
    write_text(run / "report.html", to_html(board))
    return [run / "report.html"]
