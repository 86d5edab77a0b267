"""Agreement of scores with labels, with bootstrap intervals. NumPy and SciPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

RESAMPLES = 1000
CONFIDENCE = 0.95
FEW_SCENES = 30
"""Below this many resampled units a bootstrap covers less than it claims (DESIGN section 8)."""
METRICS = ("srocc", "plcc", "krocc", "mse", "rmse")


@dataclass(frozen=True)
class Estimate:
    """A number with its percentile bootstrap interval; None where it is undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Agreement:
    """How well scores agree with labels.

    Attributes:
        estimates: By name: ``srocc``, ``plcc``, ``krocc``, ``mse``, ``rmse``; signs are kept.
        images: Number of images.
        resampled: ``images`` or ``scenes``: what the bootstrap draws with replacement.
        units: How many of those there are.
    """

    estimates: dict[str, Estimate]
    images: int
    resampled: str
    units: int

    def to_json(self) -> dict[str, object]:
        """Return plain values for a result file."""
        rows: dict[str, object] = {
            name: {"value": e.value, "low": e.low, "high": e.high}
            for name, e in self.estimates.items()
        }
        return rows | {
            "n": self.images,
            "resampled": self.resampled,
            "units": self.units,
            "few_scenes": self.resampled == "scenes" and self.units < FEW_SCENES,
        }


def agreement(
    mos: Floats,
    scores: Floats,
    logits: Floats,
    scenes: Sequence[str | None],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Agreement:
    """Return SROCC, KROCC, PLCC, MSE and RMSE of scores against labels.

    Rank correlations use the logits, because float32 sigmoids tie where logits do not; PLCC (raw,
    no logistic mapping), MSE and RMSE use the scores. A correlation with a constant is undefined
    and becomes None. Intervals are percentile bootstrap intervals over scenes where images share
    scenes, else over images; the resamples depend on the number of units and the seed alone, so
    that two cells on the same images use the same ones.

    Args:
        mos: Labels, shape ``(n,)``.
        scores: Scores, shape ``(n,)``.
        logits: Logits, shape ``(n,)``.
        scenes: Scene of each image, or None for images of their own.
        resamples: Number of bootstrap resamples; 0 gives no intervals.
        seed: Seed of the resampling.
    """
    by_scene = any(s is not None for s in scenes)
    names = [s if s is not None else f"\x00{i}" for i, s in enumerate(scenes)]
    unique, unit_of = np.unique(np.asarray(names), return_inverse=True)
    values = _point(mos, scores, logits)
    drawn: dict[str, Floats] = {}
    if resamples:
        weights = multiplicities(len(unique), resamples, seed)[:, unit_of]
        drawn = _resampled(mos, scores, logits, weights)
    estimates = {
        name: Estimate(values[name], *interval(drawn.get(name), values[name])) for name in METRICS
    }
    return Agreement(estimates, len(mos), "scenes" if by_scene else "images", len(unique))


def srocc(mos: Floats, logits: Floats) -> float | None:
    """Return Spearman's rank correlation, None where it is undefined."""
    if is_constant(mos) or is_constant(logits):
        return None
    return float(stats.spearmanr(mos, logits).statistic)


def _point(mos: Floats, scores: Floats, logits: Floats) -> dict[str, float | None]:
    mse = float(np.mean((scores - mos) ** 2))
    rankable = not (is_constant(mos) or is_constant(logits))
    linear = not (is_constant(mos) or is_constant(scores))
    return {
        "srocc": srocc(mos, logits),
        "plcc": float(stats.pearsonr(mos, scores).statistic) if linear else None,
        "krocc": float(stats.kendalltau(mos, logits).statistic) if rankable else None,
        "mse": mse,
        "rmse": float(np.sqrt(mse)),
    }


def is_constant(values: Floats) -> bool:
    """Say whether no correlation with these values is defined."""
    return len(values) < 2 or bool(np.ptp(values) == 0)


def multiplicities(units: int, resamples: int, seed: int) -> Floats:
    """Return how often each unit is drawn in each resample, shape ``(resamples, units)``."""
    generator = np.random.default_rng([seed, units])
    return generator.multinomial(units, np.full(units, 1 / units), size=resamples).astype(float)


def _resampled(mos: Floats, scores: Floats, logits: Floats, weights: Floats) -> dict[str, Floats]:
    """Every metric on every resample, shape ``(resamples,)`` each, NaN where undefined.

    A resample is a row of multiplicities: no sorting per resample, one pass of matrix algebra.
    """
    total = weights.sum(axis=1)
    mse = weights @ ((scores - mos) ** 2) / total
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "srocc": _pearson(_ranks(mos, weights), _ranks(logits, weights), weights),
            "plcc": _pearson(mos[None, :], scores[None, :], weights),
            "krocc": _kendall(mos, logits, weights),
            "mse": mse,
            "rmse": np.sqrt(mse),
        }


def _tie_groups(values: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The sorting order, and where each group of equal values starts in it."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.concatenate(([True], np.diff(values[order]) != 0)))
    return order, starts


def _ranks(values: Floats, weights: Floats) -> Floats:
    """Average rank of each value within each resample, shape ``(resamples, n)``."""
    order, starts = _tie_groups(values)
    group = np.add.reduceat(weights[:, order], starts, axis=1)
    rank = np.cumsum(group, axis=1) - group + (group + 1) / 2
    sizes = np.diff(np.append(starts, len(values)))
    ranks = np.empty_like(weights)
    ranks[:, order] = np.repeat(rank, sizes, axis=1)
    return ranks


def _pearson(x: Floats, y: Floats, weights: Floats) -> Floats:
    total = weights.sum(axis=1, keepdims=True)
    dx = x - (weights * x).sum(axis=1, keepdims=True) / total
    dy = y - (weights * y).sum(axis=1, keepdims=True) / total
    cov = (weights * dx * dy).sum(axis=1)
    result: Floats = cov / np.sqrt((weights * dx**2).sum(axis=1) * (weights * dy**2).sum(axis=1))
    return result


def _kendall(x: Floats, y: Floats, weights: Floats, block: int = 512) -> Floats:
    """Kendall's tau-b of each resample: sum of w_i w_j sgn(dx) sgn(dy) over untied pairs."""
    concordant = np.zeros(len(weights))
    w32 = weights.astype(np.float32)
    for start in range(0, len(x), block):
        part = slice(start, start + block)
        signs = np.sign(x[:, None] - x[None, part]) * np.sign(y[:, None] - y[None, part])
        concordant += ((w32 @ signs.astype(np.float32)) * w32[:, part]).sum(axis=1)
    untied = 1.0
    for values in (x, y):
        order, starts = _tie_groups(values)
        tied = (np.add.reduceat(weights[:, order], starts, axis=1) ** 2).sum(axis=1)
        untied = untied * (weights.sum(axis=1) ** 2 - tied)
    return np.asarray(concordant / np.sqrt(untied), dtype=np.float64)


def interval(drawn: Floats | None, value: float | None) -> tuple[float | None, float | None]:
    """Return the ends of the percentile interval of a metric's resampled values.

    Args:
        drawn: The metric on every resample, NaN where undefined.
        value: The metric itself.

    Returns:
        None twice where the metric, or more than a tenth of the resamples, is undefined.
    """
    if drawn is None or value is None:
        return None, None
    finite = drawn[np.isfinite(drawn)]
    if len(finite) < 0.9 * len(drawn):  # most resamples are degenerate: no honest interval
        return None, None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)
