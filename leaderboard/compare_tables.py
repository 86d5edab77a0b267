"""``compare-PAPER.csv``, the same as JSON, and the notes that go with a comparison."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from iqabench.files import file_name, write_text
from iqabench.leaderboard.compare import MAPPED, VERDICTS, Comparison, Line, lowest, too_weak
from iqabench.leaderboard.conditions import Measured
from iqabench.leaderboard.tables import field_text, remarks, shown
from iqabench.results import CLEAN

SCHEMA = 1
"""Raise it whenever a field of the JSON document changes its meaning."""
HEADER = (
    *("table", "page", "method", "dataset", "attack", "metric", "ours", "published", "verdict"),
    *("outside", "difference", "value", "low", "high", "plcc", "plcc_logistic"),
    *("measured_dataset", "measured_defense", "measured_attack", "eps_255", "backbone", "recipe"),
    *("seed", "n", "resampled", "units", "few_scenes", "attack_too_weak", "worst_srocc"),
    *("reasons", "left_open", "others", "key"),
)
RULE = (
    "Reproduced: the published value, with its rounding, lies in the measured 95 % interval. The "
    "interval is of the test images, not of another training; the published value has none."
)

Fields = dict[str, Any]


def csv_path(run: Path, comparison: Comparison) -> Path:
    """Return where a comparison is written."""
    return run / f"compare-{file_name(comparison.paper.name)}.csv"


def write_csv(run: Path, comparison: Comparison) -> Path:
    """Write every line of a comparison into the folder of its run, and return the file.

    Raises:
        OutputError: The folder cannot be written.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for line in comparison.lines:
        fields = _fields(line)
        writer.writerow([field_text(fields.get(name)) for name in HEADER])
    path = csv_path(run, comparison)
    write_text(path, out.getvalue())
    return path


def to_json(comparison: Comparison) -> str:
    """Return every line as one document; published values are text, with all printed digits."""
    paper = comparison.paper
    document = {
        "schema": SCHEMA,
        "paper": {"name": paper.name, "title": paper.title, "source": paper.source},
        "counts": {
            table: {verdict: count[verdict] for verdict in VERDICTS}
            for table, count in comparison.counts().items()
        },
        "lines": [{name: _fields(line).get(name) for name in HEADER} for line in comparison.lines],
        "notes": notes(comparison),
    }
    return json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"


def notes(comparison: Comparison) -> list[str]:
    """Return what a reader must know beside the verdicts."""
    lines = [line for line in comparison.lines if line.measured is not None]
    if not lines:
        return ["Nothing in this run is of a method and an attack of the paper."]
    found = [RULE, *comparison.paper.notes]
    for line in lines:
        found += _place_notes(comparison, line)
    for line in lines:
        found += _measured_notes(line)
    found += _open_notes(lines)
    if any(line.beside is not None for line in lines):
        found.append(
            "PLCC after logistic mapping has the sign of the fitted slope. Near zero it is larger "
            "than raw PLCC by the freedom of the fit alone."
        )
    return list(dict.fromkeys(found))


def places_of(lines: Iterable[Line]) -> list[list[Line]]:
    """Gather the lines of one place and one measured cell, in their order."""
    found: dict[tuple[int, int], list[Line]] = {}
    for line in lines:
        found.setdefault((id(line.place), id(line.measured)), []).append(line)
    return list(found.values())


def _place_notes(comparison: Comparison, line: Line) -> list[str]:
    paper, place = comparison.paper, line.place
    found = [paper.methods[place.method].note, paper.datasets[place.dataset].note]
    return [note for note in (*found, paper.attacks[place.attack].note) if note]


def _measured_notes(line: Line) -> list[str]:
    measured = line.measured
    if measured is None:
        return []
    found = [f"{measured.group.title}: {remark}" for remark in remarks(measured.group)]
    if measured.cell.attack != CLEAN:
        worst, row = lowest(measured), f"{measured.entry.label} on {measured.group.title}"
        own = measured.cell.srocc
        if worst is not None and worst.srocc.value != own:
            found.append(
                f"{row}, eps {measured.cell.eps_255:g}/255: lowest SROCC over every attack it met: "
                f"{shown(worst.srocc)} ({worst.by})."
            )
    return found


def _open_notes(lines: Iterable[Line]) -> list[str]:
    texts = [
        text
        for line in lines
        if line.check is not None and not line.check.differences
        for text in line.check.left_open
    ]
    if not texts:
        return []
    listed = "; ".join(dict.fromkeys(texts))
    return [f"The paper leaves open, and here it was: {listed}."]


def _fields(line: Line) -> Fields:
    place, estimate = line.place, line.estimate
    fields: Fields = {
        "table": place.table.table,
        "page": place.table.page,
        "method": place.method,
        "dataset": place.dataset,
        "attack": place.attack,
        "metric": line.metric,
        "ours": line.ours,
        "published": f"{line.published:f}",
        "verdict": line.verdict,
    }
    if line.measured is None or line.check is None or estimate is None:
        return fields
    mapped = line.ours == MAPPED
    raw, other = (line.beside, estimate) if mapped else (estimate, line.beside)
    if line.beside is not None:
        fields |= {
            "plcc": raw.value if raw else None,
            "plcc_logistic": other.value if other else None,
        }
    return {
        **fields,
        "outside": line.outside,
        "difference": line.difference,
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "reasons": "; ".join(line.reasons),
        "left_open": "; ".join(line.check.left_open),
        "others": line.others,
        **_measured_fields(line.measured),
    }


def _measured_fields(measured: Measured) -> Fields:
    about, metrics = measured.about, measured.cell.record.metrics or {}
    worst = lowest(measured)
    return {
        "measured_dataset": measured.dataset,
        "measured_defense": measured.entry.label,
        "measured_attack": measured.attack,
        "eps_255": measured.cell.eps_255,
        "backbone": about["backbone"],
        "recipe": about["recipe"],
        "seed": measured.entry.seed,
        **{name: metrics.get(name) for name in ("n", "resampled", "units", "few_scenes")},
        "attack_too_weak": too_weak(measured),
        "worst_srocc": worst.srocc.value if worst else None,
        "key": measured.cell.record.key,
    }
