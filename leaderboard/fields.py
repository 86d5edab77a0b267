"""Numbers as fields of the page: a text, its interval, and what a column is sorted by."""

from __future__ import annotations

from dataclasses import dataclass, replace

from iqabench.leaderboard.rank import PER_IMAGE_WORST, Lowest, Measures, Result, Row
from iqabench.leaderboard.statistics_tables import Field
from iqabench.metrics import Estimate

WORDS = {"undefined": "-1e9", "failed": "-2e9"}
"""What words without a number are sorted by; every other word stands below them."""
LAST = "-3e9"


@dataclass(frozen=True)
class Number:
    """A table field: a number with its interval, or the word that stands for it."""

    text: str
    interval: str = ""
    is_weak: bool = False
    is_deciding: bool = False
    note: str = ""
    below: str = ""
    value: float | None = None

    @property
    def is_word(self) -> bool:
        """Whether no number stands here."""
        return self.value is None

    @property
    def order(self) -> str:
        """What its column is sorted by."""
        return WORDS.get(self.text, LAST) if self.value is None else f"{self.value:.6g}"


def estimate_number(estimate: Estimate) -> Number:
    """Return an estimate to three decimals with its interval."""
    if estimate.value is None:
        return Number("undefined")
    interval = "no interval"
    if estimate.low is not None and estimate.high is not None:
        interval = minus(f"{estimate.low:.3f} to {estimate.high:.3f}")
    return Number(minus(f"{estimate.value:.3f}"), interval, value=estimate.value)


def statistic_number(field: Field) -> Number:
    """Return a field of the statistics' tables."""
    if field.estimate is None:
        return Number("\N{EN DASH}")
    number = estimate_number(field.estimate)
    return replace(number, is_deciding=field.is_strong, below=minus(field.small))


def clean_number(row: Row) -> Number:
    """Return a row's SROCC without attack."""
    if row.clean is None:
        return Number("not run" if row.entry.clean is None else "failed")
    return estimate_number(row.clean.srocc)


def result_number(result: Result, deciding: bool) -> Number:
    """Return what one attack left of a row, with its marks."""
    if result.status != "done":
        word = "not run" if result.status == "missing" else "failed"
        return Number(word, note=result.error or "")
    own = result.srocc_nonadaptive
    below = "" if own is None else f"{minus(f'{own:.3f}')} by its own gradient"
    number = compared_number(result.measures, deciding)
    return replace(number, is_weak=result.too_weak is True, below=below)


def compared_number(measures: Measures | None, deciding: bool) -> Number:
    """Return SROCC, or that there is nothing to compare."""
    if measures is None:
        return Number("not compared")
    return replace(estimate_number(measures.srocc), is_deciding=deciding)


def worst_number(row: Row) -> Number:
    """Return the per-image worst of a row."""
    return compared_number(row.worst, row.lowest is not None and row.lowest.by == PER_IMAGE_WORST)


def lowest_number(lowest: Lowest | None) -> Number:
    """Return the number that ranks."""
    if lowest is None:
        return Number("not ranked")
    return replace(estimate_number(lowest.srocc), is_deciding=True, note=lowest.by)


def minus(text: str) -> str:
    """Write negative numbers with a minus sign rather than a hyphen."""
    return text.replace("-", "\N{MINUS SIGN}")
