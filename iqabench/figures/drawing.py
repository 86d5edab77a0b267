"""The pictures themselves; the only place of this package that knows matplotlib."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from iqabench.figures.channels import Channels
from iqabench.figures.minimal import MinimalEps, radii
from iqabench.figures.plane import Plane
from iqabench.figures.twin import Twin
from iqabench.files import write_set
from iqabench.leaderboard.curves import DASHES, LETTER, LIGHT, to_png, to_svg

NATURAL, ADVERSARIAL = LIGHT.lines[0], LIGHT.lines[1]
SIDE = 2.9
"""Width and height of an image or a plane, in inches."""
FACTS = 8.8
"""Font size of the facts."""
SMALLEST = 9.0
"""Font size of a title, at least; a longer one loses its middle."""
FACT, COLUMN = 60, 40
"""Letters of a fact, and of a line of a panel's title, at most."""
SPAN = 0.02
"""A colour scale covers so much of the score, at least."""
LEVELS = 8
"""Contour lines of a plane, at most; they stand at the ticks of the colour bar."""


@dataclass(frozen=True)
class Words:
    """What stands above a figure.

    Attributes:
        title: First line.
        facts: Second line, joined by dots.
    """

    title: str
    facts: Sequence[str]


def save(out: Path, name: str, figure: Figure, table: Sequence[Sequence[object]]) -> list[Path]:
    """Write a figure as PNG and SVG beside its numbers as CSV; all of them or none.

    Floats keep nine digits, which is all that float32 has.

    Returns:
        The three paths.

    Raises:
        OutputError: The folder cannot be written.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [f"{v:.9g}" if isinstance(v, float) else v for v in row] for row in table
    )
    contents = (to_png(figure), to_svg(figure), text.getvalue().encode())
    paths = [out / f"{name}.{kind}" for kind in ("png", "svg", "csv")]
    write_set(dict(zip(paths, contents, strict=True)))
    return paths


def draw_twin(twin: Twin, words: Words) -> Figure:
    """Draw an image, its adversarial twin and the amplified difference, with the scores."""
    figure, axes = _canvas(words, columns=3, top=0.92, bottom=0.45, gap=0.18)
    clean, attacked = twin.numbers["clean_score"], twin.numbers["score"]
    level = f"{twin.eps_255:g}/255"
    shown = (
        (twin.clean, "natural", f"score {clean:.4f}"),
        (twin.adversarial, f"adversarial, eps = {level}", f"score {attacked:.4f}"),
        (twin.difference, f"difference times {twin.factor:.4g}", "grey: unchanged"),
    )
    for ax, (pixels, title, below) in zip(axes, shown, strict=True):
        ax.imshow(_picture(pixels), interpolation="nearest")
        ax.set_xticks([])
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set(color=LIGHT.faint, linewidth=0.6)
        _panel_title(ax, title)
        ax.set_xlabel(below, fontsize=11, color=LIGHT.ink, labelpad=7)
    change = attacked - clean
    axes[1].set_xlabel(f"score {attacked:.4f} ({change:+.4f})", fontsize=11, labelpad=7)
    return figure


def draw_planes(planes: Sequence[Plane], words: Words) -> Figure:
    """Draw the planes of one or two defenses side by side on one colour scale."""
    titles = []
    for number, plane in enumerate(planes):
        others = [p.defense for i, p in enumerate(planes) if i != number]
        titles.append(_plane_title(plane, others))
    top = 0.69 + 0.16 * max(len(_title_lines(title)) for title in titles)
    figure, axes = _canvas(words, columns=len(planes), gap=0.3, top=top, left=0.72, right=0.85)
    values = [value for plane in planes for row in plane.scores for value in row]
    low, high = span(min(values), max(values))
    scale = Normalize(low, high)
    lines = [v for v in MaxNLocator(LEVELS).tick_values(low, high) if low <= v <= high]
    for number, (ax, plane) in enumerate(zip(axes, planes, strict=True)):
        _plane(ax, plane, scale, lines)
        _panel_title(ax, titles[number])
        if number:
            ax.tick_params(labelleft=False)
        else:
            ax.set_ylabel("random direction (1/255)", fontsize=9, color=LIGHT.faint)
    last = axes[-1].get_position()
    width = float(figure.get_size_inches()[0])
    beside = figure.add_axes((last.x1 + 0.15 / width, last.y0, 0.13 / width, last.height))
    bar = figure.colorbar(ScalarMappable(scale, "viridis"), cax=beside, ticks=lines)
    bar.ax.set_title("score", fontsize=9, color=LIGHT.faint, pad=6, loc="left")
    bar.ax.tick_params(labelsize=8.5, colors=LIGHT.faint, length=3)
    bar.outline.set_visible(False)
    return figure


def draw_channels(channels: Channels, words: Words) -> Figure:
    """Draw channel means in descending natural magnitude, and below them what the attack did."""
    more = _more(words, 7.6)
    size = (7.6, 4.6 + more)
    figure = _figure(size)
    upper, lower = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": (2.2, 1), "hspace": 0.26}
    )
    figure.subplots_adjust(
        left=0.85 / size[0],
        right=1 - 0.2 / size[0],
        top=1 - (0.75 + more) / size[1],
        bottom=0.5 / size[1],
    )
    _words(figure, words)
    natural, adversarial = np.array(channels.natural), np.array(channels.adversarial)
    edges = np.arange(len(natural) + 1) + 0.5
    upper.stairs(natural, edges, fill=True, color=NATURAL, alpha=0.35, label="natural")
    upper.stairs(
        adversarial, edges, baseline=None, color=ADVERSARIAL, linewidth=1.1, label="adversarial"
    )
    upper.set_ylabel("mean activation", fontsize=9, color=LIGHT.faint)
    upper.legend(loc="upper right", frameon=False, fontsize=9, labelcolor=LIGHT.ink)
    lower.stairs(
        adversarial - natural, edges, fill=True, color=ADVERSARIAL, alpha=0.75, label="of the mean"
    )
    lower.stairs(
        np.array(channels.moved),
        edges,
        baseline=None,
        color=LIGHT.ink,
        linewidth=0.9,
        label="of an image, mean of |change|",
    )
    lower.set_ylabel("change", fontsize=9, color=LIGHT.faint)
    lower.legend(
        loc="lower right",
        bbox_to_anchor=(1, 0.97),
        borderaxespad=0,
        ncols=2,
        frameon=False,
        fontsize=8.5,
        labelcolor=LIGHT.ink,
    )
    lower.set_xlabel(
        "channels by natural magnitude, descending", fontsize=9, color=LIGHT.faint, labelpad=4
    )
    lower.set_xlim(edges[0], edges[-1])
    for ax in (upper, lower):
        _plain(ax)
        ax.axhline(0, color=LIGHT.faint, linewidth=0.8)
    figure.align_ylabels([upper, lower])
    return figure


def draw_minimal(found: Sequence[MinimalEps], words: Words) -> Figure:
    """Draw the share of the images that each radius is enough for, a line per defense."""
    more = _more(words, 7.6) + 0.21 * len(found)
    size = (7.6, 3.9 + more)
    figure = _figure(size)
    ax = figure.add_axes((0.75 / size[0], 0.55 / size[1], 6.6 / size[0], 2.6 / size[1]))
    _words(figure, words)
    steps = radii(found[0].largest)
    for one, colour, dash in zip(found, LIGHT.lines, DASHES * len(found), strict=False):
        share = (one.eps_255[:, None] <= steps).mean(axis=0)
        label = f"{elided(one.defense, FACT)}: {_half(one)}"
        ax.step(steps, share, where="post", color=colour, linestyle=dash, label=drawable(label))
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlim(steps[0], steps[-1])
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("eps (1/255)", fontsize=9, color=LIGHT.faint)
    ax.set_ylabel("share of the images moved", fontsize=9, color=LIGHT.faint)
    _plain(ax)
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.01),
        borderaxespad=0,
        frameon=False,
        fontsize=9,
        labelcolor=LIGHT.ink,
    )
    return figure


def _half(one: MinimalEps) -> str:
    median = one.median.value
    if median is None:
        return f"{one.moved:.0%} moved at {one.largest:g}/255"
    return f"half of the images at {median:.3g}/255"


def _plane(ax: Axes, plane: Plane, scale: Normalize, lines: Sequence[float]) -> None:
    steps, scores = np.array(plane.steps), np.array(plane.scores)
    half = (steps[1] - steps[0]) / 2
    extent = (steps[0] - half, steps[-1] + half, steps[0] - half, steps[-1] + half)
    ax.imshow(
        scores, origin="lower", extent=extent, norm=scale, cmap="viridis", interpolation="nearest"
    )
    between = [v for v in lines if scores.min() < v < scores.max()]
    if between:
        ax.contour(steps, steps, scores, levels=between, colors="white", linewidths=0.8)
    ax.plot([0], [0], marker="o", markersize=6, markerfacecolor="white", markeredgecolor="black")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 4, 5, 10]))
    ax.set_xlim(steps[0], steps[-1])
    ax.set_ylim(steps[0], steps[-1])
    ax.set_xlabel("FGSM direction (1/255)", fontsize=9, color=LIGHT.faint)
    ax.tick_params(colors=LIGHT.faint, labelsize=8.5, length=3)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _plane_title(plane: Plane, others: Sequence[str]) -> str:
    name = differing(plane.defense, others)
    source = "" if plane.gradient_from == "own" else f", gradient of {plane.gradient_from}"
    return f"{name}{source}\n{plane.clean_score:.4f} clean, {plane.effect}"


def _canvas(
    words: Words,
    *,
    columns: int,
    gap: float,
    top: float = 1.12,
    bottom: float = 0.52,
    left: float = 0.2,
    right: float = 0.2,
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a row of square axes; lengths in inches."""
    width = left + columns * SIDE + (columns - 1) * gap + right
    height = top + _more(words, width) + SIDE + bottom
    figure = _figure((width, height))
    axes = [
        figure.add_axes(
            (
                (left + i * (SIDE + gap)) / width,
                bottom / height,
                SIDE / width,
                SIDE / height,
            )
        )
        for i in range(columns)
    ]
    _words(figure, words)
    return figure, axes


def _figure(size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, facecolor=LIGHT.paper)
    FigureCanvasAgg(figure)
    return figure


def _words(figure: Figure, words: Words) -> None:
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


def _more(words: Words, width: float) -> float:
    """Return the height of the lines of facts after the first, in inches."""
    return 1.4 * FACTS / 72 * (len(_lines(words, width)) - 1)


def span(low: float, high: float) -> tuple[float, float]:
    """Return the ends of a colour scale, at least ``SPAN`` apart, so that noise does not fill it.

    Example:
        >>> span(0.25, 0.75)
        (0.25, 0.75)
    """
    missing = max(0.0, SPAN - (high - low)) / 2
    return low - missing, high + missing


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


def differing(label: str, others: Sequence[str]) -> str:
    """Return a defense for a panel's title; a long one keeps what tells it from the others.

    Example:
        >>> differing("cprl:" + "same=1," * 20 + "k=3", ["cprl:" + "same=1," * 20 + "k=4"])
        'cprl: ..., k=3'
    """
    if len(label) <= COLUMN * 2:
        return elided_words(label)
    head, *parts = re.split(r"(?<=[a-z0-9]):|,", label)
    shared = set.intersection(*(set(re.split(":|,", o)) for o in others)) if others else set()
    own = [part for part in parts if part not in shared]
    kept = own if others and own else parts
    return elided_words(f"{head}: {'..., ' if len(kept) < len(parts) else ''}{', '.join(kept)}")


def elided_words(text: str) -> str:
    """Return a text whose words fit into the lines of a panel's title, without their middles."""
    words = re.sub(",(?! )", ", ", text).split(" ")
    return " ".join(elided(word, COLUMN) for word in words)


def drawable(text: str) -> str:
    """Return a text with a box for every letter that the font does not have."""
    font = get_font(findfont(FontProperties()))
    return "".join(c if c == "\n" or font.get_char_index(ord(c)) else "\ufffd" for c in text)


def _title_lines(text: str) -> list[str]:
    lines: list[str] = []
    for line in text.split("\n"):
        wrapped = textwrap.wrap(re.sub(",(?! )", ", ", line), COLUMN)
        # What is left out is the middle: ends tell defenses apart.
        lines += wrapped if len(wrapped) <= 4 else [*wrapped[:2], "...", wrapped[-1]]
    return lines


def _panel_title(ax: Axes, text: str) -> None:
    shown = drawable("\n".join(_title_lines(text)))
    ax.set_title(shown, loc="left", fontsize=9.5, color=LIGHT.ink, pad=6, parse_math=False)


def _plain(ax: Axes) -> None:
    ax.grid(axis="y", color=LIGHT.grid, linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(LIGHT.faint)
    ax.tick_params(colors=LIGHT.faint, labelsize=8.5, length=3)
    ax.tick_params(axis="y", length=0)


def _picture(pixels: Tensor) -> np.ndarray:
    """Return an image as matplotlib takes it: ``(H, W, 3)``, 8 bits."""
    picture: np.ndarray = (pixels * 255).round().byte().permute(1, 2, 0).numpy()
    return picture
