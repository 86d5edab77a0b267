"""SROCC against eps: one figure per group, a panel per attack, a line per row."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from iqabench.leaderboard.load import Entry, Group
from iqabench.leaderboard.rank import PER_IMAGE_WORST, clean_measures, standings
from iqabench.metrics import Estimate

DPI = 150
PANEL = (3.35, 2.55)
"""Width and height of one panel's axes in inches."""
GAP = (0.25, 0.62)
LEFT, RIGHT = 0.72, 0.22
LETTER = 0.0087
"""About the width of a letter in inches per point, to know what fits."""
MARKERS = "osD^vPX"
Dash = Literal["-"] | tuple[float, tuple[float, ...]]
DASHES: tuple[Dash, ...] = ("-", (0, (4, 1, 1, 1)), (0, (1, 1)))


@dataclass(frozen=True)
class Theme:
    """Colours of a figure; ``lines`` stay apart for colour-blind readers (after Okabe and Ito)."""

    paper: str
    ink: str
    faint: str
    grid: str
    reference: str
    lines: tuple[str, ...]


LIGHT = Theme(
    paper="#ffffff",
    ink="#1c2127",
    faint="#5b6470",
    grid="#e6e8eb",
    reference="#7a828c",
    lines=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#332288", "#56b4e9"),
)
DARK = Theme(
    paper="#1a1d22",
    ink="#e8eaed",
    faint="#a2aab4",
    grid="#30353c",
    reference="#9aa2ac",
    lines=("#4aa3e0", "#f0783c", "#2dbd94", "#e296c3", "#f2b134", "#a99cf0", "#a5dcff"),
)


@dataclass(frozen=True)
class Point:
    """One point of a curve; ``srocc.value`` is None where there is nothing to draw."""

    eps_255: float
    srocc: Estimate
    too_weak: bool = False


@dataclass(frozen=True)
class Panel:
    """One attack: its title and the points of each row, in the order of the group's entries."""

    title: str
    curves: tuple[tuple[Point, ...], ...]


@dataclass(frozen=True)
class Style:
    """How one row is drawn, the same in every panel; ``raised`` ones lie above the others."""

    colour: str
    marker: str
    dash: Dash
    raised: float = 0


def panels(group: Group) -> list[Panel]:
    """Return what a figure shows: a panel per attack, and the per-image worst if several."""
    ranked = [s for s in standings(group) if s.eps_255 > 0]
    curves: dict[str, dict[int, list[Point]]] = {}
    for standing in ranked:
        for row in standing.rows:
            found = [(r.label, r.measures, r.too_weak is True) for r in row.results]
            if len(group.attacks) > 1:
                found.append((PER_IMAGE_WORST, row.worst, False))
            for title, measures, too_weak in found:
                srocc = measures.srocc if measures else Estimate(None)
                point = Point(standing.eps_255, srocc, too_weak)
                curves.setdefault(title, {}).setdefault(id(row.entry), []).append(point)
    titles = [t for t in (*group.attacks.values(), PER_IMAGE_WORST) if t in curves]
    return [
        Panel(title, tuple(_curve(entry, curves[title][id(entry)]) for entry in group.entries))
        for title in titles
    ]


def draw(group: Group, theme: Theme = LIGHT) -> Figure | None:
    """Draw the curves of a group; None if nothing was attacked.

    A point is hollow where the attack is too weak, and a line has a gap where a cell is missing,
    failed or undefined.
    """
    shown = panels(group)
    if not shown:
        return None
    columns = 2 if len(shown) == 4 else min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    width = LEFT + columns * PANEL[0] + (columns - 1) * GAP[0] + RIGHT
    width = max(width, 6.4)
    legend_rows = math.ceil(len(group.entries) / _legend_columns(group, width))
    top, bottom = 1.06, 0.72 + 0.24 * legend_rows
    height = top + rows * PANEL[1] + (rows - 1) * GAP[1] + bottom
    figure = Figure(figsize=(width, height), facecolor=theme.paper)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    figure.subplots_adjust(
        left=LEFT / width,
        right=1 - RIGHT / width,
        top=1 - top / height,
        bottom=bottom / height,
        wspace=GAP[0] / PANEL[0],
        hspace=GAP[1] / PANEL[1],
    )
    styles = _styles(group.entries, theme)
    for i, ax in enumerate(axes.flat):
        if i < len(shown):
            _panel(ax, shown[i], styles, theme)
            ax.tick_params(labelbottom=i + columns >= len(shown), labelleft=i % columns == 0)
        else:
            ax.set_visible(False)
    _scales(axes[0, 0], shown)
    _words(figure, group, shown, theme)
    _legend(figure, group, styles, theme)
    return figure


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG, without the name of the software or a date."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()


def to_svg(figure: Figure) -> bytes:
    """Return a figure as SVG with fixed identifiers and no date."""
    out = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "iqabench", "svg.fonttype": "path"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _curve(entry: Entry, attacked: list[Point]) -> tuple[Point, ...]:
    clean = clean_measures(entry)
    return (Point(0.0, clean.srocc if clean else Estimate(None)), *attacked)


def _styles(entries: Sequence[Entry], theme: Theme) -> list[Style]:
    styles = []
    defenses = references = 0
    for entry in entries:
        if entry.is_reference:
            marker = MARKERS[references % len(MARKERS)]
            styles.append(Style(theme.reference, marker, (0, (5, 2)), raised=0.5))
            references += 1
        else:
            turn, place = divmod(defenses, len(theme.lines))
            dash = DASHES[turn % len(DASHES)]
            styles.append(Style(theme.lines[place], MARKERS[place], dash))
            defenses += 1
    return styles


def _panel(ax: Axes, panel: Panel, styles: Sequence[Style], theme: Theme) -> None:
    ax.set_facecolor(theme.paper)
    title = textwrap.fill(panel.title.replace(",", ", "), width=42, max_lines=2, placeholder="...")
    ax.set_title(title, loc="left", fontsize=9.5, color=theme.ink, pad=7, parse_math=False)
    ax.grid(axis="y", color=theme.grid, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.axhline(0, color=theme.faint, linewidth=0.9, zorder=1.5)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(theme.faint)
    ax.tick_params(colors=theme.faint, labelsize=8.5, length=3, color=theme.faint)
    ax.tick_params(axis="y", length=0)
    ax.set_autoscale_on(False)  # ``_scales`` sets the limits; each line would look at all before it
    for points, style in zip(panel.curves, styles, strict=True):
        _line(ax, points, style, theme)


def _line(ax: Axes, points: Sequence[Point], style: Style, theme: Theme) -> None:
    eps = [p.eps_255 for p in points]
    values = [_or_nan(p.srocc.value) for p in points]
    low = [_or_nan(p.srocc.low) for p in points]
    high = [_or_nan(p.srocc.high) for p in points]
    ax.fill_between(eps, low, high, color=style.colour, alpha=0.11, linewidth=0, zorder=2)
    # A band needs two neighbours; a point between gaps has only this to show its interval.
    ax.vlines(eps, low, high, color=style.colour, alpha=0.45, linewidth=0.9, zorder=2.5)
    ax.plot(
        eps,
        values,
        color=style.colour,
        linestyle=style.dash,
        linewidth=1.7,
        zorder=3 + style.raised,
    )
    for point, value in zip(points, values, strict=True):
        face = theme.paper if point.too_weak else style.colour
        ax.plot(
            [point.eps_255],
            [value],
            marker=style.marker,
            markersize=4.6,
            color=style.colour,
            markerfacecolor=face,
            markeredgewidth=1.2,
            zorder=4 + style.raised,
            clip_on=False,
        )


def _scales(ax: Axes, shown: Sequence[Panel]) -> None:
    points = [p for panel in shown for curve in panel.curves for p in curve]
    ends = [v for p in points for v in (p.srocc.value, p.srocc.low, p.srocc.high) if v is not None]
    bottom, top = min([*ends, 0.0]), max([*ends, 0.0])
    ax.set_ylim(max(-1.02, bottom - 0.06), min(1.02, top + 0.06))
    eps = sorted({p.eps_255 for p in points})
    ticks = _spread(eps)
    ax.set_xticks(ticks, [f"{e:g}" for e in ticks])
    ax.set_xlim(-0.03 * eps[-1], 1.03 * eps[-1])


def _spread(eps: Sequence[float]) -> list[float]:
    """Drop ticks that would touch the one before."""
    kept = [eps[0]]
    for value in eps[1:]:
        if value - kept[-1] >= 0.055 * eps[-1]:
            kept.append(value)
    return kept


def _words(figure: Figure, group: Group, shown: Sequence[Panel], theme: Theme) -> None:
    width, height = figure.get_size_inches()
    proxy = " (proxy labels)" if group.proxy_labels else ""
    left = 0.2 / width
    title = f"SROCC under attack: {group.title}{proxy}"
    figure.text(
        left,
        1 - 0.2 / height,
        title,
        # Bold letters are wider.
        fontsize=_fitting(12.5, title, (width - 0.4) / 1.1),
        fontweight="bold",
        va="top",
        color=theme.ink,
        parse_math=False,
    )
    facts = []
    if group.sample:
        facts.append(f"n = {group.sample.n} images")
        facts.append(f"95 % intervals over {group.sample.units} {group.sample.resampled}")
        facts += ["few scenes: intervals too narrow"] if group.sample.few_scenes else []
    if any(p.too_weak for panel in shown for curve in panel.curves for p in curve):
        facts.append("hollow: attack too weak")
    at = 1 - 0.47 / height
    text = " · ".join(facts)
    size = _fitting(8.8, text, width - 0.4)
    figure.text(left, at, text, fontsize=size, va="top", color=theme.faint)
    grid = figure.subplotpars
    figure.text(
        (grid.left + grid.right) / 2,
        grid.bottom - 0.36 / height,
        "eps (1/255)",
        ha="center",
        va="center",
        fontsize=9,
        color=theme.faint,
    )
    figure.text(
        0.2 / width,
        (grid.bottom + grid.top) / 2,
        "SROCC",
        rotation=90,
        ha="center",
        va="center",
        fontsize=9,
        color=theme.faint,
    )


def _legend_columns(group: Group, width: float) -> int:
    longest = max(map(len, _names(group)))
    return max(1, min(5, len(group.entries), int((width - 0.2) / (0.62 + 9 * LETTER * longest))))


def _legend(figure: Figure, group: Group, styles: Sequence[Style], theme: Theme) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=s.colour,
            linestyle=s.dash,
            marker=s.marker,
            markersize=4.6,
            linewidth=1.7,
        )
        for s in styles
    ]
    names = _names(group)
    width, height = figure.get_size_inches()
    legend = figure.legend(
        handles,
        names,
        loc="lower left",
        bbox_to_anchor=(0.12 / width, 0.06 / height),
        ncols=_legend_columns(group, float(width)),
        frameon=False,
        fontsize=_fitting(9, max(names, key=len), width - 0.9),
        labelcolor=theme.ink,
        handlelength=2.4,
        columnspacing=1.6,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _names(group: Group) -> list[str]:
    return [e.label + (" (reference)" if e.is_reference else "") for e in group.entries]


def _fitting(size: float, text: str, width: float) -> float:
    """Return a font size, smaller if the text would not fit into that many inches."""
    return min(size, width / (LETTER * max(len(text), 1)))


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
