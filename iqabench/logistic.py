"""PLCC after the logistic mapping that VQEG asks for. NumPy and SciPy only."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from iqabench.metrics import RESAMPLES, Estimate, interval, is_constant, multiplicities

Floats = NDArray[np.float64]

PARAMETERS = 4
LONG, SHORT = 5000, 500
"""Evaluations until a fit has not converged: nearly straight lines take thousands. A resample gets
the short patience from the usual start, and then from the fit of all images."""
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
    squares from b1 = max(mos), b2 = min(mos), b3 = mean(x), b4 = std(x) / 4, with b1 and b2
    exchanged where raw PLCC is negative. Deviation: a fit may fall as well as rise, and then every
    mapped correlation would be positive, also of scores that an attack has turned around. So the
    result has the sign of the fitted slope.

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
    fit = _fit(x, mos, np.ones(len(mos)), [])
    if fit is None or not resamples:
        return Estimate(None if fit is None else fit.value)
    names = [s if s is not None else f"\x00{i}" for i, s in enumerate(scenes)]
    unique, unit_of = np.unique(np.asarray(names), return_inverse=True)
    weights = multiplicities(len(unique), resamples, seed)[:, unit_of]
    fits = [_fit(x, mos, row, [fit.parameters]) for row in weights]
    drawn = np.asarray([np.nan if one is None else one.value for one in fits])
    return Estimate(fit.value, *interval(drawn, fit.value))


@dataclass(frozen=True)
class _Fit:
    """A mapping that converged, and its correlation with the sign of its slope."""

    parameters: Floats
    value: float


def _fit(x: Floats, y: Floats, weights: Floats, others: Sequence[Floats]) -> _Fit | None:
    """Fit the mapping to images that count ``weights`` times.

    Args:
        x: Scores, shape ``(n,)``.
        y: Labels, shape ``(n,)``.
        weights: How often each image counts, shape ``(n,)``.
        others: Where to start again if the fit does not converge from the usual start.
    """
    there = weights > 0
    x, y, weights = x[there], y[there], weights[there]
    if is_constant(x) or is_constant(y) or len(x) <= PARAMETERS:
        return None
    raw = _correlation(x, y, weights)
    center = float(np.average(x, weights=weights))
    spread = float(np.sqrt(np.average((x - center) ** 2, weights=weights)))
    ends = (y.max(), y.min()) if raw >= 0 else (y.min(), y.max())
    usual = np.array([*ends, center, spread / 4])
    tries = SHORT if others else LONG
    for start in (usual, *others):
        parameters = _least_squares(x, y, weights, start, tries)
        if parameters is None:
            continue
        mapped = _logistic(x, *parameters)
        if is_constant(mapped):
            continue
        value = _correlation(mapped, y, weights)
        if np.isfinite(value) and value >= abs(raw) - SLACK:
            sign = np.sign(parameters[0] - parameters[1])
            return _Fit(parameters, float(sign * value))
    return None


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
