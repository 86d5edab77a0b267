"""Write everything that is made from a board into the folder of its run."""

from __future__ import annotations

from pathlib import Path

from iqabench.files import write_bytes, write_text
from iqabench.leaderboard.curves import draw, to_png, to_svg
from iqabench.leaderboard.html import to_html
from iqabench.leaderboard.load import Board
from iqabench.leaderboard.statistics import gather, write_statistics
from iqabench.leaderboard.tables import to_csv, to_json


def write_outputs(run: Path, board: Board) -> list[Path]:
    """Write tables, figures and the page; each file is replaced whole.

    Args:
        run: Folder to write to; usually the one the board was loaded from.
        board: What to write.

    Returns:
        The files, tables first: ``leaderboard.csv``, ``leaderboard.json``,
        ``figures/curves-<data set>.png`` and ``.svg``, ``statistics.csv``, ``statistics.json``,
        ``report.html``.

    Raises:
        OutputError: The folder cannot be written.
        ResultsError: Per-image columns are missing or damaged.
    """
    written = [run / "leaderboard.csv", run / "leaderboard.json"]
    write_text(written[0], to_csv(board))
    write_text(written[1], to_json(board))
    for group in board.groups:
        figure = draw(group)
        if figure is not None:
            path = run / "figures" / f"curves-{group.slug}.png"
            write_bytes(path, to_png(figure))
            write_bytes(path.with_suffix(".svg"), to_svg(figure))
            written += [path, path.with_suffix(".svg")]
    written += write_statistics(run, gather(board))
    write_text(run / "report.html", to_html(board))
    return [*written, run / "report.html"]
