"""Read the cells of a run into groups of comparable rows. Knows result files only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from iqabench.errors import ResultsError
from iqabench.files import canonical_json, file_name
from iqabench.leaderboard.manifest import read_manifest
from iqabench.progress import Reporter, Silent, counted
from iqabench.results import CLEAN, CellRecord, Columns, find_cells, read_cell, read_columns

MERGED = "merged.json"
"""What a folder of merged runs says of itself: ``docs/results-format.md``."""
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell file.

    Attributes:
        path: Where it lies; never shown, so that outputs do not depend on it.
        record: What it holds.
    """

    path: Path
    record: CellRecord

    @property
    def attack(self) -> str:
        """Canonical spec of the attack, or ``clean``."""
        return str(self.record.cell["attack"]["spec"])

    @property
    def eps_255(self) -> float:
        """L-infinity radius in grey levels, 0 for clean."""
        return float(self.record.cell["eps_255"])

    @property
    def is_done(self) -> bool:
        """Whether it holds numbers; a failed cell holds an error."""
        return self.record.status == "done" and bool(self.record.metrics)

    @property
    def srocc(self) -> float | None:
        """SROCC of the attacked scores; None if undefined or failed."""
        if not self.is_done or self.record.metrics is None:
            return None
        value: float | None = self.record.metrics["srocc"]["value"]
        return value

    def columns(self) -> Columns:
        """Read the per-image columns, every time: a board does not hold them.

        Raises:
            ResultsError: Missing, or not what the cell file was written with.
        """
        return read_columns(self.path, self.record)


@dataclass(frozen=True, eq=False)
class Entry:
    """One defense with its weights on one data set, split and seed: a row of the tables.

    Attributes:
        label: Short name, told apart from every other entry of its group.
        clean: The clean pass; None if it was not run.
        attacked: Cells by (canonical attack spec, eps_255), done or failed.
        replaced: How many further cells claimed a place in ``attacked`` or ``clean`` (other
            attack version, source or number of draws) and are not shown.
    """

    label: str
    clean: Cell | None
    attacked: Mapping[tuple[str, float], Cell]
    replaced: int = 0

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The clean cell first, then the attacked ones by attack and eps."""
        attacked = [self.attacked[key] for key in sorted(self.attacked)]
        return tuple(attacked if self.clean is None else [self.clean, *attacked])

    @property
    def identity(self) -> dict[str, Any]:
        """The ``cell`` dictionary of any of its cells; use what they share only."""
        return self.cells[0].record.cell

    @property
    def about(self) -> dict[str, Any]:
        """What people want to read beside it; use what its cells share only."""
        return self.cells[0].record.about

    @property
    def seed(self) -> int:
        """Seed of training and of the run."""
        return int(self.identity["seed"])

    @property
    def is_reference(self) -> bool:
        """Whether this is an undefended network that attacks must hurt."""
        return bool(self.about["reference"])


@dataclass(frozen=True)
class Sample:
    """What the numbers of a group rest on; ``few_scenes`` is ``resampling.FEW_SCENES``'s rule."""

    n: int
    resampled: str
    units: int
    few_scenes: bool


@dataclass(frozen=True, eq=False)
class Group:
    """Everything measured on one data set and split: rows that may be compared.

    Attributes:
        slug: Name for files and anchors, unique in the board.
        title: Title for people, unique in the board.
        dataset: Name, version, fingerprint, resize and crop.
        split: Hash of the saved split.
        part: How much of the data set was there; None if all of it.
        proxy_labels: Whether the labels are a proxy rather than people's opinions.
        entries: Rows, sorted by label.
        attacks: Label of each canonical attack spec, sorted by label.
        sample: What the numbers rest on; None if nothing succeeded.
        rounded: How many cells merged runs hold with per-image columns that differ by rounding.
    """

    slug: str
    title: str
    dataset: dict[str, Any]
    split: str
    part: str | None
    proxy_labels: bool
    entries: tuple[Entry, ...]
    attacks: dict[str, str]
    sample: Sample | None
    rounded: int = 0

    @property
    def eps_255(self) -> list[float]:
        """Every radius at which anything was attacked, ascending."""
        return sorted({eps for entry in self.entries for _, eps in entry.attacked})

    @cached_property
    def references(self) -> tuple[Entry, ...]:
        """The undefended networks among the rows."""
        return tuple(entry for entry in self.entries if entry.is_reference)

    @property
    def failures(self) -> list[tuple[Entry, Cell]]:
        """Cells that could not be computed."""
        return [(e, cell) for e in self.entries for cell in e.cells if not cell.is_done]


@dataclass(frozen=True, eq=False)
class Board:
    """All results of one run, grouped by data set and split; proxy labels come last."""

    groups: tuple[Group, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every row of every group."""
        return tuple(entry for group in self.groups for entry in group.entries)


def load_board(run: Path, reporter: Reporter | None = None) -> Board:
    """Read every cell file of a run; per-image columns are read when they are needed.

    Args:
        run: The folder that ``iqabench run`` wrote, or ``iqabench report`` merged.
        reporter: For progress.

    Raises:
        ResultsError: No such folder, no cells in it, or a damaged cell file.
    """
    return make_board(load_cells(run, reporter), rounded_keys(run))


def load_cells(run: Path, reporter: Reporter | None = None) -> list[Cell]:
    """Read every cell file of a run, in the order of their places.

    Raises:
        ResultsError: As ``load_board``.
    """
    hint = "give the folder that 'iqabench run' wrote its results to"
    if not run.is_dir():
        raise ResultsError(f"no results at '{run}': there is no such folder; {hint}")
    progress = (reporter or Silent()).counter(f"reading {run}")
    cells = [Cell(path, read_cell(path)) for path in counted([*find_cells(run)], progress)]
    if not cells:
        raise ResultsError(f"no results at '{run}': it holds no cells/*/*/*.json; {hint}")
    return cells


def rounded_keys(run: Path) -> frozenset[str]:
    """Return the keys of cells that runs merged into this folder hold with other rounding.

    Raises:
        ResultsError: The file that says so is damaged.
    """
    document = read_manifest(run / MERGED)
    keys = document.get("rounded", []) if document else []
    if not isinstance(keys, list):
        raise ResultsError(f"{run / MERGED}: damaged ('rounded' is no list)")
    return frozenset(map(str, keys))


def make_board(cells: Sequence[Cell], rounded: Collection[str] = ()) -> Board:
    """Group cells, of one run or of several.

    Args:
        cells: At least one, in the order of their places in a run; no key twice.
        rounded: As ``rounded_keys``.

    Raises:
        ResultsError: An incomplete cell file.
    """
    groups = [_group(members, rounded) for members in _by(cells, _group_key)]
    groups = _told_apart(sorted(groups, key=lambda g: (g.slug, g.title, g.split)))
    return Board(tuple(sorted(groups, key=lambda g: (g.proxy_labels, not g.attacks, g.slug))))


def _by(cells: Iterable[Cell], key: Callable[[dict[str, Any]], object]) -> list[list[Cell]]:
    """Gather the cells whose ``cell`` dictionaries share a key; sorted by that key."""
    found: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        try:
            found[canonical_json(key(cell.record.cell))].append(cell)
        except (KeyError, TypeError) as e:
            raise ResultsError(f"{cell.path}: incomplete cell file (no {e})") from e
    return [found[text] for text in sorted(found)]


def _group_key(cell: dict[str, Any]) -> object:
    return [cell["dataset"], cell["split"]]


def _entry_key(cell: dict[str, Any]) -> object:
    return [cell["defense"], cell["score_draws"], cell["seed"]]


def _group(cells: list[Cell], rounded: Collection[str]) -> Group:
    first = cells[0].record
    try:
        entries = _labelled([_entry(members) for members in _by(cells, _entry_key)])
        return Group(
            slug=file_name(first.cell["dataset"]["name"]),
            title=str(first.about["dataset_title"]),
            dataset=first.cell["dataset"],
            split=str(first.cell["split"]),
            part=first.about.get("dataset_part"),
            proxy_labels=any(cell.record.about["proxy_labels"] for cell in cells),
            entries=tuple(entries),
            attacks=_attack_labels(cells),
            sample=_sample(cells),
            rounded=sum(cell.record.key in rounded for cell in cells),
        )
    except (KeyError, TypeError) as e:
        where = cells[0].path.parent
        raise ResultsError(f"{where}: incomplete cell file (no {e})") from e


def _entry(cells: list[Cell]) -> Entry:
    """Give each (attack, eps) one cell: done before failed, then the lowest SROCC.

    Several cells claim one place where the attack's version, source or draws changed between
    runs into the same folder. The lowest is never flattering, and does not depend on time.
    """
    places: dict[tuple[str, float], Cell] = {}
    for cell in sorted(cells, key=_claim):
        places.setdefault((cell.attack, cell.eps_255), cell)
    clean = places.pop((CLEAN, 0.0), None)
    replaced = len(cells) - len(places) - (clean is not None)
    label = str(cells[0].record.about["defense"])
    return Entry(label, clean, dict(sorted(places.items())), replaced)


def _claim(cell: Cell) -> tuple[bool, float, str]:
    lowest = float("-inf") if cell.srocc is None else cell.srocc
    return not cell.is_done, lowest, cell.record.key


_ENTRY_DETAILS: tuple[tuple[bool, Callable[[Entry], str]], ...] = (
    (True, lambda e: str(e.about["backbone"])),
    (True, lambda e: str(e.about["recipe"])),
    (False, lambda e: str(e.identity["defense"]["spec"])),
    (False, lambda e: str(e.about["recipe_key"])[:6]),
    (False, lambda e: str(e.identity["defense"]["weights_sha256"])[:6]),
    (False, lambda e: f"{e.identity['score_draws']} draws"),
    (True, lambda e: str(e.identity["defense"].get("speed", "exact"))),
    (False, lambda e: e.cells[0].record.key[:6]),
)
"""What tells equal labels apart: always shown where it differs, or only while still needed."""

_GROUP_DETAILS: tuple[tuple[bool, Callable[[Group], str]], ...] = (
    (False, lambda g: f"{g.sample.n} images" if g.sample else "no image"),
    (False, lambda g: f"split {g.split[:6]}"),
    (False, lambda g: f"resize {g.dataset['resize']}"),
    (False, lambda g: f"crop {g.dataset['crop']}"),
    (False, lambda g: f"version {g.dataset['version']}"),
    (False, lambda g: f"data {str(g.dataset['fingerprint'])[:6]}"),
)


def _labelled(entries: list[Entry]) -> list[Entry]:
    """Add to equal labels what tells them apart, and to all the seed if there are several."""
    several_seeds = len({entry.seed for entry in entries}) > 1
    labelled = []
    for same in _alike(entries, lambda entry: entry.label):
        details = _details(same, _ENTRY_DETAILS, lambda entry: entry.seed)
        for entry, parts in zip(same, details, strict=True):
            seed = [f"seed {entry.seed}"] if several_seeds else []
            suffix = ", ".join([*parts, *seed])
            label = f"{entry.label} ({suffix})" if suffix else entry.label
            labelled.append(replace(entry, label=label))
    return sorted(labelled, key=lambda e: (e.label, e.seed))


def _told_apart(groups: list[Group]) -> list[Group]:
    """Add to equal names of data sets what tells them apart."""
    result: list[Group] = []
    for same in _alike(groups, lambda group: group.slug):
        details = _details(same, _GROUP_DETAILS, lambda group: None)
        for number, (group, parts) in enumerate(zip(same, details, strict=True), 1):
            if len(same) > 1:
                slug = file_name(f"{group.slug[:40]}-{number}-{'-'.join(parts)}")
                group = replace(group, slug=slug, title=f"{group.title} ({', '.join(parts)})")
            result.append(group)
    titles = Counter(group.title for group in result)
    return [
        replace(g, title=f"{g.title} ({g.dataset['name']})") if titles[g.title] > 1 else g
        for g in result
    ]


def _alike(items: Iterable[T], name: Callable[[T], str]) -> list[list[T]]:
    found: dict[str, list[T]] = defaultdict(list)
    for item in items:
        found[name(item)].append(item)
    return list(found.values())


def _details(
    same: Sequence[T],
    details: Iterable[tuple[bool, Callable[[T], str]]],
    known: Callable[[T], object],
) -> list[list[str]]:
    """Return for each of several equal names what to add, beside what is ``known`` anyway."""
    found: list[list[str]] = [[] for _ in same]
    for always, detail in details:
        names = {(*parts, known(item)) for parts, item in zip(found, same, strict=True)}
        texts = [detail(item) for item in same]
        if (always or len(names) < len(same)) and len(set(texts)) > 1:
            for parts, text in zip(found, texts, strict=True):
                parts.append(text)
    return found


def _attack_labels(cells: Iterable[Cell]) -> dict[str, str]:
    labels = {c.attack: str(c.record.about["attack"]) for c in cells if c.attack != CLEAN}
    uses = Counter(labels.values())
    unique = {spec: label if uses[label] == 1 else spec for spec, label in labels.items()}
    return dict(sorted(unique.items(), key=lambda item: (item[1], item[0])))


def _sample(cells: Iterable[Cell]) -> Sample | None:
    for cell in cells:
        metrics = cell.record.metrics
        if cell.is_done and metrics is not None:
            return Sample(
                metrics["n"], metrics["resampled"], metrics["units"], metrics["few_scenes"]
            )
    return None
