"""Whether a run directory holds what it says: keys, hashes, numbers, budgets, completeness."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from iqabench.audit.lawful import DECLARED, ONE_BY_ONE
from iqabench.budget import TOLERANCE
from iqabench.chains import Chain
from iqabench.config import Benchmark, load_benchmark
from iqabench.errors import ConfigError, IqabenchError, ResultsError
from iqabench.files import hash_file
from iqabench.keeping import FOLDER as IMAGES
from iqabench.keeping import file_of, read_png
from iqabench.metrics import METRICS, agreement
from iqabench.planning import attack
from iqabench.progress import Counter
from iqabench.results import (
    CLEAN,
    CellRecord,
    Columns,
    cell_path,
    find_cells,
    read_cell,
    read_columns,
)
from iqabench.suites import expand

SAME = 1e-9
"""Relative difference of two numbers that were computed from the same columns."""


@dataclass
class Report:
    """What was looked at, and what is wrong.

    Attributes:
        cells: Cell files.
        failed: Those of them that say that they failed.
        images: Kept images.
        problems: One line for each thing that is wrong.
        missing: Cells that a request of the run asked for and that are not there, or failed.
        unknown: Requests whose cells cannot be told any more, and why.
        unread: Files among cells and images that no cell is or names; nothing reads them.
    """

    cells: int = 0
    failed: int = 0
    images: int = 0
    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong and nothing is known to be missing."""
        return not (self.problems or self.missing)


def verify(run: Path, progress: Counter) -> Report:
    """Look at every file of a run's results.

    Raises:
        ResultsError: No such folder, or no cells in it.
    """
    paths = list(find_cells(run)) if run.is_dir() else []
    if not paths:
        raise ResultsError(f"no results at '{run}': give the folder that 'iqabench run' wrote to")
    report = Report(cells=len(paths))
    records: list[CellRecord] = []
    for number, path in enumerate(paths, 1):
        try:
            record = read_cell(path)
            report.problems += _Cell(run, path, record).problems()
        except ResultsError as e:
            report.problems.append(str(e))
        else:
            records.append(record)
            report.failed += record.status == "failed"
            report.images += len(record.images or ())
        progress(number, len(paths))
    _find_missing(run, records, report)
    report.unread += map(str, _unread(run, paths, records))
    return report


def _unread(run: Path, paths: Sequence[Path], records: Sequence[CellRecord]) -> Iterator[Path]:
    known = {file for path in paths for file in (path, path.with_suffix(".csv"))}
    for image in (image for record in records for image in record.images or ()):
        known |= {run / image["clean"], run / image["attacked"]}
    for folder in ("cells", IMAGES):
        for path in sorted((run / folder).rglob("*")):
            if path.is_file() and path not in known and not path.name.startswith("."):
                yield path


@dataclass(frozen=True)
class _Cell:
    run: Path
    path: Path
    record: CellRecord

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with a cell.

        Raises:
            ResultsError: Its columns are missing or damaged.
        """
        if self.path != cell_path(self.run, self.record.cell):
            yield f"{self.path}: is not where a cell of this key lies"
        if self.record.status == "failed":
            return
        table = read_columns(self.path, self.record)
        for problem in (*self._numbers(table), *self._budget(table), *self._images(table)):
            yield f"{self.path}: {problem}"

    def _numbers(self, table: Columns) -> Iterator[str]:
        if len(set(table["image_id"])) < len(table["image_id"]):
            yield "an image has several lines"
        for suffix in ("", "_8bit", "_nonadaptive"):
            recorded = getattr(self.record, f"metrics{suffix}")
            if recorded is None:
                continue
            found = _metrics(table, suffix)
            wrong = [name for name in METRICS if not _same(recorded.get(name), found[name])]
            wrong += [name for name in ("n", "units") if recorded.get(name) != found[name]]
            if wrong:
                yield f"metrics{suffix} does not follow from the columns: {', '.join(wrong)}"

    def _budget(self, table: Columns) -> Iterator[str]:
        if self.record.about.get("threat_model") != "linf":
            return
        eps = float(self.record.cell["eps_255"])
        for column, most in (("linf_255", eps + 255 * TOLERANCE), ("linf_8bit_255", eps)):
            moved = max((value for value in table[column] if value is not None), default=0.0)
            if moved > most:
                yield f"{column} is up to {moved:g}, and eps is {eps:g}"

    def _images(self, table: Columns) -> Iterator[str]:
        ids = set(table["image_id"])
        for image in self.record.images or ():
            try:
                yield from self._image(image, ids)
            except IqabenchError as e:
                yield str(e)

    def _image(self, image: Mapping[str, str], ids: set[str]) -> Iterator[str]:
        name = image["image_id"]
        clean, attacked = (
            read_png(file_of(self.run, image[kind])).astype(int) for kind in ("clean", "attacked")
        )
        if name not in ids:
            yield f"keeps {name!r}, which is none of its images"
        if hash_file(self.run / image["attacked"]) != image.get("sha256"):
            yield f"{image['attacked']} is not the file that was kept"
        if clean.shape != attacked.shape:
            yield f"{image['attacked']} has another size than {image['clean']}"
            return
        moved, eps = int(np.abs(attacked - clean).max()), self.record.cell["eps_255"]
        if self.record.about.get("threat_model") == "linf" and moved > eps:
            yield f"{image['attacked']} moved by {moved} grey levels, and eps is {eps:g}"


def _metrics(table: Columns, suffix: str) -> dict[str, Any]:
    mos, scores, logits = (
        np.asarray(table[name], dtype=np.float64)
        for name in ("mos", f"score{suffix}", f"logit{suffix}")
    )
    return agreement(mos, scores, logits, table["scene"]).to_json()


def _same(recorded: Any, found: Any) -> bool:
    if not isinstance(recorded, Mapping):
        return False
    return all(_close(recorded.get(end), found[end]) for end in ("value", "low", "high"))


def _close(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return math.isclose(first, second, rel_tol=SAME, abs_tol=SAME)


def _find_missing(run: Path, records: Sequence[CellRecord], report: Report) -> None:
    """Compare the requests that a run keeps with its finished cells."""
    done = {
        (dataset, spec, *rest)
        for record in records
        if record.status == "done"
        for dataset, defense, *rest in [_place(record)]
        for spec in (defense, _as_asked_for(defense))
    }
    try:
        requests = json.loads((run / "run.json").read_text())["runs"]
        asked = [(load_benchmark(None, {}, r["benchmark"]), [*r["datasets"]]) for r in requests]
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as e:
        report.unknown.append(f"run.json does not say what was asked for ({type(e).__name__})")
        return
    wanted: dict[tuple[str, str, str, float, int], None] = {}
    for benchmark, datasets in asked:
        try:
            wanted |= dict.fromkeys(_places(benchmark, datasets))
        except IqabenchError as e:
            report.unknown.append(f"a request of run.json cannot be planned here: {e}")
    for dataset, defense, what, eps, seed in wanted:
        if (dataset, defense, what, eps, seed) not in done:
            report.missing.append(
                f"{what} at {eps:g}/255 against {defense} on {dataset}, seed {seed}"
            )


def _as_asked_for(defense: str) -> str:
    """Return a defense without what an audit put around it to attack it."""
    outer, plus, inner = defense.partition("+")
    is_ours = plus and outer.partition(":")[0] in (DECLARED, ONE_BY_ONE)
    return inner if is_ours else defense


def _place(record: CellRecord) -> tuple[str, str, str, float, int]:
    cell = record.cell
    names = (cell["dataset"]["name"], cell["defense"]["spec"], cell["attack"]["spec"])
    return *names, float(cell["eps_255"]), int(cell["seed"])


def _places(
    benchmark: Benchmark, datasets: Sequence[str]
) -> Iterator[tuple[str, str, str, float, int]]:
    reference = [benchmark.reference] if benchmark.reference else []
    defenses = [Chain.parse(spec).canonical for spec in (*reference, *benchmark.defenses)]
    attacks = [attack(spec).canonical for spec in expand(benchmark.attacks)]
    for dataset in datasets:
        for seed in benchmark.seeds:
            for defense in defenses:
                yield dataset, defense, CLEAN, 0.0, seed
                for what in attacks:
                    for eps in benchmark.eps:
                        yield dataset, defense, what, eps, seed
