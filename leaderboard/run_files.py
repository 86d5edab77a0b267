"""What a page shows beside cells: commands, training cards, audits and figures of the runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iqabench.files import file_name
from iqabench.leaderboard.load import Board, Entry

CARD_SCHEMA = AUDIT_SCHEMA = 1
FIGURES = ("activations", "landscape")
"""Figures of a defense, made with ``--out RUN/figures/DEFENSE``."""


@dataclass(frozen=True)
class RunFiles:
    """Files of the runs that a board was read from, by what they are of.

    Attributes:
        commands: Every command that filled the runs, as one would type it.
        cards: Training cards by recipe key.
        audits: Records of audits, by file name.
        figures: PNG files by the name of their folder: the run, and the path in it.
        remarks: What could not be read, for people.
    """

    commands: tuple[str, ...]
    cards: Mapping[str, dict[str, Any]]
    audits: tuple[dict[str, Any], ...]
    figures: Mapping[str, tuple[tuple[Path, str], ...]]
    remarks: tuple[str, ...]

    def figures_of(self, entry: Entry) -> tuple[tuple[Path, str], ...]:
        """Return the figures of a row's defense."""
        return self.figures.get(file_name(str(entry.about["defense"])), ())


def read_run_files(board: Board) -> RunFiles:
    """Read what lies beside the cells; what is missing or damaged never stops the page."""
    remarks: list[str] = []
    commands: dict[str, None] = {}
    cards: dict[str, dict[str, Any]] = {}
    audits: list[dict[str, Any]] = []
    figures: dict[str, tuple[tuple[Path, str], ...]] = {}
    for run in runs_of(board):
        commands |= dict.fromkeys(_commands(run, remarks))
        for path in sorted(run.glob("cards/*.json")):
            card = _document(path, run, CARD_SCHEMA, ("recipe_key", "weights_sha256"), remarks)
            if card is not None:
                cards.setdefault(str(card["recipe_key"]), card)
        for path in sorted(run.glob("audits/*.json")):
            audit = _document(path, run, AUDIT_SCHEMA, ("defense", "dataset", "findings"), remarks)
            if audit is not None and _are_findings(audit["findings"], path, run, remarks):
                audits.append(audit)
        for folder in sorted(path for path in run.glob("figures/*") if path.is_dir()):
            found = tuple(f"figures/{folder.name}/{name}.png" for name in FIGURES)
            there = tuple((run, name) for name in found if (run / name).is_file())
            figures[folder.name] = figures.get(folder.name, ()) + there
    return RunFiles(tuple(commands), cards, tuple(audits), figures, tuple(remarks))


def runs_of(board: Board) -> list[Path]:
    """Return the run directories that hold the cells of a board."""
    return sorted({run_of(cell.path) for entry in board.entries for cell in entry.cells})


def run_of(cell: Path) -> Path:
    """Return the run directory of a cell file: ``RUN/cells/DATASET/DEFENSE/FILE``."""
    return cell.parents[3]


def _commands(run: Path, remarks: list[str]) -> list[str]:
    path = run / "run.json"
    if not path.is_file():
        return []
    try:
        runs = json.loads(path.read_bytes())["runs"]
        return [shlex.join(["iqabench", *map(str, one["command"])]) for one in runs]
    except (OSError, ValueError, KeyError, TypeError):
        remarks.append("run.json could not be read, so the commands are not shown.")
        return []


def _document(
    path: Path, run: Path, schema: int, needed: tuple[str, ...], remarks: list[str]
) -> dict[str, Any] | None:
    """Return a JSON document of a known schema; None, and a remark, if it is anything else."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        document = None
    if (
        isinstance(document, dict)
        and document.get("schema") == schema
        and all(name in document for name in needed)
    ):
        return document
    remarks.append(_unread(path, run))
    return None


def _are_findings(found: object, path: Path, run: Path, remarks: list[str]) -> bool:
    whole = isinstance(found, list) and all(
        isinstance(one, dict) and isinstance(one.get("eps_255"), int | float) for one in found
    )
    if not whole:
        remarks.append(_unread(path, run))
    return whole


def _unread(path: Path, run: Path) -> str:
    return f"{path.relative_to(run)} could not be read and is not shown."
