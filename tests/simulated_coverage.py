"""How often the intervals hold what they should: trials on made-up data whose truth is known.

``python tests/simulated_coverage.py`` prints the table that docs/statistics.md quotes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iqabench.metrics import Estimate
from iqabench.resampling import (
    FINE_RESAMPLES,
    RESAMPLES,
    Units,
    expanded_interval,
    interval,
    resampled_srocc,
    weighted_srocc,
)
from iqabench.statistics.damage import pair_flips
from iqabench.statistics.ranks import rank_ranges
from iqabench.statistics.resampled import Resampled
from iqabench.statistics.seeds import combine

Floats = NDArray[np.float64]

CORRELATION = 0.7
IMAGES_PER_SCENE = 8
ROWS = 4
"""Equally good rows: telling any two of them apart is a false claim."""
MOST_FOR_PAIRS = 1000
"""Images up to which pairs are counted: beyond, it takes too long for a simulation."""


@dataclass(frozen=True)
class Sampling:
    """What a trial draws.

    Attributes:
        units: How many images or scenes.
        scene_share: Share of the variance that images of a scene have in common; None for images
            of their own.
        trials: How many.
    """

    units: int
    scene_share: float | None
    trials: int

    @property
    def resamples(self) -> int:
        """As the program does for few units; fewer where the tails are not so far out."""
        return FINE_RESAMPLES if self.units < 30 else 2000

    @property
    def name(self) -> str:
        """As the table calls it."""
        kind = "images" if self.scene_share is None else f"scenes, share {self.scene_share}"
        return f"{self.units} {kind}"

    def scenes(self) -> list[str | None]:
        if self.scene_share is None:
            return [None] * self.units
        return [f"s{i}" for i in np.repeat(np.arange(self.units), IMAGES_PER_SCENE)]

    def normal(self, rng: np.random.Generator) -> Floats:
        """Standard normal numbers, one per image."""
        if self.scene_share is None:
            return rng.normal(size=self.units)
        shared: Floats = np.repeat(rng.normal(size=self.units), IMAGES_PER_SCENE)
        alone: Floats = rng.normal(size=len(shared))
        mixed: Floats = np.sqrt(self.scene_share) * shared + np.sqrt(1 - self.scene_share) * alone
        return mixed


SAMPLINGS = (
    Sampling(5, None, 1000),
    Sampling(30, None, 1000),
    Sampling(500, None, 500),
    Sampling(5, 0.3, 1000),
    Sampling(30, 0.3, 500),
    Sampling(500, 0.3, 200),
    Sampling(5, 0.7, 1000),
    Sampling(30, 0.7, 500),
    Sampling(500, 0.7, 200),
)
SEED_TRIALS = 300
COLUMNS = (
    *("srocc", "srocc expanded", "mse", "mse expanded"),
    *("difference", "flips", "false ranks"),
)


def held(sampling: Sampling, trials: int, seed: int = 11) -> dict[str, float]:
    """Return the share of trials in which each interval held the truth, and of false claims."""
    rng = np.random.default_rng([seed, sampling.units, round(100 * (sampling.scene_share or 0))])
    found = [dict(_trial(sampling, rng)) for _ in range(trials)]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def held_over_seeds(seeds: int, trials: int, seed: int = 12) -> float:
    """Return how often the interval of the mean over seeds held the mean over all seeds."""
    rng, images = np.random.default_rng([seed, seeds]), 500
    units = Units.from_scenes([None] * images)
    strengths = np.linspace(0.6, 0.8, 2001)
    truth = float(np.mean(spearman_of(strengths)))
    hits = 0
    for _ in range(trials):
        quality, shared = rng.normal(size=(2, images))
        r = rng.uniform(0.6, 0.8, size=(seeds, 1))
        errors = np.sqrt(0.5) * shared + np.sqrt(0.5) * rng.normal(size=(seeds, images))
        rows = resampled(quality, r * quality + np.sqrt(1 - r**2) * errors, units, 2000)
        hits += holds(combine(rows).mean.estimate, truth)
    return hits / trials


def spearman_of(pearson: Floats | float) -> Floats:
    """Spearman's correlation of a bivariate normal distribution (Pearson 1907)."""
    return np.asarray(6 / np.pi * np.arcsin(np.asarray(pearson) / 2))


def resampled(reference: Floats, columns: Floats, units: Units, resamples: int) -> list[Resampled]:
    once = np.ones((len(reference), 1))
    values = weighted_srocc(reference, columns, once)[0]
    drawn = resampled_srocc(reference, columns, units, resamples=resamples)
    return [
        Resampled(float(value), drawn[:, i], units.count)
        if np.isfinite(value)
        else Resampled(None, drawn[:, i], units.count)
        for i, value in enumerate(values)
    ]


def holds(estimate: Estimate, truth: float) -> bool:
    if estimate.low is None or estimate.high is None:
        return False
    return estimate.low <= truth <= estimate.high


def _trial(sampling: Sampling, rng: np.random.Generator) -> Iterator[tuple[str, bool]]:
    units = Units.from_scenes(sampling.scenes())
    quality, shared = sampling.normal(rng), sampling.normal(rng)
    errors = [np.sqrt(0.5) * (shared + sampling.normal(rng)) for _ in range(ROWS)]
    columns = np.stack(
        [CORRELATION * quality + np.sqrt(1 - CORRELATION**2) * error for error in errors]
    )
    rows = resampled(quality, columns, units, sampling.resamples)
    truth, (first, second) = float(spearman_of(CORRELATION)), rows[:2]
    plain = interval(first.drawn[:RESAMPLES], first.value)
    expanded = expanded_interval(first.drawn, first.value, units.count)
    yield "srocc", holds(Estimate(first.value, *plain), truth)
    yield "srocc expanded", holds(Estimate(first.value, *expanded), truth)
    yield from _mean(sampling, (quality - columns[0]) ** 2, units)
    yield "difference", holds((first - second).estimate, 0.0)
    ranges = rank_ranges(rows)
    yield "false ranks", any(one is not None and one != (1, ROWS) for one in ranges)
    if len(quality) <= MOST_FOR_PAIRS:
        between = CORRELATION**2 + (1 - CORRELATION**2) / 2
        flipped = 0.5 - np.arcsin(between) / np.pi
        yield "flips", holds(pair_flips(columns[0], columns[1], units).estimate, flipped)


def _mean(sampling: Sampling, squares: Floats, units: Units) -> Iterator[tuple[str, bool]]:
    """Intervals of a mean over images: MSE, whose truth is 2 - 2 r."""
    blocks = units.blocks(sampling.resamples)
    drawn = np.concatenate([squares @ weights / weights.sum(axis=0) for weights in blocks])
    value, truth = float(squares.mean()), 2 - 2 * CORRELATION
    yield "mse", holds(Estimate(value, *interval(drawn[:RESAMPLES], value)), truth)
    expanded = expanded_interval(drawn, value, units.count)
    yield "mse expanded", holds(Estimate(value, *expanded), truth)


def main() -> None:
    """Print every row of both tables as it is measured."""
    for sampling in SAMPLINGS:
        found = held(sampling, sampling.trials)
        shares = " | ".join(percent(found.get(name), sampling.trials) for name in COLUMNS)
        sys.stdout.write(f"| {sampling.name} | {sampling.trials} | {shares} |\n")
        sys.stdout.flush()
    for seeds in (3, 5, 10):
        share = percent(held_over_seeds(seeds, SEED_TRIALS), SEED_TRIALS)
        sys.stdout.write(f"| {seeds} | {SEED_TRIALS} | {share} |\n")
        sys.stdout.flush()


def percent(share: float | None, trials: int) -> str:
    """A share and its standard error, as the tables have them."""
    if share is None:
        return "-"
    error = 100 * np.sqrt(share * (1 - share) / trials)
    return f"{100 * share:.1f} ({error:.1f})"


if __name__ == "__main__":
    main()
