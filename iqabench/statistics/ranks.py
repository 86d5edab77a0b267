"""Which rows can be told apart, and the ranks that are left to each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from iqabench.resampling import CONFIDENCE
from iqabench.statistics.resampled import Resampled


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p values adjusted for being several (Holm 1979, Scandinavian J. Statistics 6:65).

    Rejecting what is below 0.05 then makes a single false claim among all of them in at most 5 % of
    all cases, whatever the dependence between them. The k-th smallest of m is multiplied by
    ``m - k + 1``, and is no smaller than the one before.

    Args:
        p_values: Each in ``[0, 1]``; None counts as a comparison that tells nothing (p = 1).

    Returns:
        In the given order; None stays None.

    Example:
        >>> [round(p, 6) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: _or_one(p_values[i]))
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for position, i in enumerate(order):
        p = p_values[i]
        if p is not None:
            largest = max(largest, min(1.0, p * (len(p_values) - position)))
            adjusted[i] = largest
    return adjusted


def rank_ranges(rows: Sequence[Resampled]) -> list[tuple[int, int] | None]:
    """Return the ranks that each row may have, given which pairs of rows can be told apart.

    A row ranks below those that are told to be better (``told_apart``) and above those that are
    told to be worse; all ranges hold the true ranks together with a confidence of 95 % (Mogstad,
    Romano, Shaikh and Wilhelm 2024, "Inference for ranks", Review of Economic Studies 91:476). Two
    rows that can be told apart may still share a rank in their ranges, and that two rows cannot be
    told apart does not carry on to a third.

    Args:
        rows: Numbers on the same images, higher is better.

    Returns:
        Best and worst rank of each, from 1; None for a row that is undefined, which ranks below
        all others.
    """
    ranked = sum(row.value is not None for row in rows)
    above, below = [0] * len(rows), [0] * len(rows)
    for better, worse in told_apart(rows):
        above[worse] += 1
        below[better] += 1
    return [
        None if row.value is None else (1 + above[i], ranked - below[i])
        for i, row in enumerate(rows)
    ]


def told_apart(rows: Sequence[Resampled]) -> list[tuple[int, int]]:
    """Return the pairs of rows that differ clearly, as places of the better and of the worse one.

    All pairs of defined rows are tested by their paired differences, corrected by Holm.

    Args:
        rows: Numbers on the same images, higher is better.
    """
    values = {i: row.value for i, row in enumerate(rows) if row.value is not None}
    pairs = list(itertools.combinations(values, 2))
    adjusted = holm([(rows[i] - rows[j]).p for i, j in pairs])
    apart = [pair for pair, p in zip(pairs, adjusted, strict=True) if is_told_apart(p)]
    return [(i, j) if values[i] > values[j] else (j, i) for i, j in apart]


def is_told_apart(p: float | None) -> bool:
    """Say whether an adjusted p value separates two rows."""
    return p is not None and p < 1 - CONFIDENCE


def _or_one(p: float | None) -> float:
    return 1.0 if p is None else p
