"""The leaderboard in the formats that people ask for by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from iqabench.errors import ConfigError, did_you_mean
from iqabench.files import write_set
from iqabench.leaderboard import costs
from iqabench.leaderboard.columns import check_radii
from iqabench.leaderboard.costs import write_costs
from iqabench.leaderboard.html import to_html
from iqabench.leaderboard.latex import to_latex
from iqabench.leaderboard.load import Board
from iqabench.leaderboard.markdown import to_markdown
from iqabench.leaderboard.tables import to_csv, to_json
from iqabench.leaderboard.write import write_outputs
from iqabench.progress import Reporter

FORMATS = ("html", "md", "tex", "csv", "json")
COSTS = {"csv": costs.to_csv, "json": costs.to_json}
"""What is written beside the leaderboard in the same format."""


@dataclass(frozen=True)
class Wanted:
    """Which files of a board to write.

    Attributes:
        formats: Some of ``FORMATS``; none for everything that a run ends with.
        eps_255: Radii in grey levels that ``md`` and ``tex`` show; None for all.
        intervals: Whether ``tex`` prints intervals.
    """

    formats: tuple[str, ...] = ()
    eps_255: tuple[float, ...] | None = None
    intervals: bool = False

    def check(self, board: Board) -> None:
        """Raise unless the board can be shown like this; asked before anything is written.

        Raises:
            ResultsError: Nothing was attacked at one of the radii.
        """
        check_radii(board, self.eps_255)

    def text(self, board: Board, format: str) -> str:
        """Return the leaderboard in one format.

        Raises:
            ResultsError: Per-image columns are missing or damaged.
        """
        makers: dict[str, Callable[[], str]] = {
            "html": lambda: to_html(board),
            "md": lambda: to_markdown(board, self.eps_255),
            "tex": lambda: to_latex(board, self.eps_255, intervals=self.intervals),
            "csv": lambda: to_csv(board),
            "json": lambda: to_json(board),
        }
        return makers[format]()

    def write(self, folder: Path, board: Board, reporter: Reporter | None = None) -> list[Path]:
        """Write the files into a folder, and return them; several formats together or none.

        Args:
            folder: Where to.
            board: What is shown.
            reporter: For progress.

        Raises:
            OutputError: The folder cannot be written.
            ResultsError: Per-image columns are missing or damaged.
        """
        if not self.formats:
            return [*write_outputs(folder, board, reporter), *write_costs(folder, board)]
        texts = {}
        for name in self.formats:
            place = "report.html" if name == "html" else f"leaderboard.{name}"
            texts[folder / place] = self.text(board, name)
            if name in COSTS:
                texts[folder / f"costs.{name}"] = COSTS[name](board)
        write_set({path: text.encode() for path, text in texts.items()})
        return [*texts]


def formats_of(given: Sequence[str]) -> tuple[str, ...]:
    """Return formats that were given one by one or with commas, each once.

    Raises:
        ConfigError: There is no such format.
    """
    names = [name.strip() for text in given for name in text.split(",")]
    for name in names:
        if name not in FORMATS:
            raise ConfigError(
                f"unknown format {name!r}.{did_you_mean(name, FORMATS)} There are: "
                f"{', '.join(FORMATS)}."
            )
    return tuple(dict.fromkeys(names))
