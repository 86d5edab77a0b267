"""The leaderboard as LaTeX tables that go into a paper as they are: booktabs and nothing else."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from iqabench.leaderboard.columns import LOWEST, Column, Field, Sheet, sheet
from iqabench.leaderboard.load import Board, Entry, Group
from iqabench.leaderboard.rank import WEAK_DROP
from iqabench.leaderboard.tables import remarks, shown, standing_remarks
from iqabench.metrics import Estimate

NARROW, WIDEST = 240.0, 480.0
"""Widths in points of one column of a paper, and of both: radii beyond go to a further table."""
LETTER, NUMBER, INTERVAL, GAP = 4.4, 30.0, 58.0, 10.0
"""Roughly the widths in points of a letter, a number, an interval, and the room between columns."""
HEAD_WIDTH, NAME_WIDTH = 16, 34
"""Characters after which names of attacks and of rows are broken, at their punctuation."""
_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': "''",
    "[": "{[}",  # after \\ these two would be read as its arguments
    "*": "{*}",
    **{character: "\\" + character for character in "&%$#_{}"},
}
_PRINTED = set("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿŒœŠšŽž")
"""Beyond ASCII, what every LaTeX of the last years prints in its default encoding."""


def to_latex(
    board: Board, eps_255: Collection[float] | None = None, *, intervals: bool = False
) -> str:
    """Return one table per data set; several where the radii do not fit beside each other.

    Args:
        board: The results.
        eps_255: Radii in grey levels that get columns; None for all.
        intervals: Print the interval below each number.

    Raises:
        ResultsError: Per-image columns are missing, damaged, or of different images.
    """
    head = "% Made by 'iqabench report'. In the preamble: \\usepackage{booktabs}\n"
    tables = []
    for group in board.groups:
        whole = sheet(group, eps_255)
        parts = _parts(whole, intervals)
        tables += [_table(part, intervals, is_part=len(parts) > 1) for part in parts]
    return "\n".join([head, *tables])


def escape(text: str) -> str:
    r"""Return text as LaTeX prints it; characters that it may not know stand as ``[U+...]``.

    Example:
        >>> escape("a_b & 50%")
        'a\\_b \\& 50\\%'
    """
    parts = []
    for character in " ".join(text.split()):
        if character in _ESCAPED:
            parts.append(_ESCAPED[character])
        elif character in _PRINTED or (character.isascii() and character.isprintable()):
            parts.append(character)
        else:
            parts.append(f"{{[}}U+{ord(character):04X}]")
    return "".join(parts).replace("--", "-{}-").replace("--", "-{}-")


def _parts(whole: Sheet, intervals: bool) -> list[Sheet]:
    """Cut a table between radii, so that each part fits on a page if it can."""
    clean = [column for column in whole.columns if column.eps_255 is None]
    parts: list[list[Column]] = []
    for _, members in groupby(whole.columns[len(clean) :], key=lambda column: column.eps_255):
        columns = list(members)
        if parts and _width(whole, [*parts[-1], *columns], intervals) <= WIDEST:
            parts[-1] += columns
        else:
            parts.append([*clean, *columns])
    return [replace(whole, columns=tuple(part)) for part in parts or [clean]]


def _width(whole: Sheet, columns: Sequence[Column], intervals: bool) -> float:
    """Return roughly how wide a table is, in points."""
    names = [_lines(_label(entry), NAME_WIDTH) for entry in whole.entries]
    width = LETTER * max(len(line) for lines in names for line in lines)
    if _has_backbones(whole.group):
        width += GAP + LETTER * max(len(str(e.about["backbone"])) for e in whole.entries)
    for column in columns:
        letters = max(len(line) for line in _lines(column.label, HEAD_WIDTH))
        width += GAP + max(LETTER * letters, INTERVAL if intervals else NUMBER)
    return width


def _radii(found: Sheet) -> list[float]:
    return list(dict.fromkeys(c.eps_255 for c in found.columns if c.eps_255 is not None))


def _has_backbones(group: Group) -> bool:
    return len({str(entry.about["backbone"]) for entry in group.entries}) > 1


def _table(found: Sheet, intervals: bool, *, is_part: bool) -> str:
    group, columns = found.group, found.columns
    several = _has_backbones(group)
    name = "table*" if _width(found, columns, intervals) > NARROW else "table"
    label = f"tab:iqabench-{group.slug}"
    if is_part:
        label += "-eps" + "-".join(f"{eps:g}" for eps in _radii(found))
    names = "ll" if several else "l"
    lines = [
        *_comments(found),
        rf"\begin{{{name}}}",
        r"\centering",
        rf"\caption{{{_caption(group)}}}",
        rf"\label{{{label}}}",
        r"\medskip",
        r"\small",
        r"\setlength{\tabcolsep}{5pt}",
        rf"\begin{{tabular}}{{@{{}}{names}{'r' * len(columns)}@{{}}}}",
        r"\toprule",
        *_head(columns, len(names)),
        r"\midrule",
    ]
    for i, entry in enumerate(found.entries):
        first = _broken(_label(entry), NAME_WIDTH, "l")
        first += f" & {escape(str(entry.about['backbone']))}" if several else ""
        fields = [column.fields[i] for column in columns]
        lines.append(_line(first, map(_number, fields)))
        if intervals:
            lines[-1] += "[-2pt]"
            lines.append(_line(" &" if several else "", map(_interval, fields)))
    lines += [r"\bottomrule", r"\end{tabular}", "", r"\smallskip"]
    lines += [r"\begin{minipage}{\linewidth}\footnotesize", *_notes(found), r"\end{minipage}"]
    return "\n".join([*lines, rf"\end{{{name}}}", ""])


def _head(columns: Sequence[Column], names: int) -> Iterator[str]:
    """Yield a line of radii over their columns, with rules below, and the line of attacks."""
    over, rules, place = [""] * (names - 1), [], names + 1
    for eps, members in groupby(columns, key=lambda column: column.eps_255):
        count = len(list(members))
        if eps is None:
            over.append("")
        else:
            over.append(rf"\multicolumn{{{count}}}{{c}}{{$\varepsilon = {eps:g}/255$}}")
            rules.append(rf"\cmidrule(lr){{{place}-{place + count - 1}}}")
        place += count
    if rules:
        yield _line("", over)
        yield "".join(rules)
    labels = (_broken(column.label, HEAD_WIDTH, "r") for column in columns)
    yield _line("defense & backbone" if names > 1 else "defense", labels)


def _line(first: str, fields: Iterator[str] | Sequence[str]) -> str:
    return " & ".join([first, *fields]) + r" \\"


def _label(entry: Entry) -> str:
    return entry.label + (" (reference)" if entry.is_reference else "")


def _broken(text: str, width: int, side: str) -> str:
    """Return a name, in lines below each other if it is long."""
    lines = [escape(line) for line in _lines(text, width)]
    if len(lines) == 1:
        return lines[0]
    return rf"\shortstack[{side}]{{" + r" \\ ".join(lines) + "}"


def _lines(text: str, width: int) -> list[str]:
    """Break a long name after its punctuation."""
    lines = [""]
    for piece in re.split(r"(?<=[:,+ ])", text):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return [line.strip() for line in lines if line.strip()] or [""]


def _number(field: Field) -> str:
    if field.estimate is None:
        return rf"\emph{{{field.word}}}"
    text = _signed(shown(field.estimate, interval=False))
    if field.is_best:
        text = rf"\textbf{{{text}}}"
    if field.is_highest:
        text = rf"\underline{{{text}}}"
    marks = r"\dagger " * field.is_like_highest + "w" * field.is_too_weak
    return text + (rf"\rlap{{$^{{{marks.strip()}}}$}}" if marks else "")


def _interval(field: Field) -> str:
    estimate = field.estimate or Estimate(None)
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return ""
    low, high = (_signed(f"{end:.3f}") for end in (estimate.low, estimate.high))
    return rf"{{\scriptsize {low} to {high}}}"


def _signed(text: str) -> str:
    return text.replace("-", "$-$")


def _caption(group: Group) -> str:
    text = f"SROCC on {escape(group.title)}"
    if group.proxy_labels:
        text += " (proxy labels)"
    text += r" without attack and under attack within the $L_\infty$ radius $\varepsilon$"
    return text + (f", $n = {group.sample.n}$ images." if group.sample is not None else ".")


def _notes(found: Sheet) -> Iterator[str]:
    """Yield what explains the marks that are there, and what must be known about the numbers."""
    group = found.group
    fields = [field for column in found.columns for field in column.fields]
    if any(field.is_best for field in fields):
        yield "Bold: the highest of its column, told apart from every other row."
    if any(field.is_like_highest for field in fields):
        yield (
            r"$^{\dagger}$~Cannot be told apart from the highest of its column, which is then"
            " underlined."
        )
    if any(field.is_best or field.is_highest for field in fields):
        yield (
            r"Rows are told apart by paired bootstrap differences, corrected by Holm for all pairs"
            r" of a column, at 5\,\%."
        )
    if any(field.is_too_weak for field in fields):
        yield (
            rf"$^{{w}}$~Attack too weak: it takes less than {WEAK_DROP} SROCC from the undefended"
            " reference."
        )
    if any(column.label == LOWEST for column in found.columns):
        yield (
            "Lowest: over the attacks that every row met at that radius, and over their per-image"
            " worst."
        )
    if len(found.standings) > 1:
        yield rf"Rows are in the order of $\varepsilon = {found.standings[-1].eps_255:g}/255$."
    if group.sample is not None:
        units = f"{group.sample.units} {group.sample.resampled}"
        yield rf"Intervals (95\,\%) and differences are over {units}."
    for name in ("backbone", "recipe"):
        values = {str(entry.about[name]) for entry in group.entries}
        if len(values) == 1:
            yield f"{name.capitalize()}: {escape(values.pop())}."
    for remark in remarks(group):
        yield escape(remark)


def _comments(found: Sheet) -> Iterator[str]:
    """Yield what stands on the page beside each ranking, for whoever writes the paper."""
    radii = _radii(found)
    for standing in found.standings:
        if standing.eps_255 not in radii:
            continue
        for remark in standing_remarks(found.group, standing):
            yield f"% eps {standing.eps_255:g}: {' '.join(remark.split())}"
    for entry, cell in found.group.failures:
        attack = found.group.attacks.get(cell.attack, cell.attack)
        error = cell.record.error or "no error was recorded"
        text = f"failed: {entry.label}, {attack}, eps {cell.eps_255:g}: {error}"
        yield f"% {' '.join(text.split())}"
