"""Bootstrap resamples of scenes or images, and the intervals that are read off them.

Everything with an interval draws its resamples here, from the number of units and the seed alone.
So two rows on the same images meet the same resamples, which is what makes a difference paired. A
resample is a column of multiplicities: how often each image was drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

RESAMPLES = 1000
"""Resamples of the interval of a single number."""
FINE_RESAMPLES = 10_000
"""Resamples of differences and areas: corrected for many pairs, a p value must get small."""
DOUBLINGS = 4
"""How often ``FINE_RESAMPLES`` may be doubled where very many pairs are compared."""
CONFIDENCE = 0.95
FEW_SCENES = 30
"""Below this many resampled units a bootstrap covers less than it claims (docs/statistics.md)."""
DEGENERATE = 0.1
"""If more than this share of the resamples is undefined there is no honest interval."""
_BLOCK = 2**17
"""Numbers in a block of multiplicities: a few of these arrays fit into a processor's cache."""


@dataclass(frozen=True, eq=False)
class Units:
    """What a bootstrap draws with replacement.

    Attributes:
        resampled: ``scenes`` where images share them, else ``images``.
        of: Number of the unit of each image, shape ``(n,)``.
        count: How many units there are.
    """

    resampled: str
    of: NDArray[np.intp]
    count: int

    @classmethod
    def from_scenes(cls, scenes: Sequence[str | None]) -> Units:
        """Gather the images of each scene; an image without one is a unit of its own."""
        names = [s if s is not None else f"\x00{i}" for i, s in enumerate(scenes)]
        unique, unit_of = np.unique(np.asarray(names), return_inverse=True)
        by_scene = any(s is not None for s in scenes)
        return cls("scenes" if by_scene else "images", unit_of, len(unique))

    @property
    def few_scenes(self) -> bool:
        """Whether intervals must be marked."""
        return self.resampled == "scenes" and self.count < FEW_SCENES

    def weights(self, resamples: int, seed: int = 0) -> Floats:
        """Return how often each image counts in each resample, shape ``(n, resamples)``."""
        return multiplicities(self.count, resamples, seed).T[self.of]

    def blocks(self, resamples: int, seed: int = 0) -> Iterator[Floats]:
        """Yield the same weights in blocks of resamples, so that memory stays small."""
        size = max(1, _BLOCK // len(self.of))
        for counts in _counts_in_blocks(self.count, resamples, seed, size):
            yield counts.T.astype(np.float64, order="C")[self.of]


def multiplicities(units: int, resamples: int, seed: int) -> Floats:
    """Return how often each unit is drawn in each resample, shape ``(resamples, units)``."""
    return _counts(units, resamples, seed).astype(np.float64)


def _counts_in_blocks(
    units: int, resamples: int, seed: int, size: int
) -> Iterator[NDArray[np.uint16]]:
    starts = range(0, resamples, size)
    if resamples <= RESAMPLES:
        counts = _counts(units, resamples, seed)
        yield from (counts[start : start + size] for start in starts)
        return
    generator = np.random.default_rng([seed, units])
    yield from (_draw(generator, units, min(size, resamples - start)) for start in starts)


# Every cell of a run asks for the same thousand resamples; drawing takes longer than using them.
@lru_cache(maxsize=4)
def _counts(units: int, resamples: int, seed: int) -> NDArray[np.uint16]:
    counts = _draw(np.random.default_rng([seed, units]), units, resamples)
    counts.flags.writeable = False
    return counts


def _draw(generator: np.random.Generator, units: int, resamples: int) -> NDArray[np.uint16]:
    even = np.full(units, 1 / units)
    return generator.multinomial(units, even, size=resamples).astype(np.uint16)


def resampled_srocc(
    reference: Floats,
    columns: Floats,
    units: Units,
    *,
    resamples: int = FINE_RESAMPLES,
    seed: int = 0,
) -> Floats:
    """Return SROCC of every column with the reference on every resample.

    Args:
        reference: What all columns are compared with, shape ``(n,)``.
        columns: Shape ``(columns, n)``.
        units: What is resampled.
        resamples: How often.
        seed: Seed of the resampling.

    Returns:
        Shape ``(resamples, columns)``, NaN where undefined.
    """
    parts = [weighted_srocc(reference, columns, w) for w in units.blocks(resamples, seed)]
    return np.concatenate(parts)


def weighted_srocc(reference: Floats, columns: Floats, weights: Floats) -> Floats:
    """Return Spearman's correlation of images that count several times, with average ranks.

    Ranks are centred cumulated weights in the order of the values: nothing is sorted again for a
    resample, and the ranks of the reference are found once for all columns.

    Args:
        reference: Shape ``(n,)``.
        columns: Shape ``(columns, n)``.
        weights: How often each image counts in each resample, shape ``(n, resamples)``.

    Returns:
        Shape ``(resamples, columns)``, NaN where undefined.
    """
    total = weights.sum(axis=0)
    order, starts = tie_groups(reference)
    ranks, own_spread = _ranks(weights, order, starts)
    sizes = np.diff(np.append(starts, len(reference)))
    centred = np.empty_like(weights)
    centred[order] = np.repeat(ranks - total / 2, sizes, axis=0)
    centred *= weights
    found = np.empty((weights.shape[1], len(columns)))
    for i, column in enumerate(columns):
        order, starts = tie_groups(column)
        ranks, spread = _ranks(weights, order, starts)
        covariance = np.einsum("gb,gb->b", _grouped(centred, order, starts), ranks)
        with np.errstate(invalid="ignore", divide="ignore"):
            found[:, i] = covariance / np.sqrt(own_spread * spread)
    return found


def tie_groups(values: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the sorting order, and where each group of equal values starts in it."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.concatenate(([True], np.diff(values[order]) != 0)))
    return order, starts


def _ranks(
    weights: Floats, order: NDArray[np.intp], starts: NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """Average rank less 1/2 of each tie group, ``(groups, resamples)``, and its sum of squares."""
    group = _grouped(weights, order, starts)
    ranks = np.cumsum(group, axis=0)
    total = ranks[-1].copy()
    ranks -= group / 2
    spread: Floats = (total**3 - np.einsum("gb,gb,gb->b", group, group, group)) / 12
    return ranks, spread


def _grouped(values: Floats, order: NDArray[np.intp], starts: NDArray[np.intp]) -> Floats:
    ordered = values[order]
    return ordered if len(starts) == len(order) else np.add.reduceat(ordered, starts, axis=0)


def interval(drawn: Floats | None, value: float | None) -> tuple[float | None, float | None]:
    """Return the ends of the percentile interval of a number's resampled values.

    Args:
        drawn: The number on every resample, NaN where undefined.
        value: The number itself.

    Returns:
        None twice where the number, or more than a tenth of the resamples, is undefined.
    """
    return _quantiles(drawn, value, (1 - CONFIDENCE) / 2)


def expanded_interval(
    drawn: Floats | None, value: float | None, units: int
) -> tuple[float | None, float | None]:
    """Return the ends of the expanded percentile interval, which is wider with few units.

    A percentile interval behaves like a normal interval with the variance divided by the number of
    units; this one takes the tail that corresponds to Student's t and one unit less (Hesterberg
    2015, "What teachers should know about the bootstrap", The American Statistician 69:371):
    ``Phi(sqrt(u / (u - 1)) * t)`` with the lower 2.5 % quantile t of u - 1 degrees of freedom.

    Args:
        drawn: The number on every resample, NaN where undefined.
        value: The number itself.
        units: How many units were resampled.

    Returns:
        None twice where ``interval`` has none, and for a single unit.
    """
    if units < 2:
        return None, None
    return _quantiles(drawn, value, _expanded_tail(units))


@cache
def _expanded_tail(units: int) -> float:
    quantile = special.stdtrit(units - 1, (1 - CONFIDENCE) / 2)
    return float(special.ndtr(np.sqrt(units / (units - 1)) * quantile))


def p_value(drawn: Floats, units: int) -> float | None:
    """Return the two-sided p value of "it is zero" that belongs to ``expanded_interval``.

    It is one minus the confidence of the widest expanded interval without zero; that is never less
    than what the number of resamples can tell.

    Args:
        drawn: The number on every resample, NaN where undefined.
        units: How many units were resampled.

    Returns:
        In ``(0, 1]``; None where there is no interval.
    """
    finite = _defined(drawn)
    if finite is None or units < 2:
        return None
    beyond = min(np.count_nonzero(finite <= 0), np.count_nonzero(finite >= 0))
    return _two_sided(min(0.5, (1 + beyond) / (1 + len(finite))), units)


def smallest_p(resamples: int, units: int) -> float:
    """Return the p value of a number that has the same sign on every resample.

    Args:
        resamples: How many.
        units: How many units were resampled; with a single one nothing can be told.
    """
    return 1.0 if units < 2 else _two_sided(1 / (1 + resamples), units)


def resamples_for(comparisons: int, units: int) -> int:
    """Return how many resamples let a correction for so many comparisons tell something.

    ``FINE_RESAMPLES``, doubled until the smallest p value there can be is half of what it must stay
    below after Holm's correction; undoubled where ``DOUBLINGS`` do not reach that, for then more of
    them tell nothing either.

    Args:
        comparisons: How many p values are corrected together.
        units: How many units are resampled.
    """
    sizes = (FINE_RESAMPLES * 2**doubled for doubled in range(DOUBLINGS + 1))
    enough = (1 - CONFIDENCE) / 2
    return next((n for n in sizes if comparisons * smallest_p(n, units) <= enough), FINE_RESAMPLES)


def _two_sided(tail: float, units: int) -> float:
    quantile = special.ndtri(tail) / np.sqrt(units / (units - 1))
    return float(2 * special.stdtr(units - 1, quantile))


def _quantiles(
    drawn: Floats | None, value: float | None, tail: float
) -> tuple[float | None, float | None]:
    finite = None if drawn is None else _defined(drawn)
    if finite is None or value is None:
        return None, None
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def _defined(drawn: Floats) -> Floats | None:
    finite = drawn[np.isfinite(drawn)]
    return finite if len(finite) >= (1 - DEGENERATE) * len(drawn) else None
