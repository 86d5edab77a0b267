"""The pictures themselves; this and ``canvas`` alone know matplotlib in this package."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from iqabench.figures.canvas import (
    FACT,
    Words,
    drawable,
    elided,
    more_height,
    new_figure,
    plain,
    write_words,
)
from iqabench.figures.certified import TAIL, Certified
from iqabench.figures.channels import Channels
from iqabench.figures.minimal import MinimalEps, radii
from iqabench.figures.plane import Plane
from iqabench.figures.twin import Twin
from iqabench.leaderboard.curves import DASHES, LIGHT, MARKERS

NATURAL, ADVERSARIAL = LIGHT.lines[0], LIGHT.lines[1]
SIDE = 2.9
"""Width and height of an image or a plane, in inches."""
COLUMN = 40
"""Letters of a line of a panel's title, at most."""
SPAN = 0.02
"""A colour scale covers so much of the score, at least."""
LEVELS = 8
"""Contour lines of a plane, at most; they stand at the ticks of the colour bar."""
HOLLOW: dict[str, Any] = {"markersize": 3.6, "markerfacecolor": LIGHT.paper}
"""Markers of a quantile beside a median."""


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
    more = more_height(words, 7.6)
    size = (7.6, 4.6 + more)
    figure = new_figure(size)
    upper, lower = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": (2.2, 1), "hspace": 0.26}
    )
    figure.subplots_adjust(
        left=0.85 / size[0],
        right=1 - 0.2 / size[0],
        top=1 - (0.75 + more) / size[1],
        bottom=0.5 / size[1],
    )
    write_words(figure, words)
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
        plain(ax)
        ax.axhline(0, color=LIGHT.faint, linewidth=0.8)
    figure.align_ylabels([upper, lower])
    return figure


def draw_minimal(found: Sequence[MinimalEps], words: Words) -> Figure:
    """Draw the share of the images that each radius is enough for, a line per defense."""
    more = more_height(words, 7.6) + 0.21 * len(found)
    size = (7.6, 3.9 + more)
    figure = new_figure(size)
    ax = figure.add_axes((0.75 / size[0], 0.55 / size[1], 6.6 / size[0], 2.6 / size[1]))
    write_words(figure, words)
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
    plain(ax)
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.01),
        borderaxespad=0,
        frameon=False,
        fontsize=9,
        labelcolor=LIGHT.ink,
    )
    return figure


def draw_certified(found: Sequence[Certified], words: Words) -> Figure:
    """Draw the widths of certified intervals, and the pairs that they keep in order, over L2.

    Lines end where bounds do.
    """
    width, side, tall, bottom = 7.6, 3.05, 2.5, 0.55
    legend = 0.62 + more_height(words, width)
    height = legend + 0.21 * (len(found) + 1) + 0.38 + tall + bottom
    figure = new_figure((width, height))
    widths, pairs = (
        figure.add_axes((left / width, bottom / height, side / width, tall / height))
        for left in (0.6, 4.3)
    )
    write_words(figure, words)
    for one, colour, marker in zip(found, LIGHT.lines, MARKERS, strict=False):
        _certified(widths, pairs, one, colour, marker)
    titles = ("width of the interval, in score", "share of pairs whose order cannot change")
    for ax, title in zip((widths, pairs), titles, strict=True):
        _panel_title(ax, title)
        ax.set_xlim(0, 1.06 * found[0].request.l2[-1])
        ax.set_ylim(bottom=0)
        ax.set_xlabel("L2 radius, images in [0, 1]", fontsize=9, color=LIGHT.faint)
        plain(ax)
    pairs.set_ylim(0, 1.03)
    tail = Line2D([], [], color=LIGHT.faint, linestyle=DASHES[2], marker="o", **HOLLOW)
    tail.set_label(f"solid: median over images; dotted: {TAIL:.0%} of the intervals are narrower")
    figure.legend(
        handles=[*widths.get_legend_handles_labels()[0], tail],
        loc="upper left",
        bbox_to_anchor=(0.12 / width, 1 - legend / height),
        borderaxespad=0,
        frameon=False,
        fontsize=9,
        labelcolor=LIGHT.ink,
    )
    return figure


def _certified(widths: Axes, pairs: Axes, one: Certified, colour: str, marker: str) -> None:
    shown = [radius for radius in one.radii if radius.finite]
    l2 = [radius.l2 for radius in shown]
    srocc = one.srocc.value
    agrees = "" if srocc is None else f"SROCC {srocc:.3f}, "
    label = f"{elided(one.label, FACT)}: {agrees}no bounds beyond L2 {one.largest_l2:.3g}"
    line: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4.6, "linewidth": 1.7}
    widths.plot(l2, _drawn(r.width_median for r in shown), label=drawable(label), **line)
    tail = line | HOLLOW | {"linestyle": DASHES[2], "linewidth": 1.5}
    widths.plot(l2, _drawn(r.width_p95 for r in shown), **tail)
    pairs.plot(l2, _drawn(r.ordered.value for r in shown), **line)
    low, high = (_drawn(getattr(r.ordered, end) for r in shown) for end in ("low", "high"))
    pairs.vlines(l2, low, high, color=colour, alpha=0.45, linewidth=1.2)


def _drawn(values: Iterable[float | None]) -> list[float]:
    """Return values as matplotlib takes them: it leaves NaN out."""
    return [math.nan if value is None else value for value in values]


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
    height = top + more_height(words, width) + SIDE + bottom
    figure = new_figure((width, height))
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
    write_words(figure, words)
    return figure, axes


def span(low: float, high: float) -> tuple[float, float]:
    """Return the ends of a colour scale, at least ``SPAN`` apart, so that noise does not fill it.

    Example:
        >>> span(0.25, 0.75)
        (0.25, 0.75)
    """
    missing = max(0.0, SPAN - (high - low)) / 2
    return low - missing, high + missing


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


def _picture(pixels: Tensor) -> np.ndarray:
    """Return an image as matplotlib takes it: ``(H, W, 3)``, 8 bits."""
    picture: np.ndarray = (pixels * 255).round().byte().permute(1, 2, 0).numpy()
    return picture
