"""The scores of MSU's robustness benchmark, for a fixed range of scores and as they compute them.

Antsiferova et al. 2024, "Comparing the robustness of modern no-reference image- and video-quality
metrics to adversarial attacks" (arXiv 2310.06958), formulas as in ``score_methods.py`` of their
code. There scores are first scaled by the smallest and the largest clean score of the images at
hand, so that the same attack gets another score on another selection of images. Here the range is
an argument: ``[0, 1]`` for what iqabench's scores mean, or ``range_of`` the images for theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iqabench.resampling import RESAMPLES, Units
from iqabench.statistics.resampled import Resampled

Floats = NDArray[np.float64]

TINY = 1e-6
"""Added to every change of a score: one that does not change counts as changed by this much."""
NAMES = ("robustness", "absolute_gain", "relative_gain", "wasserstein", "energy")


@dataclass(frozen=True, eq=False)
class MSUScores:
    """The five scores of one attack.

    Attributes:
        robustness: R, mean of ``log10(max(1 - s, s) / (|s - a| + 1e-6))``: higher is more robust; 1
            means that scores move by a tenth of the way they could. At most 6.
        absolute_gain: Mean of ``a - s``; an attack that raises some scores and lowers others may
            have a gain of 0.
        relative_gain: Mean of ``(a - s) / (s + 1)``.
        wasserstein: Wasserstein-1 distance between the distributions of s and a, with the sign of
            the absolute gain. Distributions know no pairs: swapped scores are at distance 0.
        energy: Energy distance between them, with the same sign.
    """

    robustness: Resampled
    absolute_gain: Resampled
    relative_gain: Resampled
    wasserstein: Resampled
    energy: Resampled

    def __iter__(self) -> Iterator[tuple[str, Resampled]]:
        """Yield names and scores in the order of ``NAMES``."""
        return ((name, getattr(self, name)) for name in NAMES)


def range_of(clean: Floats) -> tuple[float, float] | None:
    """Return the smallest and the largest score, as MSU scales by; None if they are equal."""
    low, high = float(clean.min()), float(clean.max())
    return (low, high) if low < high else None


def msu_scores(
    clean: Floats,
    attacked: Floats,
    units: Units,
    *,
    low: float = 0.0,
    high: float = 1.0,
    resamples: int = RESAMPLES,
) -> MSUScores:
    """Return MSU's scores of an attack, with resamples for their intervals.

    Below, s and a are the scores scaled so that ``low`` is 0 and ``high`` is 1. The range is the
    same in every resample.

    Args:
        clean: Scores without attack, shape ``(n,)``.
        attacked: Scores under attack, shape ``(n,)``.
        units: What is resampled.
        low: The score that counts as 0.
        high: The score that counts as 1, above ``low``.
        resamples: How often.
    """
    s, a = (clean - low) / (high - low), (attacked - low) / (high - low)
    per_image = np.stack(
        [np.log10(np.maximum(1 - s, s) / (np.abs(s - a) + TINY)), a - s, (a - s) / (s + 1)]
    )
    values = _scores(s, a, per_image, np.ones((len(s), 1)))[:, 0]
    blocks = [_scores(s, a, per_image, weights) for weights in units.blocks(resamples)]
    drawn = np.concatenate(blocks, axis=1)
    return MSUScores(
        *(Resampled(float(v), d, units.count) for v, d in zip(values, drawn, strict=True))
    )


def _scores(s: Floats, a: Floats, per_image: Floats, weights: Floats) -> Floats:
    """All five on every resample, shape ``(5, resamples)``."""
    means = per_image @ weights / weights.sum(axis=0)
    return np.concatenate([means, np.sign(means[1]) * _distances(s, a, weights)])


def _distances(s: Floats, a: Floats, weights: Floats) -> Floats:
    """Wasserstein-1 and energy distance on every resample, shape ``(2, resamples)``.

    With the cumulative distributions S and A: the integral of |S - A|, and the root of twice the
    integral of (S - A)^2. Both are constant between the sorted values.
    """
    both = np.concatenate([s, a])
    order = np.argsort(both, kind="stable")
    widths = np.diff(both[order])
    signed = np.concatenate([weights, -weights])[order] / weights.sum(axis=0)
    apart = np.cumsum(signed, axis=0)[:-1]
    return np.stack([widths @ np.abs(apart), np.sqrt(2 * (widths @ apart**2))])
