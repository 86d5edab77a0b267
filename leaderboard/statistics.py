"""``statistics.csv`` and ``statistics.json``: every conclusion of a run, one line each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from iqabench.errors import UnknownNameError
from iqabench.files import file_name, write_text
from iqabench.leaderboard.damages import CellDamage, damages
from iqabench.leaderboard.differences import Difference, Seeds, differences, seeds
from iqabench.leaderboard.load import Board, Entry, Group
from iqabench.leaderboard.numbers import Measure, numbers_of
from iqabench.leaderboard.tables import field_text, remarks
from iqabench.metrics import Estimate
from iqabench.resampling import FINE_RESAMPLES, RESAMPLES
from iqabench.statistics.resampled import Resampled
from iqabench.statistics.seeds import ENOUGH_SEEDS, Combined

SCHEMA = 1
"""Raise it whenever a field of ``statistics.json`` changes its meaning."""
HEADER = (
    *("dataset", "proxy_labels", "statistic", "defense", "backbone", "recipe", "seed"),
    *("attack", "eps_255", "eps_grid", "against", "value", "low", "high", "p", "p_holm"),
    *("seeds", "seed_low", "seed_high", "resampled_seeds"),
    *("n", "resampled", "units", "few_scenes", "resamples", "key"),
)

Line = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Area:
    """The area under one curve of one row."""

    entry: Entry
    attack: str
    area: Resampled


@dataclass(frozen=True, eq=False)
class Statistics:
    """Everything that is concluded on one data set.

    Attributes:
        group: The rows.
        against: Label of the row that others are compared with; None for each row's reference.
        grids: By attack label, the radii that areas are over.
        areas: Areas under SROCC against eps.
        differences: Between rows on the same images.
        seeds: Several seeds of one defense as one.
        damages: Rank damage and MSU's scores of each attacked cell.
    """

    group: Group
    against: str | None
    grids: dict[str, tuple[float, ...]]
    areas: list[Area]
    differences: list[Difference]
    seeds: list[Seeds]
    damages: tuple[CellDamage, ...]


def gather(board: Board, against: str | None = None) -> list[Statistics]:
    """Return the statistics of every group of a board.

    Args:
        board: The results.
        against: Label of the row that others are compared with; None for each row's reference.

    Raises:
        UnknownNameError: No row has that label.
        ResultsError: Per-image columns are missing, damaged, or of different images.
    """
    labels = [entry.label for entry in board.entries]
    if against is not None and against not in labels:
        raise UnknownNameError.of("row", against, sorted(set(labels)))
    return [_statistics(group, against) for group in board.groups]


def write_statistics(run: Path, found: list[Statistics]) -> list[Path]:
    """Write both files into the folder of a run, and return them.

    They are ``statistics.csv`` and ``.json``; ``statistics-against-ROW`` if a row was named.

    Raises:
        OutputError: The folder cannot be written.
    """
    against = next((one.against for one in found if one.against is not None), None)
    stem = "statistics" if against is None else f"statistics-against-{file_name(against)}"
    paths = [run / f"{stem}.csv", run / f"{stem}.json"]
    write_text(paths[0], to_csv(found))
    write_text(paths[1], to_json(found))
    return paths


def to_csv(found: list[Statistics]) -> str:
    """Return one line per number; what is unknown or undefined is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for statistics in found:
        for line in _lines(statistics):
            writer.writerow([_text(line.get(name)) for name in HEADER])
    return out.getvalue()


def to_json(found: list[Statistics]) -> str:
    """Return the same lines as a document, with the remarks that go with them."""
    document = {
        "schema": SCHEMA,
        "datasets": [
            {
                "slug": one.group.slug,
                "title": one.group.title,
                "sample": vars(one.group.sample) if one.group.sample else None,
                "lines": [{name: line.get(name) for name in HEADER} for line in _lines(one)],
                "remarks": [*remarks(one.group), *notes(one)],
            }
            for one in found
        ],
    }
    return json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"


def notes(found: Statistics) -> list[str]:
    """Return what a reader must know about these numbers."""
    said = []
    if found.areas or found.differences:
        said.append(
            "The lowest is over the attacks that every row met at that eps, as on the leaderboard, "
            "where stronger attacks on single rows are named."
        )
    if found.areas:
        grids = {", ".join(f"{eps:g}" for eps in grid) for grid in found.grids.values()}
        said.append(
            "Areas are over eps = " + " or ".join(sorted(grids)) + " (1/255), divided by the "
            "largest; areas over other radii cannot be compared with them."
        )
    if found.differences:
        said.append(
            "Differences are paired: both rows on the same resamples. p is corrected by Holm for "
            "the rows that are compared in the same column."
        )
    elif len(found.group.entries) > 1:
        said.append("No row has a reference to be compared with; name one with --against.")
    few = sorted({s.combined.seeds for s in found.seeds if not s.combined.resampled_seeds})
    if few:
        counts = " and ".join(map(str, few))
        said.append(
            f"Seeds: with {counts} (fewer than {ENOUGH_SEEDS}) the interval is of the images, for "
            "the mean of exactly these trainings; the range over seeds stands beside it."
        )
    return said


# The page and the files ask for the same statistics.
@lru_cache(maxsize=8)
def _statistics(group: Group, against: str | None) -> Statistics:
    numbers = numbers_of(group)
    areas = [
        Area(entry, measure.attack, of_entry[measure])
        for entry, of_entry in numbers.by_entry.items()
        for measure in of_entry
        if measure.name == "area"
    ]
    return Statistics(
        group,
        against,
        dict(numbers.grids),
        areas,
        differences(group, against),
        seeds(group),
        damages(group),
    )


def _lines(found: Statistics) -> Iterator[Line]:
    group = found.group
    shared: Line = {"dataset": group.slug, "proxy_labels": group.proxy_labels}
    shared |= vars(group.sample) if group.sample else {}
    for area in found.areas:
        yield {
            **shared,
            **_entry(area.entry),
            **_measure(found, Measure("area", area.attack, None), ""),
            **_estimate(area.area.estimate, FINE_RESAMPLES),
        }
    for difference in found.differences:
        yield {
            **shared,
            **_entry(difference.entry),
            **_measure(found, difference.measure, "_difference"),
            **_estimate(difference.estimate, FINE_RESAMPLES),
            "against": difference.against.label,
            "p": difference.p,
            "p_holm": difference.p_holm,
        }
    for several in found.seeds:
        yield from _seed_lines(found, several, shared)
    for damage in found.damages:
        for name, estimate in damage.estimates.items():
            yield {
                **shared,
                **_entry(damage.entry),
                "statistic": name,
                "attack": damage.attack,
                "eps_255": damage.eps_255,
                "key": damage.key,
                **_estimate(estimate, RESAMPLES),
            }


def _seed_lines(found: Statistics, several: Seeds, shared: Line) -> Iterator[Line]:
    about = _entry(several.entries[0]) | {"defense": several.label, "seed": None}
    yield {
        **shared,
        **about,
        **_measure(found, several.measure, "_mean_over_seeds"),
        **_combined(several.combined),
    }
    if several.difference is not None:
        yield {
            **shared,
            **about,
            **_measure(found, several.measure, "_difference_mean_over_seeds"),
            **_combined(several.difference),
            "against": "reference of the same seed",
            "p": several.difference.mean.p,
        }


def _entry(entry: Entry) -> Line:
    return {
        "defense": entry.label,
        "backbone": entry.about["backbone"],
        "recipe": entry.about["recipe"],
        "seed": entry.seed,
    }


def _measure(found: Statistics, measure: Measure, suffix: str) -> Line:
    line = {"statistic": measure.name + suffix, "attack": measure.attack}
    if measure.name == "area":
        return line | {"eps_grid": list(found.grids[measure.attack])}
    return line | {"eps_255": measure.eps_255}


def _combined(combined: Combined) -> Line:
    return {
        **_estimate(combined.mean.estimate, FINE_RESAMPLES),
        "seeds": combined.seeds,
        "seed_low": combined.low,
        "seed_high": combined.high,
        "resampled_seeds": combined.resampled_seeds,
    }


def _estimate(estimate: Estimate, resamples: int) -> Line:
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "resamples": resamples,
    }


def _text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(f"{eps:g}" for eps in value)
    return field_text(value)
