"""The smallest radius at which attacks move the score of an image by a given amount."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iqabench.contracts.attack import Attack
from iqabench.errors import IncompatibleError
from iqabench.figures.subject import Subject
from iqabench.metrics import Estimate
from iqabench.progress import Counter, unseen
from iqabench.registry import Named
from iqabench.resampling import RESAMPLES, Units, expanded_interval
from iqabench.sides import Side
from iqabench.sweeping import Sweep

Floats = NDArray[np.float64]

RADII, PER_OCTAVE = 32, 4
"""Radii that are searched: so many, each 19 % larger than the one before."""


@dataclass(frozen=True, eq=False)
class MinimalEps:
    """What it takes to move the scores of one defense.

    Attributes:
        defense: The defense.
        side: The images.
        clean: Their clean scores.
        change: How far a score has to move.
        largest: The largest radius tried, in grey levels.
        eps_255: The smallest radius found per image, in grey levels; infinite where even the
            largest was too small.
        scores: Score at that radius; at the largest one where it was too small.
    """

    defense: str
    side: Side
    clean: Floats
    change: float
    largest: float
    eps_255: Floats
    scores: Floats

    @property
    def moved(self) -> float:
        """Share of the images that could be moved."""
        return float(np.isfinite(self.eps_255).mean())

    @property
    def median(self) -> Estimate:
        """Median over images; None where it is above the largest radius.

        The interval is a bootstrap interval over scenes where images share them, else over images;
        an end above the largest radius is None too.
        """
        units = Units.from_scenes([row.scene for row in self.side.rows])
        value = _medians(self.eps_255, np.ones((len(self.eps_255), 1)))[0]
        drawn = _medians(self.eps_255, units.weights(RESAMPLES))
        # Ranks do not see by how much a radius is too large; quantiles need a finite number.
        beyond = 2 * self.largest
        low, high = expanded_interval(np.minimum(drawn, beyond), value, units.count)
        return Estimate(*(_within(end, self.largest) for end in (float(value), low, high)))


def radii(largest: float) -> Floats:
    """Return the radii that are searched, ascending.

    Example:
        >>> radii(8.0)[[0, 27, 31]].round(3).tolist()
        [0.037, 4.0, 8.0]
    """
    found: Floats = largest * 2.0 ** (np.arange(1 - RADII, 1) / PER_OCTAVE)
    return found


def check_searchable(attack: Named[Attack]) -> None:
    """See that an attack is one whose radius can be searched.

    Raises:
        IncompatibleError: It is fitted to one radius, or not held to any.
    """
    info = attack.component
    if info.needs_fit:
        raise IncompatibleError(f"{attack.label} is fitted at one radius; give --attack pgd")
    if info.threat_model != "linf":
        raise IncompatibleError(f"{attack.label} has no L-infinity radius; give --attack pgd")


def minimal_eps(
    subjects: Sequence[Subject],
    side: Side,
    change: float,
    largest: float,
    progress: Counter = unseen,
) -> MinimalEps:
    """Search, image by image, the smallest radius at which one of some attacks moves the score.

    A bisection over ``radii``: the largest first, then five more. It takes for granted that what
    works at a radius works at a larger one; where an attack is not so, a radius found is one that
    worked, so never too small.

    Args:
        subjects: One defense with each attack.
        side: The images, with labels.
        change: How far the score has to move, in either direction.
        largest: Radius in grey levels.
        progress: Told of images whose radius is found.

    Raises:
        BudgetError: An attack left the ball or the pixel range.
        CellError: The defense or an attack failed.
    """
    search = _Search(tuple((s, s.sweep(side, largest)) for s in subjects), change)
    grid, everyone = radii(largest), np.arange(len(side))
    scores, reached = search.attacked(everyone, largest)
    low, high = np.zeros(len(side), dtype=int), np.full(len(side), RADII - 1)
    while (searching := reached & (low < high)).any():
        progress(int((~searching).sum()), len(side))
        middle = (low + high) // 2
        for place in np.unique(middle[searching]):
            numbers = everyone[searching & (middle == place)]
            found, enough = search.attacked(numbers, float(grid[place]))
            low[numbers[~enough]] = place + 1
            high[numbers[enough]] = place
            scores[numbers[enough]] = found[enough]
    progress(len(side), len(side))
    smallest = np.where(reached, grid[high], math.inf)
    return MinimalEps(subjects[0].label, side, search.clean, change, largest, smallest, scores)


def minimal_table(found: Sequence[MinimalEps]) -> list[list[object]]:
    """Return the numbers of the figure: a header, then a row per defense and image."""
    table: list[list[object]] = [
        ["defense", "image_id", "mos", "clean_score", "minimal_eps_255", "score"]
    ]
    for one in found:
        for i, row in enumerate(one.side.rows):
            eps = float(one.eps_255[i])
            shown = eps if math.isfinite(eps) else None
            numbers = [row.mos, float(one.clean[i]), shown, float(one.scores[i])]
            table.append([one.defense, row.image_id, *numbers])
    return table


@dataclass(frozen=True)
class _Search:
    """Prepared attacks on one defense, and what counts as success."""

    attacks: tuple[tuple[Subject, Sweep], ...]
    change: float

    @property
    def clean(self) -> Floats:
        """Clean scores."""
        scores: Floats = self.attacks[0][1].clean.scores.double().numpy()
        return scores

    def attacked(
        self, numbers: NDArray[np.intp], eps_255: float
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Return the scores of some images after the first attack that is enough, and if one is.

        Where none is, the score is the last attack's.
        """
        scores, enough = np.empty(len(numbers)), np.zeros(len(numbers), dtype=bool)
        for subject, sweep in self.attacks:
            left = np.flatnonzero(~enough)
            for _, adversarial, places in sweep.attacked(eps_255, numbers[left].tolist()):
                here, left = left[: len(places)], left[len(places) :]
                scores[here] = subject.scores(sweep.side, adversarial, places).scores.double()
            enough = np.abs(scores - self.clean[numbers]) >= self.change
        return scores, enough


def _medians(values: Floats, weights: Floats) -> Floats:
    """Return the lower weighted median for every column of weights; infinite values are largest."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order], axis=0)
    places = (2 * below >= below[-1]).argmax(axis=0)
    found: Floats = values[order][places]
    return found


def _within(value: float | None, largest: float) -> float | None:
    return None if value is None or value > largest else value
