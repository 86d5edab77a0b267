"""Agreement of scores with labels, with bootstrap intervals. NumPy and SciPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from iqabench.resampling import (
    FEW_SCENES,
    RESAMPLES,
    Units,
    interval,
    tie_groups,
    weighted_srocc,
)

Floats = NDArray[np.float64]

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
    units = Units.from_scenes(scenes)
    values = _point(mos, scores, logits)
    drawn: dict[str, Floats] = {}
    if resamples:
        drawn = _resampled(mos, scores, logits, units.weights(resamples, seed))
    estimates = {
        name: Estimate(values[name], *interval(drawn.get(name), values[name])) for name in METRICS
    }
    return Agreement(estimates, len(mos), units.resampled, units.count)


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


def _resampled(mos: Floats, scores: Floats, logits: Floats, weights: Floats) -> dict[str, Floats]:
    """Every metric on every resample, shape ``(resamples,)`` each, NaN where undefined.

    A resample is a column of multiplicities: no sorting per resample, one pass of matrix algebra.
    """
    mse = ((scores - mos) ** 2) @ weights / weights.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "srocc": weighted_srocc(mos, logits[None, :], weights)[:, 0],
            "plcc": _pearson(mos, scores, weights),
            "krocc": _kendall(mos, logits, weights),
            "mse": mse,
            "rmse": np.sqrt(mse),
        }


def _pearson(x: Floats, y: Floats, weights: Floats) -> Floats:
    total = weights.sum(axis=0)
    dx = x[:, None] - x @ weights / total
    dy = y[:, None] - y @ weights / total
    cov = (weights * dx * dy).sum(axis=0)
    result: Floats = cov / np.sqrt((weights * dx**2).sum(axis=0) * (weights * dy**2).sum(axis=0))
    return result


def _kendall(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Kendall's tau-b of each resample."""
    result: Floats = concordance(x, y, weights) / np.sqrt(
        untied_pairs(x, weights) * untied_pairs(y, weights)
    )
    return result


def concordance(x: Floats, y: Floats, weights: Floats, block: int = 512) -> Floats:
    """Return the pairs in the same order less those in opposite order, on each resample.

    Args:
        x: Shape ``(n,)``.
        y: Shape ``(n,)``.
        weights: How often each image counts in each resample, shape ``(n, resamples)``.
        block: Images whose pairs are looked at together; it bounds the memory.

    Returns:
        Shape ``(resamples,)``; each pair counts twice, once in either order.
    """
    found = np.zeros(weights.shape[1])
    w32 = np.ascontiguousarray(weights.T, dtype=np.float32)
    for start in range(0, len(x), block):
        part = slice(start, start + block)
        signs = np.sign(x[:, None] - x[None, part]) * np.sign(y[:, None] - y[None, part])
        found += ((w32 @ signs.astype(np.float32)) * w32[:, part]).sum(axis=1)
    return found


def untied_pairs(values: Floats, weights: Floats) -> Floats:
    """Return how many pairs have different values on each resample, counted as above."""
    order, starts = tie_groups(values)
    tied = (np.add.reduceat(weights[order], starts, axis=0) ** 2).sum(axis=0)
    result: Floats = weights.sum(axis=0) ** 2 - tied
    return result
