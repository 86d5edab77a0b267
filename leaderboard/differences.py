"""Differences between two rows on the same images, and several seeds of a row as one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from iqabench.files import canonical_json
from iqabench.leaderboard.load import Entry, Group
from iqabench.leaderboard.numbers import Measure, Numbers, numbers_of
from iqabench.leaderboard.rank import reference_of
from iqabench.metrics import Estimate
from iqabench.statistics.ranks import holm
from iqabench.statistics.resampled import Resampled
from iqabench.statistics.seeds import Combined, combine


@dataclass(frozen=True, eq=False)
class Difference:
    """One row less another.

    Attributes:
        entry: The row.
        against: What is subtracted.
        measure: Of what.
        estimate: The difference; above 0 the row is better.
        p: Two-sided p value of "there is none"; None where there is no interval.
        p_holm: The same, corrected for all rows that are compared in this measure.
    """

    entry: Entry
    against: Entry
    measure: Measure
    estimate: Estimate
    p: float | None
    p_holm: float | None = None


@dataclass(frozen=True, eq=False)
class Seeds:
    """Several seeds of one defense, in one measure.

    Attributes:
        label: The defense, without its seeds.
        entries: One row per seed.
        measure: Of what.
        combined: The mean over seeds.
        difference: Mean over the seeds that the reference has too, of the differences from the
            reference of the same seed; None if these are fewer than two.
    """

    label: str
    entries: tuple[Entry, ...]
    measure: Measure
    combined: Combined
    difference: Combined | None


def differences(group: Group, against: str | None = None) -> list[Difference]:
    """Return what each row differs by from its undefended reference, or from one row.

    Args:
        group: Whose rows.
        against: Label of the row that is subtracted from all others; None for each row's reference
            (the undefended network with the same backbone and seed).

    Returns:
        Nothing where no such row exists.

    Raises:
        ResultsError: Per-image columns are missing, damaged, or of different images.
    """
    numbers = numbers_of(group)
    pairs = _pairs(group, against)
    found = []
    for measure in numbers.measures():
        found += _corrected([d for pair in pairs for d in _difference(numbers, *pair, measure)])
    return found


def seeds(group: Group) -> list[Seeds]:
    """Return the mean over seeds of every defense that has several, in every measure.

    Raises:
        ResultsError: Per-image columns are missing, damaged, or of different images.
    """
    families: dict[str, list[Entry]] = defaultdict(list)
    for entry in group.entries:
        families[_without_seed(entry)].append(entry)
    several = [family for family in families.values() if len({e.seed for e in family}) > 1]
    if not several:
        return []
    numbers = numbers_of(group)
    names = Counter(str(family[0].about["defense"]) for family in several)
    return [
        found
        for measure in numbers.measures()
        for family in several
        for found in _seeds(group, numbers, family, measure, names)
    ]


def _pairs(group: Group, against: str | None) -> list[tuple[Entry, Entry]]:
    if against is None:
        return [(e, r) for e in group.entries for r in reference_of(group, e) if r is not e]
    others = [entry for entry in group.entries if entry.label == against]
    return [(e, other) for other in others for e in group.entries if e is not other]


def _difference(
    numbers: Numbers, entry: Entry, against: Entry, measure: Measure
) -> Iterator[Difference]:
    found = _less(numbers, entry, against, measure)
    if found is not None:
        yield Difference(entry, against, measure, found.estimate, found.p)


def _less(numbers: Numbers, entry: Entry, against: Entry, measure: Measure) -> Resampled | None:
    of_entry, of_other = numbers.by_entry[entry], numbers.by_entry[against]
    if measure not in of_entry or measure not in of_other:
        return None
    return of_entry[measure] - of_other[measure]


def _corrected(found: Sequence[Difference]) -> list[Difference]:
    adjusted = holm([difference.p for difference in found])
    return [replace(d, p_holm=p) for d, p in zip(found, adjusted, strict=True)]


def _without_seed(entry: Entry) -> str:
    defense: dict[str, Any] = entry.identity["defense"]
    return canonical_json(
        [
            defense["spec"],
            defense["components"],
            entry.identity["score_draws"],
            *(entry.about.get(name) for name in ("backbone", "backbone_weights", "recipe")),
            entry.about.get("recipe_settings"),
        ]
    )


def _seeds(
    group: Group,
    numbers: Numbers,
    family: Sequence[Entry],
    measure: Measure,
    names: Mapping[str, int],
) -> Iterator[Seeds]:
    entries = tuple(entry for entry in family if measure in numbers.by_entry[entry])
    if len(entries) < 2:
        return
    about = entries[0].about
    label = str(about["defense"])
    if names[label] > 1:
        label += f" ({about['backbone']}, {about['recipe']})"
    less = [
        difference
        for entry in entries
        for reference in reference_of(group, entry)[:1]
        if reference is not entry
        and (difference := _less(numbers, entry, reference, measure)) is not None
    ]
    yield Seeds(
        label,
        entries,
        measure,
        combine([numbers.by_entry[entry][measure] for entry in entries]),
        combine(less) if len(less) > 1 else None,
    )
