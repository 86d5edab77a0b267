"""The rule of DESIGN section 9, on evidence made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from iqabench.audit.verdict import Evidence, judge
from iqabench.statistics.resampled import Resampled


def around(value: float, spread: float = 0.05) -> Resampled:
    """A number whose interval is about twice the spread to each side."""
    drawn = np.random.default_rng(0).normal(value, spread, size=4000)
    return Resampled(value, drawn, 100)


def evidence(
    clean: float = 0.7,
    apparent: float = 1.0,
    real: float = 1.0,
    doubling: float | None = 0.0,
    spread: float = 0.05,
) -> Evidence:
    return Evidence(around(clean, spread), around(apparent, spread), around(real, spread), doubling)


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (evidence(clean=0.1), "no signal"),
        (evidence(clean=0.35), "no signal"),  # its lower bound is below 0.3
        (evidence(clean=0.42, apparent=0.0), "not robust"),
        (evidence(apparent=0.15, real=0.15), "not robust"),  # its lower bound is below delta
        (evidence(apparent=-0.3, real=-0.5), "not robust"),
        (evidence(apparent=1.3, real=0.2), "masked"),
        (evidence(apparent=1.3, real=-0.1), "masked"),
        (evidence(apparent=0.4, real=0.0), "masked"),
        (evidence(apparent=1.0, real=0.9), "holds"),
        (evidence(apparent=0.6, real=1.2), "holds"),
        (evidence(apparent=1.0, real=0.9, doubling=0.02), "inconclusive"),
        (evidence(apparent=1.0, real=0.9, doubling=None), "inconclusive"),
        (evidence(apparent=0.25, real=0.15), "inconclusive"),  # R may be below delta
        (evidence(apparent=1.0, real=0.45, spread=0.15), "inconclusive"),  # about half of it
    ],
)
def test_the_first_rule_that_applies_gives_the_word(found: Evidence, word: str) -> None:
    assert judge(found).word == word


def test_a_constant_has_no_signal() -> None:
    nothing = Resampled(None, np.full(1000, np.nan), 100)
    assert judge(Evidence(nothing, nothing, nothing, 0.0)).word == "no signal"


def test_the_reason_names_the_numbers_that_decided() -> None:
    assert "0.100" in judge(evidence(clean=0.1)).why
    masked = judge(evidence(apparent=1.3, real=0.2)).why
    assert "1.300" in masked
    assert "0.200" in masked
    assert "0.0200" in judge(evidence(doubling=0.02)).why


def test_masked_is_judged_on_paired_numbers() -> None:
    """Where both numbers vary together, less is needed to tell half of one from the other."""
    shared = np.random.default_rng(1).normal(0, 0.3, size=4000)
    apparent = Resampled(1.2, 1.2 + shared, 100)
    real = Resampled(0.4, 0.4 + shared / 2, 100)
    assert judge(Evidence(around(0.7), apparent, real, 0.0)).word == "masked"
    apart = Resampled(0.4, 0.4 - shared / 2, 100)
    assert judge(Evidence(around(0.7), apparent, apart, 0.0)).word != "masked"
