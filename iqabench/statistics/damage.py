"""How much an attack changes the order of a model's own scores, whatever the labels say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iqabench.metrics import concordance, srocc, untied_pairs
from iqabench.resampling import RESAMPLES, Units, resampled_srocc
from iqabench.statistics.resampled import Resampled

Floats = NDArray[np.float64]


def pair_flips(
    clean: Floats, attacked: Floats, units: Units, *, resamples: int = RESAMPLES
) -> Resampled:
    """Return the share of image pairs whose order the attack reverses.

    Pairs with equal clean logits do not count. A pair that is equal under attack counts half, as if
    a coin were tossed: a model that is driven to a constant has lost half of its pairs. With
    Somers' D of the attacked logits given the clean ones it is ``(1 - D) / 2``, and ``(1 - tau) /
    2`` with Kendall's tau where nothing is equal.

    Args:
        clean: Logits without attack, shape ``(n,)``.
        attacked: Logits under attack, shape ``(n,)``.
        units: What is resampled.
        resamples: How often.

    Returns:
        In ``[0, 1]``: 0 leaves the order as it was, 1 turns it around; undefined if all clean
        logits are equal.
    """

    def flips(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            somers = concordance(clean, attacked, weights) / untied_pairs(clean, weights)
        result: Floats = (1 - somers) / 2
        return result

    (value,) = flips(np.ones((len(clean), 1)))
    drawn = flips(units.weights(resamples))
    return Resampled(float(value) if np.isfinite(value) else None, drawn, units.count)


def kept_order(
    clean: Floats, attacked: Floats, units: Units, *, resamples: int = RESAMPLES
) -> Resampled:
    """Return SROCC of the clean logits with the attacked ones.

    Args:
        clean: Logits without attack, shape ``(n,)``.
        attacked: Logits under attack, shape ``(n,)``.
        units: What is resampled.
        resamples: How often.

    Returns:
        In ``[-1, 1]``; undefined if either is constant.
    """
    drawn = resampled_srocc(clean, attacked[None, :], units, resamples=resamples)[:, 0]
    return Resampled(srocc(clean, attacked), drawn, units.count)
