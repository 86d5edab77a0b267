"""What every figure has: its words, its files, and how its axes look."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from iqabench.files import json_text, write_set
from iqabench.leaderboard.curves import LETTER, LIGHT, to_png, to_svg

FACTS = 8.8
"""Font size of the facts."""
SMALLEST = 9.0
"""Font size of a title, at least; a longer one loses its middle."""
FACT = 60
"""Letters of a fact, at most."""


@dataclass(frozen=True)
class Words:
    """What stands above a figure.

    Attributes:
        title: First line.
        facts: Second line, joined by dots.
    """

    title: str
    facts: Sequence[str]


def save(
    out: Path,
    name: str,
    figure: Figure,
    table: Sequence[Sequence[object]],
    record: object = None,
) -> list[Path]:
    """Write a figure as PNG and SVG beside its numbers as CSV; all of them or none.

    Args:
        out: The folder.
        name: Of every file, without its suffix.
        figure: The figure.
        table: A header and rows. Floats keep nine digits, which is all that float32 has.
        record: A JSON document that is written too, if there is one.

    Returns:
        The paths.

    Raises:
        OutputError: The folder cannot be written.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [f"{v:.9g}" if isinstance(v, float) else v for v in row] for row in table
    )
    contents = {"png": to_png(figure), "svg": to_svg(figure), "csv": text.getvalue().encode()}
    if record is not None:
        contents["json"] = json_text(record).encode()
    files = {out / f"{name}.{kind}": content for kind, content in contents.items()}
    write_set(files)
    return list(files)


def new_figure(size: tuple[float, float]) -> Figure:
    """Return an empty figure of so many inches, on white paper, without a window."""
    figure = Figure(figsize=size, facecolor=LIGHT.paper)
    FigureCanvasAgg(figure)
    return figure


def write_words(figure: Figure, words: Words) -> None:
    """Write title and facts at the top; 0.75 inches hold the title and one line of facts."""
    width, height = (float(x) for x in figure.get_size_inches())
    fitting = (width - 0.4) / (LETTER * 1.1 * len(words.title))
    title = min(12.0, max(SMALLEST, fitting))
    most = int((width - 0.4) / (LETTER * 1.35 * title)) if fitting < SMALLEST else len(words.title)
    for text, down, size, bold in (
        (drawable(elided(words.title, most)), 0.16, title, True),
        (drawable("\n".join(_lines(words, width))), 0.43, FACTS, False),
    ):
        figure.text(
            0.2 / width,
            1 - down / height,
            text,
            fontsize=size,
            fontweight="bold" if bold else "normal",
            va="top",
            color=LIGHT.ink if bold else LIGHT.faint,
            linespacing=1.25,
            parse_math=False,
        )


def _lines(words: Words, width: float) -> list[str]:
    """Return the facts in as many lines as they need at this width in inches."""
    lines = [""]
    for fact in (elided(fact, FACT) for fact in words.facts):
        longer = f"{lines[-1]} · {fact}" if lines[-1] else fact
        if lines[-1] and len(longer) * LETTER * FACTS > width - 0.4:
            lines.append(fact)
        else:
            lines[-1] = longer
    return lines


def more_height(words: Words, width: float) -> float:
    """Return the height of the lines of facts after the first, in inches."""
    return 1.4 * FACTS / 72 * (len(_lines(words, width)) - 1)


def elided(text: str, most: int) -> str:
    """Return a text without its middle where it has too many letters.

    Example:
        >>> elided("a-very-long-name.jpg", 11)
        'a-ve....jpg'
    """
    if len(text) <= most:
        return text
    tail = (most - 3) // 2
    return f"{text[: most - 3 - tail]}...{text[len(text) - tail :]}"


def drawable(text: str) -> str:
    """Return a text with a box for every letter that the font does not have."""
    font = get_font(findfont(FontProperties()))
    return "".join(c if c == "\n" or font.get_char_index(ord(c)) else "\ufffd" for c in text)


def plain(ax: Axes) -> None:
    """Leave nothing of the frame of axes but the line below, and grid lines across."""
    ax.grid(axis="y", color=LIGHT.grid, linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(LIGHT.faint)
    ax.tick_params(colors=LIGHT.faint, labelsize=8.5, length=3)
    ax.tick_params(axis="y", length=0)
