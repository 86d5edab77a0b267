"""What randomised smoothing guarantees for a median (Chiang et al. 2020, section 3)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import RegressorWrapper

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Certificate:
    """Bounds of the smoothed score inside an L2 ball, each right with the stated confidence.

    Attributes:
        low: ``(N,)``; minus infinity where the samples are too few to say.
        high: ``(N,)``; infinity likewise.
    """

    low: Floats
    high: Floats


def median_bounds(values: Floats, *, sigma: float, l2: float, confidence: float) -> Certificate:
    """Return bounds of the median under normal noise after any move of at most ``l2``.

    ``q(Phi(-l2 / sigma)) <= median(x') <= q(Phi(l2 / sigma))`` with the quantiles q at x (Chiang et
    al. 2020, Lemma 1). They are bounded by order statistics of the samples, whose ranks follow from
    the binomial law, exactly; both hold together with the confidence.

    Args:
        values: Scores under independent noise, ``(N, samples)``.
        sigma: Standard deviation of the noise on the ``[0, 1]`` scale.
        l2: Euclidean radius on the ``[0, 1]`` scale.
        confidence: Such as 0.999.

    Example:
        >>> found = median_bounds(np.arange(1000.0)[None], sigma=0.1, l2=0.05, confidence=0.999)
        >>> bool(found.low[0] < 308 < 691 < found.high[0])
        True
    """
    from scipy import stats  # most of a second to import: only who certifies pays

    samples = values.shape[1]
    ordered = np.sort(values, axis=1)
    tail = (1 - confidence) / 2
    share = stats.norm.cdf(-l2 / sigma)
    # The k-th smallest sample lies below the quantile if at least k samples do.
    below = int(stats.binom.ppf(tail, samples, share))
    while below > 0 and stats.binom.sf(below - 1, samples, share) < 1 - tail:
        below -= 1
    edge = np.full((len(values), 1), np.inf)
    padded = np.concatenate([-edge, ordered, edge], axis=1)
    # By symmetry the upper bound is as far from the upper end.
    return Certificate(padded[:, below], padded[:, samples + 1 - below])


class Certifiable(RegressorWrapper):
    """A regressor that can say how far its scores can move inside an L2 ball."""

    @abstractmethod
    def certify(
        self, images: Tensor, noise: Noise, *, l2: float, samples: int, confidence: float
    ) -> Certificate:
        """Return bounds of the scores of images that moved by at most ``l2``.

        Args:
            images: ``(N, 3, H, W)`` in ``[0, 1]``.
            noise: One stream per image.
            l2: Euclidean radius on the ``[0, 1]`` scale.
            samples: Passes per image.
            confidence: That both bounds hold.
        """
