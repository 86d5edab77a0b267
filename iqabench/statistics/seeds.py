"""Several trainings of one defense as one number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from iqabench.statistics.resampled import Resampled, weighted_sum

ENOUGH_SEEDS = 5
"""With fewer seeds, resampling them says next to nothing: the interval is of the images alone."""
_STREAM = 1
"""Keeps the draws of seeds apart from those of as many images."""


@dataclass(frozen=True, eq=False)
class Combined:
    """The mean over seeds.

    Attributes:
        mean: With its resamples.
        seeds: How many.
        low: The smallest value of a seed.
        high: The largest value of a seed.
        resampled_seeds: Whether the interval covers other seeds as well as other images. If not,
            it is an interval for the mean of exactly these trainings.
    """

    mean: Resampled
    seeds: int
    low: float | None
    high: float | None
    resampled_seeds: bool


def combine(rows: Sequence[Resampled], *, seed: int = 0) -> Combined:
    """Return the mean over several seeds of one defense on the same images.

    Every resample of the images is one for all seeds. From ``ENOUGH_SEEDS`` seeds on, the seeds of
    each resample are drawn with replacement as well, independently of the images (the "pigeonhole"
    bootstrap of crossed factors, Owen 2007, Annals of Applied Statistics 1:386), and the interval
    is expanded for whichever are fewer: images, scenes or seeds.

    Args:
        rows: One number per seed, resampled alike; at least one.
        seed: Seed of the resampling of seeds.

    Returns:
        Undefined if a seed is.

    Raises:
        ValueError: They were not resampled alike.
    """
    count = len(rows)
    mean = weighted_sum(rows, [1 / count] * count)
    enough = count >= ENOUGH_SEEDS
    if enough:
        resamples = len(mean.drawn)
        generator = np.random.default_rng([seed, count, _STREAM])
        weights = generator.multinomial(count, np.full(count, 1 / count), size=resamples) / count
        drawn = np.einsum("rs,sr->r", weights, np.stack([row.drawn for row in rows]))
        mean = Resampled(mean.value, drawn, min(mean.units, count))
    values = [row.value for row in rows if row.value is not None]
    whole = len(values) == count
    return Combined(
        mean, count, min(values) if whole else None, max(values) if whole else None, enough
    )
