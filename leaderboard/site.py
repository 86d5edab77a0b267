"""A leaderboard site: an index over many runs and a page for each, as files for any static host."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from iqabench.errors import IqabenchError, OutputError, ResultsError, one_line
from iqabench.files import unique_file_name, write_text
from iqabench.leaderboard.costs import write_costs
from iqabench.leaderboard.load import MERGED, Board, load_board
from iqabench.leaderboard.manifest import check_replaceable, read_manifest, replace_folder
from iqabench.leaderboard.merge import image_paths
from iqabench.leaderboard.pages import environment
from iqabench.leaderboard.site_index import Summary, summaries
from iqabench.leaderboard.write import write_outputs
from iqabench.progress import Reporter

MANIFEST = "site.json"
"""What the folder of a site says of itself."""
TEMPLATE = "site.html.j2"
DEPTH = 3
"""How many folders below the given one a run may lie."""
DATA = ("leaderboard.csv", "leaderboard.json", "costs.csv", "costs.json", "statistics.csv")
"""Files of a run that the index links to, beside its page."""


@dataclass(frozen=True)
class Link:
    """A file of the site.

    Attributes:
        text: What people read.
        href: Where it lies from the index, quoted.
        note: What stands behind it.
    """

    text: str
    href: str
    note: str = ""


@dataclass(frozen=True)
class Listed:
    """One run on the index.

    Attributes:
        name: Its place below the given folder.
        anchor: Name of its section, and of its folder in the site.
        error: Why there is no page of it; empty if there is one.
        dates: First and last day on which it was asked for; none where that was not recorded.
        merged: Names of the runs it was merged from; none if it was not.
        summaries: What stands on its leaderboard, by data set.
        links: Its page first, then its data.
        audits: Its audits.
    """

    name: str
    anchor: str
    error: str = ""
    dates: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()
    summaries: tuple[Summary, ...] = ()
    links: tuple[Link, ...] = ()
    audits: tuple[Link, ...] = ()


def find_runs(folder: Path) -> list[Path]:
    """Return the runs in a folder: itself, or folders up to ``DEPTH`` below it that hold ``cells``.

    Nothing is looked for inside of a run, nor in hidden folders.

    Raises:
        ResultsError: No such folder, or no run in it.
    """
    if not folder.is_dir():
        raise ResultsError(f"no runs at '{folder}': there is no such folder")
    found: list[Path] = []
    level = [folder]
    try:
        for _ in range(DEPTH + 1):
            found += [path for path in level if (path / "cells").is_dir()]
            others = [path for path in level if path not in found]
            level = [child for path in others for child in path.iterdir() if _may_hold_runs(child)]
    except OSError as e:
        raise ResultsError(f"{e.filename}: cannot be read ({e.strerror})") from e
    if not found:
        raise ResultsError(
            f"no runs at '{folder}': no folder up to {DEPTH} below it holds cells; give the folder "
            "that the run directories of 'iqabench run' lie in"
        )
    return sorted(found)


def _may_hold_runs(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def make_site(folder: Path, out: Path, reporter: Reporter) -> list[Listed]:
    """Write a site over all runs of a folder, whole or not at all.

    A run that is damaged is listed with its error and does not stop the others.

    Args:
        folder: Where runs are: ``find_runs``.
        out: Folder of the site: new, empty, or a site that was made earlier.
        reporter: Told about each run, and for progress.

    Returns:
        The runs, as the index lists them.

    Raises:
        ResultsError: There is no run.
        OutputError: The folder of the site may not be replaced, or cannot be written.
    """
    runs = {_name(run, folder): run for run in find_runs(folder)}
    check_replaceable(out, MANIFEST)
    listed: list[Listed] = []

    def fill(site: Path) -> None:
        for name, run in runs.items():
            listed.append(_add(site, name, run, reporter))
            error = listed[-1].error
            reporter.say(f"run {name}: {f'damaged: {error}' if error else 'done'}")
        write_text(site / "index.html", to_html(listed))

    replace_folder(out, fill, manifest=MANIFEST, facts={"runs": list(runs)})
    return listed


def to_html(listed: Sequence[Listed]) -> str:
    """Return the index; names of runs, rows and data sets are escaped."""
    return environment().get_template(TEMPLATE).render(runs=listed)


def _name(run: Path, folder: Path) -> str:
    name = run.relative_to(folder).as_posix()
    return run.resolve().name if name == "." else name


def _add(site: Path, name: str, run: Path, reporter: Reporter) -> Listed:
    anchor = unique_file_name(name)
    target = site / "runs" / anchor
    try:
        board = load_board(run, reporter)
        write_outputs(target, board, reporter)
        write_costs(target, board)
        _copy_images(run, target, board)
        audits = tuple(_audits(run, target, anchor))
        found = tuple(summaries(board))
    except OutputError:
        raise
    except Exception as e:  # a run of somebody else, damaged in whatever way
        shutil.rmtree(target, ignore_errors=True)
        message = str(e) if isinstance(e, IqabenchError) else one_line(e)
        return Listed(name, anchor, error=" ".join(message.replace(f"{run}/", "").split()))
    return Listed(
        name,
        anchor,
        dates=_dates(run),
        merged=_merged(run),
        summaries=found,
        links=tuple(_links(anchor, ["report.html", *DATA])),
        audits=audits,
    )


def _copy_images(run: Path, target: Path, board: Board) -> None:
    """Bring the saved images along, which a page may show."""
    for entry in board.entries:
        for cell in entry.cells:
            for image in image_paths(cell):
                _copy(run / image, target / image)


def _audits(run: Path, target: Path, anchor: str) -> Iterator[Link]:
    for page in sorted((run / "audits").glob("[!.]*.html")):
        _copy(page, target / "audits" / page.name)
        record = page.with_suffix(".json")
        note = ""
        if record.is_file():
            _copy(record, target / "audits" / record.name)
            note = _verdicts(record)
        yield Link(page.stem, quote(f"runs/{anchor}/audits/{page.name}"), note)


def _verdicts(record: Path) -> str:
    try:
        findings: list[dict[str, Any]] = json.loads(record.read_bytes())["findings"]
        return ", ".join(f"{f['verdict']} at eps {f['eps_255']:g}" for f in findings)
    except (OSError, ValueError, KeyError, TypeError):
        return "its record is damaged"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _links(anchor: str, names: Iterable[str]) -> Iterator[Link]:
    for name in names:
        yield Link(name, quote(f"runs/{anchor}/{name}"))


def _dates(run: Path) -> tuple[str, ...]:
    """Return the first and the last day that ``run.json`` records; a run may record none."""
    try:
        asked = json.loads((run / "run.json").read_bytes())["runs"]
        days = sorted({str(one["date"]) for one in asked if "date" in one})
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    return tuple(dict.fromkeys([*days[:1], *days[-1:]]))


def _merged(run: Path) -> tuple[str, ...]:
    document = read_manifest(run / MERGED)
    return tuple(map(str, document.get("runs", ()))) if document else ()
