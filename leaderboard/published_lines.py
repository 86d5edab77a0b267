"""Published numbers beside measured ones, as rows of the page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from iqabench.errors import SpecError
from iqabench.leaderboard.compare import Line, compare
from iqabench.leaderboard.conditions import OTHER_DATA, Measured
from iqabench.leaderboard.fields import Number, estimate_number, minus
from iqabench.leaderboard.load import Board, Entry, Group
from iqabench.metrics import Estimate
from iqabench.published.paper import Paper
from iqabench.published.patterns import match
from iqabench.published.reading import load_paper, names

LOOKS = {"reproduced": "good", "not reproduced": "bad", "not comparable": "open"}


@dataclass(frozen=True, eq=False)
class PublishedRow:
    """One published value and the measured one beside it.

    Attributes:
        entry: The measured row.
        place: Table and row of the paper.
        metric: The paper's name of the metric.
        attack: The measured attack with its eps.
        published: As printed, all digits.
        ours: With its interval.
        difference: Measured minus published.
        verdict: See docs/comparing.md.
        look: How its badge looks.
        reasons: Why the two are not comparable.
    """

    entry: Entry
    place: str
    metric: str
    attack: str
    published: str
    ours: Number
    difference: str
    verdict: str
    look: str
    reasons: str


@dataclass(frozen=True)
class PublishedTable:
    """A paper's values that a data set has measurements for."""

    title: str
    source: str
    rows: tuple[PublishedRow, ...]


def published_tables(board: Board) -> dict[str, list[PublishedTable]]:
    """Return a table per paper that comes with the program, by the slug of the data set.

    Values that were measured on other data only are left out.

    Raises:
        ResultsError: A cell file is incomplete, or its per-image columns are missing or damaged.
    """
    found: dict[str, list[PublishedTable]] = defaultdict(list)
    for name in names():
        paper = load_paper(name)
        for group in board.groups:
            rows = tuple(_rows(group, paper))
            if rows:
                found[group.slug].append(PublishedTable(paper.title, paper.source, rows))
    return found


def _rows(group: Group, paper: Paper) -> Iterator[PublishedRow]:
    name = str(group.dataset["name"])
    if all(match(data.dataset, name, name) is None for data in paper.datasets.values()):
        return
    try:
        lines = compare(Board((group,)), paper).lines
    except SpecError:  # of a plugin that is written in no grammar of ours
        return
    for line in lines:
        if line.measured is None or line.check is None or line.estimate is None:
            continue
        if all(d.condition != OTHER_DATA for d in line.check.differences):
            yield _row(line, line.measured, line.estimate)


def _row(line: Line, measured: Measured, estimate: Estimate) -> PublishedRow:
    place, eps = line.place, measured.cell.eps_255
    return PublishedRow(
        measured.entry,
        f"Table {place.table.table}, {place.method}, {place.attack}",
        line.metric,
        f"{measured.attack}, eps {eps:g}" if eps else measured.attack,
        minus(f"{line.published:f}"),
        estimate_number(estimate),
        "" if line.difference is None else minus(f"{line.difference:+.3f}"),
        line.verdict,
        LOOKS.get(line.verdict, "open"),
        "; ".join(line.reasons),
    )
