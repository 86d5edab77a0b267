"""What the index of a site says of a run: its data sets, its rows, and the best of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from iqabench.leaderboard.load import Board, Group
from iqabench.leaderboard.rank import Row, Standing, reference_of, standings
from iqabench.leaderboard.tables import remarks
from iqabench.metrics import Estimate


@dataclass(frozen=True)
class Number:
    """A number as people read it, with its interval; the text may say why there is none."""

    text: str
    interval: str = ""


@dataclass(frozen=True)
class Best:
    """The row that ranks first at one eps.

    Attributes:
        eps: Radius in grey levels.
        label: The row; several are joined where they share the rank.
        is_reference: Whether it is undefended itself.
        lowest: What ranks it.
        by: The attack that this number is of.
        met: The lowest over every attack that this row met, where it met more; else empty.
        ranks: Ranks that the images leave open, such as ``1-3``.
        undefended: The same number of its undefended reference.
        rows: How many rows are ranked.
        is_weak: Whether all attacks that are compared are too weak.
        note: Why nothing is ranked.
    """

    eps: str
    label: str = ""
    is_reference: bool = False
    lowest: Number = Number("not ranked")
    by: str = ""
    met: str = ""
    ranks: str = ""
    undefended: Number = Number("unknown")
    rows: int = 0
    is_weak: bool = False
    note: str = ""


@dataclass(frozen=True)
class Summary:
    """One data set of a run.

    Attributes:
        title: Its name for people.
        is_proxy: Whether its labels are a proxy.
        few_scenes: Whether intervals cover less than they claim.
        sample: What numbers rest on, in words.
        defenses: Rows, sorted.
        attacks: Attacks, sorted.
        best: By eps, ascending.
        remarks: What must be known before any number.
    """

    title: str
    is_proxy: bool
    few_scenes: bool
    sample: str
    defenses: tuple[str, ...]
    attacks: tuple[str, ...]
    best: tuple[Best, ...]
    remarks: tuple[str, ...]


def summaries(board: Board) -> Iterator[Summary]:
    """Yield what the index says of each data set.

    Raises:
        ResultsError: Per-image columns are missing, damaged, or of different images.
    """
    for group in board.groups:
        sample = group.sample
        yield Summary(
            group.title,
            group.proxy_labels,
            sample is not None and sample.few_scenes,
            f"n = {sample.n} images, 95 % intervals over {sample.units} {sample.resampled}"
            if sample
            else "no cell succeeded",
            tuple(entry.label for entry in group.entries),
            tuple(group.attacks.values()),
            tuple(_best(group, standing) for standing in standings(group) if standing.attacks),
            tuple(remarks(group)),
        )


def _best(group: Group, standing: Standing) -> Best:
    eps = f"{standing.eps_255:g}"
    first = [row for row in standing.rows if row.rank == 1]
    if not first or first[0].lowest is None:
        return Best(eps, note="no attack has a result for every row")
    row, lowest = first[0], first[0].lowest
    met = row.lowest_met.srocc if row.lowest_met else lowest.srocc
    return Best(
        eps,
        ", ".join(one.entry.label for one in first),
        row.entry.is_reference,
        _number(lowest.srocc),
        lowest.by,
        _number(met).text if met != lowest.srocc else "",
        "\N{EN DASH}".join(map(str, row.open_ranks or ())),
        _undefended(group, standing, row),
        sum(one.rank is not None for one in standing.rows),
        _is_weak(standing),
    )


def _undefended(group: Group, standing: Standing, row: Row) -> Number:
    references = reference_of(group, row.entry)
    found = [one for one in standing.rows if one.entry in references and one.lowest]
    if not found or found[0].lowest is None:
        return Number("unknown")
    return _number(found[0].lowest.srocc)


def _is_weak(standing: Standing) -> bool:
    marks = [
        result.too_weak
        for row in standing.rows
        for result in row.results
        if row.met and result.attack in standing.compared
    ]
    return bool(marks) and all(marks)


def _number(estimate: Estimate) -> Number:
    if estimate.value is None:
        return Number("undefined")
    interval = ""
    if estimate.low is not None and estimate.high is not None:
        interval = f"{estimate.low:.3f} to {estimate.high:.3f}"
    minus = "\N{MINUS SIGN}"
    return Number(f"{estimate.value:.3f}".replace("-", minus), interval.replace("-", minus))
