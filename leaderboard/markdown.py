"""The leaderboard as Markdown with tables of GitHub's kind."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from iqabench.leaderboard.columns import shown_standings
from iqabench.leaderboard.load import Board, Group
from iqabench.leaderboard.rank import (
    PER_IMAGE_WORST,
    WEAK_DROP,
    Measures,
    Result,
    Row,
    Standing,
)
from iqabench.leaderboard.tables import remarks, standing_remarks
from iqabench.metrics import Estimate

WEAK = r"\~"
"""Stands behind a number whose attack is too weak."""


def to_markdown(board: Board, eps_255: Collection[float] | None = None) -> str:
    """Return one section per data set with one table per eps, and what must be known about them.

    Args:
        board: The results.
        eps_255: Radii in grey levels that get a table; None for all.

    Raises:
        ResultsError: Per-image columns are missing, damaged, or of different images.
    """
    sections = ("\n".join(_section(group, eps_255)) for group in board.groups)
    return "\n".join(["# SROCC without and under attack\n", *sections])


def escape(text: str) -> str:
    r"""Return text as GitHub prints it, on one line.

    Example:
        >>> escape("a_b|c")
        'a\\_b\\|c'
    """
    return re.sub(r"([\\`*_{}\[\]<>|#~$&@])", r"\\\1", " ".join(text.split()))


def _section(group: Group, eps_255: Collection[float] | None) -> Iterator[str]:
    proxy = " (proxy labels)" if group.proxy_labels else ""
    yield f"## {escape(group.title)}{proxy}\n"
    if group.sample is not None:
        few = " (few scenes)" if group.sample.few_scenes else ""
        yield (
            f"n = {group.sample.n} images; 95 % intervals over {group.sample.units}"
            f" {group.sample.resampled}{few}.\n"
        )
    yield from _bullets(remarks(group))
    ranked = shown_standings(group, eps_255)
    if not ranked:
        yield "Nothing was attacked here at the radii that are shown.\n"
    for standing in ranked:
        yield from _standing(group, standing)
    failures = [
        f"{entry.label}, {group.attacks.get(cell.attack, cell.attack)}, eps {cell.eps_255:g}: "
        f"{cell.record.error or 'no error was recorded'}"
        for entry, cell in group.failures
    ]
    if failures:
        yield "### Failed cells\n"
        yield from _bullets(failures)


def _standing(group: Group, standing: Standing) -> Iterator[str]:
    if standing.attacks:
        yield f"### eps = {standing.eps_255:g}/255\n"
    names = [escape(group.attacks[spec]) for spec in standing.attacks]
    heads = ["rank", "defense", "clean", *names, PER_IMAGE_WORST, "lowest"]
    yield _line(heads)
    yield _line(["---:", "---", *["---:"] * (len(heads) - 2)])
    for row in standing.rows:
        yield _line(_fields(row))
    yield ""
    notes = standing_remarks(group, standing)
    if any(result.too_weak for row in standing.rows for result in row.results):
        notes.append(
            f"~ attack too weak: it takes less than {WEAK_DROP} SROCC from the undefended reference"
            " at this eps."
        )
    yield from _bullets(notes)


def _fields(row: Row) -> Iterator[str]:
    deciding = row.lowest.by if row.lowest else None
    open_ranks = f" ({row.open_ranks[0]}-{row.open_ranks[1]})" if row.open_ranks else ""
    yield "-" if row.rank is None else f"**{row.rank}**{open_ranks}"
    yield escape(row.entry.label) + (" (reference)" if row.entry.is_reference else "")
    yield _measured(row.clean)
    for result in row.results:
        yield _result(result, is_deciding=result.label == deciding)
    yield _measured(row.worst, is_deciding=deciding == PER_IMAGE_WORST)
    yield _number(row.lowest.srocc, is_deciding=True) if row.lowest else "-"


def _result(result: Result, *, is_deciding: bool) -> str:
    if result.status == "failed":
        return "failed"
    return _measured(result.measures, is_deciding=is_deciding) + WEAK * bool(result.too_weak)


def _measured(measures: Measures | None, *, is_deciding: bool = False) -> str:
    return "-" if measures is None else _number(measures.srocc, is_deciding=is_deciding)


def _number(estimate: Estimate, *, is_deciding: bool) -> str:
    if estimate.value is None:
        return "undefined"
    text = f"**{estimate.value:.3f}**" if is_deciding else f"{estimate.value:.3f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({estimate.low:.3f} to {estimate.high:.3f})"


def _line(fields: Iterable[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _bullets(texts: Iterable[str]) -> Iterator[str]:
    found = [f"- {escape(text)}" for text in texts]
    if found:
        yield "\n".join([*found, ""])
