"""Every resampled number of every row: SROCC without and under attack, the lowest, and areas."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from iqabench.leaderboard.draws import Place, draws_of
from iqabench.leaderboard.load import Entry, Group
from iqabench.leaderboard.rank import PER_IMAGE_WORST, Standing, lowest_place, standings
from iqabench.results import CLEAN
from iqabench.statistics.area import area
from iqabench.statistics.resampled import Resampled

LOWEST = "lowest"
"""What stands in place of an attack for the number that ranks a row."""


@dataclass(frozen=True)
class Measure:
    """What a number of a row is.

    Attributes:
        name: SROCC at one eps, or the area under SROCC against eps.
        attack: Label of the attack, ``clean``, ``per-image worst`` or ``lowest``.
        eps_255: Radius in grey levels, 0 without attack; None for an area.
    """

    name: Literal["srocc", "area"]
    attack: str
    eps_255: float | None


CLEAN_SROCC = Measure("srocc", CLEAN, 0.0)


@dataclass(frozen=True, eq=False)
class Numbers:
    """The resampled numbers of a group.

    Attributes:
        by_entry: Of each row; a measure that a row lacks is not there.
        grids: By attack label, the radii that areas under its curve are over, from 0: those at
            which every row that met the attack has a result.
    """

    by_entry: Mapping[Entry, Mapping[Measure, Resampled]]
    grids: Mapping[str, tuple[float, ...]]

    def measures(self) -> list[Measure]:
        """Return every measure that any row has, areas last."""
        found = dict.fromkeys(m for numbers in self.by_entry.values() for m in numbers)
        return sorted(found, key=lambda m: m.name == "area")


@lru_cache(maxsize=8)
def numbers_of(group: Group) -> Numbers:
    """Return the resampled numbers of a group.

    Raises:
        ResultsError: Per-image columns are missing, damaged, or of different images.
    """
    places = {entry: dict(_places(group, entry)) for entry in group.entries}
    drawn = draws_of(group).srocc(p for of_entry in places.values() for p in of_entry.values())
    curves = {
        entry: {measure: drawn[place] for measure, place in of_entry.items()}
        for entry, of_entry in places.items()
    }
    grids = _grids(curves.values())
    return Numbers(
        {entry: curve | dict(_areas(curve, grids)) for entry, curve in curves.items()}, grids
    )


def _places(group: Group, entry: Entry) -> Iterator[tuple[Measure, Place]]:
    if entry.clean is not None and entry.clean.is_done:
        yield CLEAN_SROCC, Place(entry)
    for standing in standings(group):
        yield from _attacked(group, entry, standing)


def _attacked(group: Group, entry: Entry, standing: Standing) -> Iterator[tuple[Measure, Place]]:
    eps = standing.eps_255
    (row,) = [row for row in standing.rows if row.entry is entry]
    for spec in row.met:
        yield Measure("srocc", group.attacks[spec], eps), Place(entry, (spec,), eps)
    if row.worst is not None and len(standing.compared) > 1:
        yield Measure("srocc", PER_IMAGE_WORST, eps), Place(entry, standing.compared, eps)
    place = lowest_place(row, eps)
    if place is not None:
        yield Measure("srocc", LOWEST, eps), place


def _grids(curves: Iterable[Mapping[Measure, Resampled]]) -> dict[str, tuple[float, ...]]:
    """Return the radii that all rows share which met an attack at all."""
    met: dict[str, list[set[float]]] = defaultdict(list)
    for curve in curves:
        radii: dict[str, set[float]] = defaultdict(set)
        for measure in curve:
            if measure.eps_255:
                radii[measure.attack].add(measure.eps_255)
        for attack, one in radii.items():
            met[attack].append(one)
    shared = {attack: sorted(set.intersection(*sets)) for attack, sets in met.items()}
    return {attack: (0.0, *radii) for attack, radii in shared.items() if radii}


def _areas(
    curve: Mapping[Measure, Resampled], grids: Mapping[str, tuple[float, ...]]
) -> Iterator[tuple[Measure, Resampled]]:
    for attack, grid in grids.items():
        points = [CLEAN_SROCC, *(Measure("srocc", attack, eps) for eps in grid[1:])]
        if all(point in curve for point in points):
            yield Measure("area", attack, None), area(grid, [curve[point] for point in points])
