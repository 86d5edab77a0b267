"""What randomised smoothing guarantees for a median (Chiang et al. 2020, section 3)."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import RegressorWrapper

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Certificate:
    """Bounds of the smoothed scores of some images inside L2 balls of several radii.

    Both bounds of one image at one radius hold together with the stated confidence; those of all
    images, or at all radii, need not.

    Attributes:
        score: The median of the samples, ``(N,)``.
        low: ``(N, radii)``; minus infinity where the samples are too few to say.
        high: ``(N, radii)``; infinity likewise.
    """

    score: Floats
    low: Floats
    high: Floats


def median_bounds(
    values: Floats, *, sigma: float, l2: Sequence[float], confidence: float
) -> Certificate:
    """Return bounds of the median under normal noise after any move of at most each radius.

    ``q(Phi(-l2 / sigma)) <= median(x') <= q(Phi(l2 / sigma))`` with the quantiles q at x (Chiang et
    al. 2020, Lemma 1). They are bounded by order statistics of the samples, whose ranks follow from
    the binomial law, exactly. All radii are read off the same samples.

    Args:
        values: Scores under independent noise, ``(N, samples)``.
        sigma: Standard deviation of the noise on the ``[0, 1]`` scale.
        l2: Euclidean radii on the ``[0, 1]`` scale.
        confidence: Such as 0.999.

    Example:
        >>> values = np.arange(1000.0)[None]
        >>> found = median_bounds(values, sigma=0.1, l2=[0.02, 0.05], confidence=0.999)
        >>> bool(found.low[0, 1] < 308 < 421 < found.score[0] < 579 < 691 < found.high[0, 1])
        True
    """
    samples = values.shape[1]
    ordered = np.sort(values, axis=1)
    edge = np.full((len(values), 1), np.inf)
    padded = np.concatenate([-edge, ordered, edge], axis=1)
    ranks = np.array([_rank_below(samples, radius / sigma, confidence) for radius in l2], dtype=int)
    # By symmetry the upper bound is as far from the upper end.
    return Certificate(np.median(ordered, axis=1), padded[:, ranks], padded[:, samples + 1 - ranks])


def samples_needed(*, sigma: float, l2: float, confidence: float) -> float:
    """Return how many samples it takes for finite bounds at a radius; see ``largest_l2``.

    Infinite where the quantile's share is below what a float can hold.

    Example:
        >>> samples_needed(sigma=0.12, l2=0.05, confidence=0.999)
        19
    """
    from scipy import stats

    share = float(stats.norm.cdf(-l2 / sigma))
    return math.ceil(_log_tail(confidence) / math.log1p(-share)) if share else math.inf


def largest_l2(*, sigma: float, samples: int, confidence: float) -> float:
    """Return the largest radius with finite bounds; not above 0 where there is none.

    The smallest sample lies below the quantile with the confidence wanted of one bound,
    ``(1 - share) ** samples <= (1 - confidence) / 2``.

    Example:
        >>> round(largest_l2(sigma=0.12, samples=1000, confidence=0.999), 3)
        0.291
    """
    from scipy import stats

    share = -math.expm1(_log_tail(confidence) / samples)
    return float(-sigma * stats.norm.ppf(share))


def _log_tail(confidence: float) -> float:
    return math.log((1 - confidence) / 2)


def _rank_below(samples: int, radius: float, confidence: float) -> int:
    """Return the largest k for which the k-th smallest sample bounds the quantile; 0 for none.

    The k-th smallest lies below the quantile if at least k samples do.

    Args:
        samples: How many there are.
        radius: In standard deviations of the noise.
        confidence: Of both bounds; each may fail with half of what is missing.
    """
    from scipy import stats  # most of a second to import: only who certifies pays

    tail = (1 - confidence) / 2
    share = stats.norm.cdf(-radius)
    below = int(stats.binom.ppf(tail, samples, share))
    while below > 0 and stats.binom.cdf(below - 1, samples, share) > tail:
        below -= 1
    return below


class Certifiable(RegressorWrapper):
    """A regressor that can say how far its scores can move inside an L2 ball.

    Attributes:
        sigma: Standard deviation of the normal noise it is smoothed with, on the ``[0, 1]`` scale.
    """

    sigma: float

    @abstractmethod
    def certify(
        self,
        images: Tensor,
        noise: Noise,
        *,
        l2: Sequence[float],
        samples: int,
        confidence: float,
    ) -> Certificate:
        """Return bounds of the scores of images that moved by at most each radius.

        The same samples serve every radius.

        Args:
            images: ``(N, 3, H, W)`` in ``[0, 1]``.
            noise: One stream per image.
            l2: Euclidean radii on the ``[0, 1]`` scale.
            samples: Passes per image.
            confidence: That both bounds of an image at a radius hold.
        """
