from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from simulated_coverage import COLUMNS, SAMPLINGS, SEED_TRIALS, Sampling, held, held_over_seeds

DOCS = Path(__file__).parents[1] / "docs" / "statistics.md"


def quoted(name: str) -> tuple[int, list[float | None]]:
    """Return the trials and the shares of a row of a table in the documentation."""
    (line,) = [x for x in DOCS.read_text().splitlines() if x.startswith(f"| {name} |")]
    _, _, trials, *shares, _ = line.split("|")
    return int(trials), [None if "-" in x else float(x.split("(")[0]) / 100 for x in shares]


def assert_alike(share: float, trials: int, expected: float, expected_trials: int) -> None:
    """Within four standard errors, and what one trial in a hundred would make."""
    p = np.clip((share * trials + expected * expected_trials) / (trials + expected_trials), 0, 1)
    error = np.sqrt(p * (1 - p) * (1 / trials + 1 / expected_trials))
    assert abs(share - expected) <= 4 * error + 0.01


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda s: s.name)
def test_the_documentation_quotes_every_sampling(sampling: Sampling) -> None:
    trials, shares = quoted(sampling.name)
    assert trials == sampling.trials
    assert len(shares) == len(COLUMNS)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [s for s in SAMPLINGS if s.units <= 30], ids=lambda s: s.name)
def test_intervals_cover_what_the_documentation_says(sampling: Sampling) -> None:
    expected_trials, shares = quoted(sampling.name)
    found = held(sampling, 200, seed=99)
    for name, expected in zip(COLUMNS, shares, strict=True):
        assert expected is not None
        assert_alike(found[name], 200, expected, expected_trials)


@pytest.mark.slow
def test_intervals_over_500_images_cover_what_the_documentation_says() -> None:
    sampling = Sampling(500, None, 60)
    expected_trials, shares = quoted(sampling.name)
    found = held(sampling, sampling.trials, seed=99)
    for name, expected in zip(COLUMNS, shares, strict=True):
        assert expected is not None
        assert_alike(found[name], sampling.trials, expected, expected_trials)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_over_seeds_cover_what_the_documentation_says(seeds: int) -> None:
    expected_trials, (expected,) = quoted(str(seeds))
    assert expected_trials == SEED_TRIALS
    assert expected is not None
    assert_alike(held_over_seeds(seeds, 80, seed=99), 80, expected, expected_trials)
