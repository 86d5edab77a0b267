"""A folder of merged runs: a run directory with the cells, audits, cards and splits of several."""

from __future__ import annotations

import filecmp
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iqabench.errors import OutputError, ResultsError
from iqabench.files import canonical_json, file_name, hash_of, write_json
from iqabench.leaderboard.load import (
    MERGED,
    Board,
    Cell,
    load_cells,
    make_board,
    rounded_keys,
)
from iqabench.leaderboard.manifest import check_replaceable, read_manifest, replace_folder
from iqabench.leaderboard.merge import image_paths, merge_cells

COPIED = ("audits", "cards")
"""Folders of a run that come along beside its cells, their images and its splits."""
_INCIDENTAL = ("environment", "seconds")
"""What a card says of where and how fast a network was trained."""
DERIVED = ("leaderboard.*", "statistics*.*", "costs.*", "compare-*.csv", "report.html", "figures/*")
"""What commands make again from cells at any time."""


@dataclass(frozen=True, eq=False)
class Merged:
    """Several runs as one, still lying where they are.

    Attributes:
        names: Folder names of the runs; those of a folder of merged runs in place of its own.
        cells: One per key, in the order of their places.
        files: Where each file of the new folder comes from, by its place there.
        documents: Files that are made: splits and ``run.json``.
        rounded: Keys of cells that differ by rounding between runs.
    """

    names: tuple[str, ...]
    cells: tuple[Cell, ...]
    files: Mapping[str, Path]
    documents: Mapping[str, Any]
    rounded: frozenset[str]

    @property
    def board(self) -> Board:
        """The cells in groups of comparable rows."""
        return make_board(self.cells, self.rounded)


def merge_runs(runs: Sequence[Path]) -> Merged:
    """Read several runs as one; the result does not depend on their order.

    Raises:
        ResultsError: A run is missing, given twice or damaged, or two of them contradict each other
            in a cell, an image, an audit or a card.
    """
    runs = sorted(runs, key=str)
    for i, run in enumerate(runs):
        if any(run.resolve() == other.resolve() for other in runs[:i]):
            raise ResultsError(f"run '{run}' is given twice; give every run once")
    claims = [cell for run in runs for cell in load_cells(run)]
    chosen, rounded = merge_cells(claims)
    cells = sorted(chosen, key=lambda cell: cell.path.relative_to(_run_of(cell)))
    files: dict[str, Path] = {}
    for cell in cells:
        _add(files, _run_of(cell), cell.path)
        if cell.record.columns is not None:
            _add(files, _run_of(cell), cell.path.parent / cell.record.columns["file"])
    for cell in claims:
        for image in image_paths(cell):
            _add(files, _run_of(cell), _run_of(cell) / image)
    for run in runs:
        for folder in COPIED:
            for path in sorted((run / folder).rglob("[!.]*")):
                if path.is_file():
                    _add(files, run, path, same=_one_training)
    documents = _splits(runs) | {"run.json": {"runs": _requests(runs), "schema": 1}}
    before = (rounded_keys(run) for run in runs)
    return Merged(_names(runs), tuple(cells), files, documents, rounded.union(*before))


def check_out(out: Path, runs: Iterable[Path]) -> None:
    """Raise unless merged runs may be written to a folder; asked before they are read.

    Raises:
        OutputError: It is one of the runs, or holds what would be lost.
    """
    for run in runs:
        if run.resolve() == out.resolve():
            raise OutputError(f"{out} is one of the runs; give another folder with --out")
    check_replaceable(out, MERGED, DERIVED)


def write_merged(out: Path, merged: Merged, finish: Callable[[Path], None]) -> None:
    """Write a run directory that holds several runs, whole or not at all.

    Args:
        out: The folder: new, empty, or written by this function before.
        merged: What to write.
        finish: Writes tables and pages into the folder that it is given.

    Raises:
        OutputError: The folder may not be replaced, or cannot be written.
    """

    def fill(folder: Path) -> None:
        for name, source in merged.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
        for name, document in merged.documents.items():
            write_json(folder / name, document)
        finish(folder)

    facts = {"runs": list(merged.names), "rounded": sorted(merged.rounded)}
    replace_folder(out, fill, manifest=MERGED, facts=facts, derived=DERIVED)


def _run_of(cell: Cell) -> Path:
    """Return the run that a cell lies in, at ``cells/DATASET/DEFENSE/FILE``."""
    return cell.path.parents[3]


def _add(
    files: dict[str, Path],
    run: Path,
    path: Path,
    *,
    same: Callable[[Path, Path], bool] = lambda one, other: False,
) -> None:
    """Note where a file comes from; the same file of another run has to hold the same.

    Args:
        files: Where files come from, by their place in the new folder.
        run: The run that has it.
        path: The file.
        same: Says of two files with different bytes whether either may stand for both.
    """
    if not path.is_file():
        raise ResultsError(f"{path}: a cell names it, and it is missing")
    name = path.relative_to(run).as_posix()
    there = files.setdefault(name, path)
    if there == path or filecmp.cmp(there, path, shallow=False):
        return
    if not same(there, path):
        raise ResultsError(
            f"{there} and {path} differ and cannot both be {name}; leave one run out, or make "
            "that file again in one of them"
        )
    files[name] = min(there, path, key=Path.read_bytes)  # whatever the runs are called


def _one_training(one: Path, other: Path) -> bool:
    """Say whether two files are cards of one training that two machines came to the same way."""
    try:
        cards = [json.loads(path.read_bytes()) for path in (one, other)]
        facts = [{k: v for k, v in card.items() if k not in _INCIDENTAL} for card in cards]
        return "weights_sha256" in facts[0] and facts[0] == facts[1]
    except (OSError, ValueError, AttributeError):
        return False


def _names(runs: Iterable[Path]) -> tuple[str, ...]:
    found: list[str] = []
    for run in runs:
        document = read_manifest(run / MERGED)
        found += map(str, document.get("runs", [])) if document else [run.resolve().name]
    return tuple(sorted(found))


def _requests(runs: Iterable[Path]) -> list[Any]:
    """Return what was asked in all runs, by date; what cannot be read is left out."""
    found: dict[str, Any] = {}
    for run in runs:
        try:
            asked = [*json.loads((run / "run.json").read_bytes())["runs"]]
            found |= {canonical_json(one): one for one in asked if isinstance(one, dict)}
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return [found[t] for t in sorted(found, key=lambda t: (str(found[t].get("date", "")), t))]


def _splits(runs: Iterable[Path]) -> dict[str, Any]:
    """Return every split once; where several have one name, with their hashes, as ``run`` does."""
    named: dict[str, dict[str, Any]] = defaultdict(dict)
    for run in runs:
        for path in sorted((run / "splits").glob("[!.]*.json")):
            try:
                document = json.loads(path.read_bytes())
                sides = {side: document[side] for side in ("train", "test")}
                texts = named[file_name(document["dataset"])]
                text = canonical_json(document)
                known = texts.setdefault(hash_of(sides), document)
            except (OSError, ValueError, KeyError, TypeError) as e:
                raise ResultsError(f"{path}: no split file of iqabench ({e})") from e
            if text < canonical_json(known):
                texts[hash_of(sides)] = document
    return {
        place: document for name, texts in named.items() for place, document in _placed(name, texts)
    }


def _placed(name: str, splits: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for digest, document in splits.items():
        suffix = f"-{digest[:8]}" if len(splits) > 1 else ""
        yield f"splits/{name}{suffix}.json", document
