"""Rank the rows of a group at each eps by their lowest SROCC, on attacks that all of them met."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from iqabench.errors import ResultsError
from iqabench.leaderboard.draws import Place, draws_of
from iqabench.leaderboard.images import worst_images
from iqabench.leaderboard.load import Cell, Entry, Group, Sample
from iqabench.metrics import METRICS, Estimate, agreement
from iqabench.resampling import resamples_for
from iqabench.statistics.ranks import rank_ranges

WEAK_DROP = 0.1
"""An attack that takes less SROCC than this from the reference is too weak to judge by."""
PER_IMAGE_WORST = "per-image worst"


@dataclass(frozen=True)
class Measures:
    """Every metric with its interval, and what they rest on."""

    estimates: Mapping[str, Estimate]
    sample: Sample

    @property
    def srocc(self) -> Estimate:
        """The metric that ranks."""
        return self.estimates["srocc"]


@dataclass(frozen=True)
class Result:
    """One attack on one row at one eps.

    Attributes:
        attack: Canonical spec.
        label: Its name for people.
        status: ``missing`` if no such cell exists.
        measures: None unless done.
        srocc_8bit: SROCC after rounding the images to 8 bits; None where not computed.
        srocc_nonadaptive: SROCC where the attack took the defense's own gradient alone; None where
            it had no other way.
        too_weak: Whether the attack hardly hurts the reference at this eps; None if unknown.
        distance: How far the images moved; None unless done.
        key: Key of the cell.
        error: Why it failed.
    """

    attack: str
    label: str
    status: Literal["done", "failed", "missing"]
    measures: Measures | None = None
    srocc_8bit: float | None = None
    srocc_nonadaptive: float | None = None
    too_weak: bool | None = None
    distance: Mapping[str, float | None] | None = None
    key: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Lowest:
    """The lowest SROCC of a row; undefined if any of its SROCCs is.

    Attributes:
        srocc: The number.
        by: What reached it, for people.
        attacks: Specs of the attacks that it is of; several for their per-image worst.
    """

    srocc: Estimate
    by: str
    attacks: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One entry at one eps.

    Attributes:
        entry: Whose numbers these are.
        clean: Without attack.
        results: One per attack that any row of the group met at this eps.
        worst: On each image the compared attack that did most damage; None if none is compared.
        lowest: What ranks: the lowest SROCC over the compared attacks and ``worst``.
        lowest_met: The same over every attack this row met, if those are more.
        rank: From 1; equal numbers share a rank; None where nothing is compared.
        rank_range: Best and worst rank that the images leave open (``rank_ranges``); None where
            fewer than two rows are compared, and for a row that is undefined.
    """

    entry: Entry
    clean: Measures | None
    results: tuple[Result, ...]
    worst: Measures | None = None
    lowest: Lowest | None = None
    lowest_met: Lowest | None = None
    rank: int | None = None
    rank_range: tuple[int, int] | None = None

    @property
    def open_ranks(self) -> tuple[int, int] | None:
        """``rank_range`` if it holds more than one rank."""
        found = self.rank_range
        return found if found is not None and found[0] < found[1] else None

    @property
    def met(self) -> list[str]:
        """Specs of the attacks with numbers."""
        return [r.attack for r in self.results if r.status == "done"]


@dataclass(frozen=True)
class Standing:
    """One ranking.

    Attributes:
        eps_255: Radius in grey levels; 0 and no attacks if only clean cells exist.
        attacks: Specs of the attacks that any row met or failed at this eps.
        compared: Those of them that every row with results met.
        rows: Best first; rows without results last.
    """

    eps_255: float
    attacks: tuple[str, ...]
    compared: tuple[str, ...]
    rows: tuple[Row, ...]


# Pages, tables and terminal ask for the same standings, and the bootstrap takes seconds.
@lru_cache(maxsize=64)
def standings(group: Group) -> tuple[Standing, ...]:
    """Return one ranking per eps, ascending; one without attacks if only clean cells exist.

    Raises:
        ResultsError: Per-image columns are missing, damaged, or of different images.
    """
    return tuple(_with_ranges(group, _standing(group, eps)) for eps in group.eps_255 or [0.0])


def clean_measures(entry: Entry) -> Measures | None:
    """Return the metrics without attack; None if not run or failed."""
    return None if entry.clean is None else measures_of(entry.clean)


def reference_of(group: Group, entry: Entry) -> list[Entry]:
    """Return the undefended siblings: same backbone and seed, and same recipe if one has it."""
    found = [
        other
        for other in group.references
        if other.seed == entry.seed and other.about["backbone"] == entry.about["backbone"]
    ]
    same_recipe = [r for r in found if r.about["recipe"] == entry.about["recipe"]]
    return [entry] if entry.is_reference else same_recipe or found


def is_too_weak(group: Group, entry: Entry, attack: str, eps_255: float) -> bool | None:
    """Say whether an attack takes less than ``WEAK_DROP`` of SROCC from a row's reference.

    With several references the least hurt one decides.

    Returns:
        None where no reference has both numbers.
    """
    drops = []
    for reference in reference_of(group, entry):
        attacked = reference.attacked.get((attack, eps_255))
        before = None if reference.clean is None else reference.clean.srocc
        after = None if attacked is None else attacked.srocc
        if before is not None and after is not None:
            drops.append(before - after)
    return min(drops) < WEAK_DROP if drops else None


def per_image_worst(cells: Sequence[Cell]) -> Measures:
    """Return the metrics of the most damaging result of each image over several attacks.

    ``worst_images`` says which one that is.

    Args:
        cells: Done cells of one entry at one eps, at least one.

    Raises:
        ResultsError: Columns are missing, damaged, or of different images.
    """
    if len(cells) == 1 and (only := measures_of(cells[0])) is not None:
        return only
    worst = worst_images(cells)
    measured = agreement(worst.mos, worst.scores, worst.logits, worst.scenes)
    return Measures(measured.estimates, _sample(measured.to_json()))


def _standing(group: Group, eps_255: float) -> Standing:
    attacks = tuple(
        spec for spec in group.attacks if any((spec, eps_255) in e.attacked for e in group.entries)
    )
    rows = [_row(group, entry, attacks, eps_255) for entry in group.entries]
    met = [set(row.met) for row in rows if row.met]
    compared = tuple(spec for spec in attacks if met and all(spec in one for one in met))
    rows = [_compared(row, compared, eps_255) for row in rows]
    return Standing(eps_255, attacks, compared, tuple(_ranked(rows)))


def _row(group: Group, entry: Entry, attacks: Iterable[str], eps_255: float) -> Row:
    results = []
    for spec in attacks:
        cell, label = entry.attacked.get((spec, eps_255)), group.attacks[spec]
        if cell is None:
            results.append(Result(spec, label, "missing"))
            continue
        results.append(
            Result(
                spec,
                label,
                "done" if cell.is_done else "failed",
                measures_of(cell),
                srocc_of(cell.record.metrics_8bit) if cell.is_done else None,
                srocc_of(cell.record.metrics_nonadaptive) if cell.is_done else None,
                is_too_weak(group, entry, spec, eps_255) if cell.is_done else None,
                cell.record.distance if cell.is_done else None,
                cell.record.key,
                None if cell.is_done else cell.record.error or "no error was recorded",
            )
        )
    return Row(entry, clean_measures(entry), tuple(results))


def srocc_of(metrics: Mapping[str, Any] | None) -> float | None:
    """Return SROCC of a cell's metrics; None if there are none."""
    value: float | None = metrics["srocc"]["value"] if metrics else None
    return value


def _compared(row: Row, compared: Sequence[str], eps_255: float) -> Row:
    """Add the per-image worst and the lowest SROCCs to a row."""
    worst, lowest = _lowest(row, [spec for spec in compared if spec in row.met], eps_255)
    beyond = None
    if len(row.met) > len(compared):
        _, beyond = _lowest(row, row.met, eps_255)
    return replace(row, worst=worst, lowest=lowest, lowest_met=beyond)


def _lowest(
    row: Row, attacks: Sequence[str], eps_255: float
) -> tuple[Measures | None, Lowest | None]:
    if not attacks:
        return None, None
    worst = per_image_worst([row.entry.attacked[spec, eps_255] for spec in attacks])
    found = [
        Lowest(r.measures.srocc, r.label, (r.attack,))
        for r in row.results
        if r.measures is not None and r.attack in attacks
    ]
    found.append(Lowest(worst.srocc, PER_IMAGE_WORST, tuple(attacks)))
    # A row that one attack turned into a constant has no honest "lowest defined" number.
    return worst, min(found, key=lambda f: _ascending(f.srocc.value))


def _ascending(value: float | None) -> float:
    return float("-inf") if value is None else value


def _ranked(rows: Iterable[Row]) -> list[Row]:
    """Sort best first, undefined after every number, not compared at the end."""

    def order(row: Row) -> tuple[bool, float, float, str]:
        lowest = _ascending(row.lowest.srocc.value if row.lowest else None)
        clean = _ascending(row.clean.srocc.value if row.clean else None)
        return row.lowest is None, -lowest, -clean, row.entry.label

    ranked: list[Row] = []
    for position, row in enumerate(sorted(rows, key=order), 1):
        rank = position if row.lowest else None
        previous = ranked[-1] if ranked else None
        if (
            row.lowest
            and previous
            and previous.lowest
            and previous.lowest.srocc.value == row.lowest.srocc.value
        ):
            rank = previous.rank
        ranked.append(replace(row, rank=rank))
    return ranked


def lowest_place(row: Row, eps_255: float) -> Place | None:
    """Return where the number that ranks a row stands; None if nothing is compared."""
    return Place(row.entry, row.lowest.attacks, eps_255) if row.lowest else None


def _with_ranges(group: Group, standing: Standing) -> Standing:
    """Add the ranks that are left to each row."""
    lowest = {row.entry: lowest_place(row, standing.eps_255) for row in standing.rows}
    places = {entry: place for entry, place in lowest.items() if place is not None}
    if len(places) < 2 or group.sample is None:
        return standing
    ranked = sum(
        row.lowest is not None and row.lowest.srocc.value is not None for row in standing.rows
    )
    resamples = resamples_for(math.comb(ranked, 2), group.sample.units)
    drawn = draws_of(group).srocc(places.values(), resamples)
    ranges = rank_ranges([drawn[place] for place in places.values()])
    by_entry = dict(zip(places, ranges, strict=True))
    rows = [replace(row, rank_range=by_entry.get(row.entry)) for row in standing.rows]
    return replace(standing, rows=tuple(rows))


def measures_of(cell: Cell) -> Measures | None:
    """Return the metrics of a cell; None if it failed.

    Raises:
        ResultsError: The cell file lacks some.
    """
    metrics = cell.record.metrics
    if not cell.is_done or metrics is None:
        return None
    try:
        estimates = {name: Estimate(**metrics[name]) for name in METRICS}
        return Measures(estimates, _sample(metrics))
    except (KeyError, TypeError) as e:
        raise ResultsError(f"{cell.path}: incomplete metrics ({e})") from e


def _sample(metrics: Mapping[str, Any]) -> Sample:
    return Sample(metrics["n"], metrics["resampled"], metrics["units"], metrics["few_scenes"])
