"""Published numbers beside measured ones, with a verdict for each. Reads result files only.

The rules are stated in docs/comparing.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

import numpy as np

from iqabench.errors import ResultsError
from iqabench.leaderboard.conditions import Check, Measured, check, finished
from iqabench.leaderboard.load import Board
from iqabench.leaderboard.rank import Lowest, is_too_weak, measures_of, standings
from iqabench.logistic import mapped_plcc
from iqabench.metrics import Estimate
from iqabench.published.paper import Paper, Place
from iqabench.results import CLEAN

Verdict = Literal["reproduced", "not reproduced", "not comparable", "not measured"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
MAPPED = "plcc_logistic"


@dataclass(frozen=True, eq=False)
class Line:
    """One published value beside one measured one, or alone.

    Attributes:
        place: Where the value stands.
        metric: The paper's name of the metric.
        ours: Ours.
        published: The value with all its printed digits.
        verdict: See docs/comparing.md.
        check: The conditions of the measured cell; None if not measured.
        estimate: The measured value with its interval; None if not measured.
        beside: The other kind of PLCC where the metric is PLCC: mapped beside raw, without an
            interval, or raw beside mapped.
        outside: How far the published value is above (below, if negative) the widened interval.
        reasons: Why it is not comparable.
        others: How many cells of the same method and attack are not shown, being less alike.
    """

    place: Place
    metric: str
    ours: str
    published: Decimal
    verdict: Verdict
    check: Check | None = None
    estimate: Estimate | None = None
    beside: Estimate | None = None
    outside: float | None = None
    reasons: tuple[str, ...] = ()
    others: int = 0

    @property
    def measured(self) -> Measured | None:
        """The cell it stands beside."""
        return None if self.check is None else self.check.measured

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        if self.estimate is None or self.estimate.value is None:
            return None
        return self.estimate.value - float(self.published)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A run beside a paper.

    Attributes:
        paper: The paper.
        lines: Every published value, in the order of its file; several lines where several
            measured cells are comparable with it.
    """

    paper: Paper
    lines: tuple[Line, ...]

    def counts(self) -> dict[str, Counter[Verdict]]:
        """Return the number of lines by table and verdict."""
        found: dict[str, Counter[Verdict]] = {t.table: Counter() for t in self.paper.tables}
        for line in self.lines:
            found[line.place.table.table][line.verdict] += 1
        return found


def compare(board: Board, paper: Paper) -> Comparison:
    """Put every published value beside the measured ones of its method and attack.

    Where cells are comparable, each of them gets a line; else the one that differs in fewest
    conditions does, on the same data set if there is one.

    Raises:
        ResultsError: A cell file is incomplete, or its per-image columns are missing or damaged.
    """
    cells = finished(board)
    mapped: dict[tuple[str, bool], Estimate] = {}
    lines: list[Line] = []
    for place in paper.places():
        checks = [found for cell in cells if (found := check(paper, place, cell)) is not None]
        chosen = [found for found in checks if not found.differences]
        chosen = chosen or sorted(checks, key=lambda found: found.distance)[:1]
        others = len(checks) - len(chosen) if chosen and chosen[0].differences else 0
        alone: list[Check | None] = [None]
        for one in chosen or alone:
            lines += _lines(paper, place, one, others, mapped)
    return Comparison(paper, tuple(lines))


def judge(published: Decimal, measured: Estimate) -> tuple[Verdict, float | None]:
    """Say whether a published value lies in the measured interval, widened by its rounding.

    Args:
        published: With all its printed digits; it stands for everything that rounds to it.
        measured: Under the same conditions.

    Returns:
        The verdict, and how far outside the published value is: above if positive.

    Example:
        >>> judge(Decimal("0.90"), Estimate(0.85, 0.80, 0.896))
        ('reproduced', 0.0)
    """
    if measured.low is None or measured.high is None:
        return "not comparable", None
    half = Decimal(5).scaleb(int(published.as_tuple().exponent) - 1)
    low, high = Decimal(repr(measured.low)) - half, Decimal(repr(measured.high)) + half
    if low <= published <= high:
        return "reproduced", 0.0
    return "not reproduced", float(published - (high if published > high else low))


def too_weak(measured: Measured) -> bool | None:
    """Say whether the attack hardly hurts the undefended reference; None if unknown or clean."""
    if measured.cell.attack == CLEAN:
        return None
    cell = measured.cell
    return is_too_weak(measured.group, measured.entry, cell.attack, cell.eps_255)


def lowest(measured: Measured) -> Lowest | None:
    """Return the lowest SROCC over every attack that the row met at the cell's eps."""
    if measured.cell.attack == CLEAN:
        return None
    for standing in standings(measured.group):
        if standing.eps_255 == measured.cell.eps_255:
            for row in standing.rows:
                if row.entry is measured.entry:
                    return row.lowest_met or row.lowest
    return None


def _lines(
    paper: Paper,
    place: Place,
    found: Check | None,
    others: int,
    mapped: dict[tuple[str, bool], Estimate],
) -> Iterator[Line]:
    for metric, published in place.values.items():
        ours = paper.metrics[metric]
        if found is None:
            yield Line(place, metric, ours, published, "not measured")
            continue
        estimate, beside = _estimates(found.measured, ours, mapped)
        verdict, outside = judge(published, estimate)
        reasons = tuple(difference.text for difference in found.differences)
        if reasons:
            verdict, outside = "not comparable", None
        elif verdict == "not comparable":
            reasons = (f"{ours} has no interval here",)
        yield Line(
            *(place, metric, ours, published, verdict, found),
            estimate=estimate,
            beside=beside,
            outside=outside,
            reasons=reasons,
            others=others,
        )


def _estimates(
    measured: Measured, ours: str, mapped: dict[tuple[str, bool], Estimate]
) -> tuple[Estimate, Estimate | None]:
    """Return the measured metric, and the other kind of PLCC beside PLCC."""
    measures = measures_of(measured.cell)
    if measures is None:
        raise ResultsError(f"{measured.cell.path}: incomplete cell file (no metrics)")
    if ours not in ("plcc", MAPPED):
        return measures.estimates[ours], None
    judged = ours == MAPPED
    key = (measured.cell.record.key, judged)
    if key not in mapped:
        mapped[key] = _mapped(measured, with_interval=judged)
    raw = measures.estimates["plcc"]
    return (mapped[key], raw) if judged else (raw, mapped[key])


def _mapped(measured: Measured, *, with_interval: bool) -> Estimate:
    columns = measured.cell.columns()
    try:
        mos = np.asarray(columns["mos"], dtype=np.float64)
        scores = np.asarray(columns["score"], dtype=np.float64)
        scenes = columns["scene"]
    except KeyError as e:
        raise ResultsError(f"{measured.cell.path}: its per-image columns lack {e}") from e
    if with_interval:
        return mapped_plcc(mos, scores, scenes)
    return mapped_plcc(mos, scores, scenes, resamples=0)
