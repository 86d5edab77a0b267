"""The tables that show a run's statistics, laid out for the page and the terminal alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from iqabench.leaderboard.damages import KEPT_ORDER, OWN_RANGE, PAIR_FLIPS, CellDamage
from iqabench.leaderboard.differences import Seeds
from iqabench.leaderboard.load import Entry
from iqabench.leaderboard.numbers import LOWEST, Measure
from iqabench.leaderboard.rank import PER_IMAGE_WORST
from iqabench.leaderboard.statistics import Statistics
from iqabench.metrics import Estimate
from iqabench.results import CLEAN
from iqabench.statistics.ranks import is_told_apart

DAMAGE_COLUMNS = {
    "pairs flipped": PAIR_FLIPS,
    "SROCC clean, attacked": KEPT_ORDER,
    "MSU R": "msu_robustness",
    "R, own range": f"msu_robustness{OWN_RANGE}",
    "gain": "msu_absolute_gain",
    "relative gain": "msu_relative_gain",
    "Wasserstein": "msu_wasserstein",
    "energy": "msu_energy",
}


@dataclass(frozen=True)
class Field:
    """A number in a table.

    Attributes:
        estimate: With its interval; None where there is no such number.
        small: What stands below it.
        is_strong: Whether it is set apart: a difference that is told apart from zero.
    """

    estimate: Estimate | None
    small: str = ""
    is_strong: bool = False


@dataclass(frozen=True)
class Row:
    """A line of a table: names, then numbers; a reference is marked."""

    names: tuple[str, ...]
    fields: tuple[Field, ...]
    is_reference: bool = False


@dataclass(frozen=True)
class Table:
    """A table of one data set.

    Attributes:
        title: Its heading.
        text: One sentence on what it shows.
        names: Headings of the columns of names.
        columns: Headings of the columns of numbers.
        rows: Its lines.
        is_detail: Whether it is for those who look for it.
    """

    title: str
    text: str
    names: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    is_detail: bool = False


def tables(found: Statistics) -> list[Table]:
    """Return the tables of one data set that have any line."""
    made = [_differences(found), _areas(found), _seeds(found), _damages(found)]
    return [table for table in made if table.rows]


def _differences(found: Statistics) -> Table:
    pairs = dict.fromkeys((d.entry, d.against) for d in found.differences)
    by_place = {(d.entry, d.against, d.measure): d for d in found.differences}
    measures = _headline(d.measure for d in found.differences)
    several = len({against for _, against in pairs}) > 1

    def fields(entry: Entry, against: Entry) -> Iterator[Field]:
        for measure in measures:
            d = by_place.get((entry, against, measure))
            if d is None:
                yield Field(None)
            else:
                yield Field(d.estimate, _p(d.p_holm), is_told_apart(d.p_holm))

    rows = [
        Row((e.label, o.label) if several else (e.label,), tuple(fields(e, o))) for e, o in pairs
    ]
    other = f"'{found.against}'" if found.against else "the undefended reference"
    return Table(
        f"Difference from {other}",
        "SROCC of the row less that of the other, on the same images. Above 0 the row is better.",
        ("defense", "against") if several else ("defense",),
        tuple(_heading(measure) for measure in measures),
        tuple(rows),
    )


def _areas(found: Statistics) -> Table:
    by_place = {(area.entry, area.attack): area.area.estimate for area in found.areas}
    attacks = [
        a for a in (LOWEST, *found.group.attacks.values(), PER_IMAGE_WORST) if a in found.grids
    ]
    entries = [e for e in found.group.entries if any(key[0] is e for key in by_place)]
    return Table(
        "Area under SROCC against eps",
        "Mean SROCC from eps 0 to the largest: 1 is an order that no eps disturbs.",
        ("defense",),
        tuple(f"{attack}, to {found.grids[attack][-1]:g}/255" for attack in attacks),
        tuple(
            Row((e.label,), tuple(Field(by_place.get((e, a))) for a in attacks), e.is_reference)
            for e in entries
        ),
    )


def _seeds(found: Statistics) -> Table:
    by_place = {(s.label, s.measure): s for s in found.seeds}
    measures = _headline(s.measure for s in found.seeds)
    first = {s.label: s.entries[0] for s in reversed(found.seeds)}
    labels = dict.fromkeys(s.label for s in found.seeds)
    return Table(
        "Seeds combined",
        "Mean SROCC over seeds; below it, the smallest and the largest seed.",
        ("defense",),
        tuple(_heading(measure) for measure in measures),
        tuple(
            Row(
                (label,),
                tuple(_seed_field(by_place.get((label, measure))) for measure in measures),
                first[label].is_reference,
            )
            for label in labels
        ),
    )


def _seed_field(found: Seeds | None) -> Field:
    if found is None:
        return Field(None)
    combined = found.combined
    small = f"{combined.seeds} seeds"
    if combined.low is not None and combined.high is not None:
        small += f": {combined.low:.3f} to {combined.high:.3f}"
    return Field(combined.mean.estimate, small)


def _damages(found: Statistics) -> Table:
    def row(damage: CellDamage) -> Row:
        names = (damage.entry.label, damage.attack, f"{damage.eps_255:g}")
        fields = tuple(Field(damage.estimates[name]) for name in DAMAGE_COLUMNS.values())
        return Row(names, fields, damage.entry.is_reference)

    return Table(
        "Rank damage and MSU scores",
        "What the attack does to the model's own scores, whatever the labels say.",
        ("defense", "attack", "eps"),
        tuple(DAMAGE_COLUMNS),
        tuple(row(damage) for damage in found.damages),
        is_detail=True,
    )


def _headline(measures: Iterable[Measure]) -> list[Measure]:
    """Return the measures that a table has room for: clean, the lowest at each eps, its area."""
    found = dict.fromkeys(m for m in measures if m.attack in (CLEAN, LOWEST))
    return sorted(found, key=lambda m: (m.name == "area", m.eps_255 or 0.0))


def _heading(measure: Measure) -> str:
    if measure.name == "area":
        return "area of lowest"
    return CLEAN if measure.attack == CLEAN else f"lowest at {measure.eps_255:g}/255"


def _p(p: float | None) -> str:
    if p is None:
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
