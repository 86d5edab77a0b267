"""Area under the curve of SROCC against eps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iqabench.statistics.resampled import Resampled, weighted_sum


def area(eps_255: Sequence[float], srocc: Sequence[Resampled]) -> Resampled:
    """Return the area under SROCC against eps from 0 to the largest eps, divided by that eps.

    Trapezoids between the measured radii. So it is the mean SROCC over that range if the curve is
    straight between them: 1 if every image keeps its rank at every eps, 0 for nothing, and negative
    where the order is turned around. Areas over different radii are different quantities.

    Args:
        eps_255: Radii in grey levels, strictly ascending from 0, at least two.
        srocc: SROCC at each of them; the first one without attack.

    Returns:
        In ``[-1, 1]``; undefined if SROCC is at one of the radii.

    Raises:
        ValueError: The radii are not as said.
    """
    return weighted_sum(srocc, trapezoid_weights(eps_255))


def trapezoid_weights(eps_255: Sequence[float]) -> list[float]:
    """Return how much each radius counts in an area; they sum to 1.

    Raises:
        ValueError: The radii do not ascend strictly from 0, or there is only one.

    Example:
        >>> trapezoid_weights([0, 1, 4])
        [0.125, 0.5, 0.375]
    """
    radii = np.asarray(eps_255, dtype=np.float64)
    steps = np.diff(radii)
    if len(radii) < 2 or radii[0] != 0 or not np.all(steps > 0):
        raise ValueError(f"radii must ascend strictly from 0, not {list(eps_255)}")
    weights = (np.append(steps, 0) + np.append(0, steps)) / 2 / radii[-1]
    return [float(weight) for weight in weights]
