"""A number together with its value on every bootstrap resample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iqabench.metrics import Estimate
from iqabench.resampling import expanded_interval, p_value

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Resampled:
    """A number and its value on every resample; resample i is the same in every such number.

    Attributes:
        value: On the images as they are; None if undefined.
        drawn: On every resample, shape ``(resamples,)``, NaN where undefined.
        units: How many units were resampled.
    """

    value: float | None
    drawn: Floats
    units: int

    @property
    def estimate(self) -> Estimate:
        """The number with its expanded percentile interval."""
        return Estimate(self.value, *expanded_interval(self.drawn, self.value, self.units))

    @property
    def p(self) -> float | None:
        """Two-sided p value of "it is zero"; None where there is no interval."""
        return None if self.value is None else p_value(self.drawn, self.units)

    def __sub__(self, other: Resampled) -> Resampled:
        """Return the paired difference, on the resamples that both share.

        Raises:
            ValueError: The two were not resampled alike.
        """
        return weighted_sum([self, other], [1.0, -1.0])


def weighted_sum(parts: Sequence[Resampled], weights: Sequence[float]) -> Resampled:
    """Return a linear combination of numbers on the same images; undefined if one of them is.

    Args:
        parts: At least one, resampled alike.
        weights: As many.

    Raises:
        ValueError: They were not resampled alike: other units, or another number of resamples.
    """
    if len({(part.units, len(part.drawn)) for part in parts}) != 1:
        raise ValueError("only numbers on the same resamples can be combined")
    values = [part.value for part in parts]
    known = [value for value in values if value is not None]
    value = float(np.dot(weights, known)) if len(known) == len(values) else None
    drawn = np.asarray(weights) @ np.stack([part.drawn for part in parts])
    return Resampled(value, drawn, parts[0].units)
