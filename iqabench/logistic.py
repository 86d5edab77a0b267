"""PLCC after the logistic mapping that VQEG asks for. NumPy and SciPy only."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from iqabench.metrics import Estimate, is_constant
from iqabench.resampling import RESAMPLES, Units, interval

Floats = NDArray[np.float64]

PARAMETERS = 4
LONG, SHORT = 5000, 500
"""Patience with the fit of all images and of a resample: nearly straight lines take thousands."""
SLACK = 1e-3
"""A fit whose correlation is this much below a straight line's has not converged."""


def mapped_plcc(
    mos: Floats,
    scores: Floats,
    scenes: Sequence[str | None],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Return PLCC between labels and scores mapped by a fitted four-parameter logistic.

    The mapping is ``(b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2`` (VQEG 2003, phase II), by least
    squares from b1 = max(mos), b2 = min(mos), b3 = mean(x), b4 = std(x) / 4. Deviation: a fit may
    fall as well as rise, and then every mapped correlation would be positive, also of scores that
    an attack has turned around. So the result has the sign of the fitted slope.

    The interval fits every resample anew; resamples are those of ``metrics.agreement``.

    Args:
        mos: Labels, shape ``(n,)``.
        scores: Scores, shape ``(n,)``.
        scenes: Scene of each image, or None for images of their own.
        resamples: Number of bootstrap resamples; 0 gives no interval.
        seed: Seed of the resampling.

    Returns:
        The correlation in ``[-1, 1]``; its value is None with a constant, with no more images than
        parameters, and where the fit does not converge.
    """
    if is_constant(mos) or is_constant(scores) or len(mos) <= PARAMETERS:
        return Estimate(None)
    x = (scores - scores.mean()) / scores.std()
    value = _fit(x, mos, np.ones(len(mos)), LONG)
    if value is None or not resamples:
        return Estimate(value)
    weights = Units.from_scenes(scenes).weights(resamples, seed)
    drawn = np.asarray([_fit(x, mos, row, SHORT) for row in weights.T], dtype=np.float64)
    return Estimate(value, *interval(drawn, value))


def _fit(x: Floats, y: Floats, weights: Floats, tries: int) -> float | None:
    """Return the mapped correlation of images that count ``weights`` times.

    Args:
        x: Scores, shape ``(n,)``.
        y: Labels, shape ``(n,)``.
        weights: How often each image counts, shape ``(n,)``.
        tries: Evaluations after which it has not converged.
    """
    there = weights > 0
    x, y, weights = x[there], y[there], weights[there]
    if is_constant(x) or is_constant(y) or len(x) <= PARAMETERS:
        return None
    raw = _correlation(x, y, weights)
    center = float(np.average(x, weights=weights))
    spread = float(np.sqrt(np.average((x - center) ** 2, weights=weights)))
    start = np.array([y.max(), y.min(), center, spread / 4])
    parameters = _least_squares(x, y, weights, start, tries)
    if parameters is None or is_constant(mapped := _logistic(x, *parameters)):
        return None
    value = _correlation(mapped, y, weights)
    if not np.isfinite(value) or value < abs(raw) - SLACK:
        return None
    return float(np.sign(parameters[0] - parameters[1]) * value)


def _least_squares(
    x: Floats, y: Floats, weights: Floats, start: Floats, tries: int
) -> Floats | None:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", optimize.OptimizeWarning)  # the covariance is not used
        try:
            found, _ = optimize.curve_fit(
                _logistic,
                x,
                y,
                p0=start,
                sigma=1 / np.sqrt(weights),
                jac=_slopes,
                maxfev=tries,
            )
        except RuntimeError:
            return None
    return found if np.isfinite(_logistic(x, *found)).all() else None


def _logistic(x: Floats, b1: float, b2: float, b3: float, b4: float) -> Floats:
    mapped: Floats = (b1 - b2) * special.expit((x - b3) / _width(b4)) + b2
    return mapped


def _slopes(x: Floats, b1: float, b2: float, b3: float, b4: float) -> Floats:
    """Derivatives of the mapping by its parameters, shape ``(n, 4)``."""
    z = (x - b3) / _width(b4)
    s = special.expit(z)
    steep = (b1 - b2) * s * (1 - s) / _width(b4)
    sign = 1.0 if b4 >= 0 else -1.0
    return np.stack([s, 1 - s, -steep, -steep * z * sign], axis=1)


def _width(b4: float) -> float:
    return max(abs(b4), 1e-9)


def _correlation(x: Floats, y: Floats, weights: Floats) -> float:
    dx = x - np.average(x, weights=weights)
    dy = y - np.average(y, weights=weights)
    both = (weights * dx**2).sum() * (weights * dy**2).sum()
    return float((weights * dx * dy).sum() / np.sqrt(both))
