from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from leaderboard_runs import FakeRow, write_whole_run
from rich.console import Console

from iqabench.leaderboard.curves import DARK, LIGHT, draw, panels, to_png, to_svg
from iqabench.leaderboard.load import Board, load_board
from iqabench.leaderboard.rank import PER_IMAGE_WORST
from iqabench.leaderboard.terminal import render
from iqabench.leaderboard.write import write_outputs

REVERSED = (4, 3, 2, 1, -1, -2, -3, -4)


@pytest.fixture
def row(tmp_path: Path) -> FakeRow:
    """A row of a run in a fresh folder; ``row.but(...)`` is another one of the same run."""
    return FakeRow(tmp_path / "run")


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Write a run that uses everything at once."""

    def make(name: str) -> Path:
        return write_whole_run(tmp_path_factory.mktemp(name))

    return make


@pytest.fixture(scope="session")
def big_board(make_run: Callable[[str], Path]) -> Board:
    """The same run, loaded once for all tests."""
    return load_board(make_run("run"))


def printed(board: Board, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    render(board, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_output_is_written_and_named(big_board: Board, tmp_path: Path) -> None:
    run = tmp_path
    written = write_outputs(run, big_board)
    assert [str(path.relative_to(run)) for path in written] == [
        "leaderboard.csv",
        "leaderboard.json",
        "figures/curves-koniq.png",
        "figures/curves-koniq.svg",
        "figures/curves-demo.png",
        "figures/curves-demo.svg",
        "statistics.csv",
        "statistics.json",
        "report.html",
    ]
    assert all(path.stat().st_size > 500 for path in written)


def test_every_output_has_the_same_bytes_twice(make_run: Callable[[str], Path]) -> None:
    one, two = make_run("one"), make_run("two")
    for a, b in zip(
        write_outputs(one, load_board(one)), write_outputs(two, load_board(two)), strict=True
    ):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_a_figure_names_neither_software_nor_date(row: FakeRow) -> None:
    row.write()
    row.write("fgsm", 4.0)
    figure = draw(load_board(row.run).groups[0])
    assert figure is not None
    assert b"atplotlib" not in to_png(figure)
    assert b"<dc:date>" not in to_svg(figure)


def test_the_worst_panel_appears_only_with_several_attacks(row: FakeRow) -> None:
    row.write()
    row.write("fgsm", 4.0)
    assert [p.title for p in panels(load_board(row.run).groups[0])] == ["fgsm"]
    row.write("pgd", 4.0)
    titles = [p.title for p in panels(load_board(row.run).groups[0])]
    assert titles == ["fgsm", "pgd", PER_IMAGE_WORST]


def test_curves_start_at_the_clean_value(row: FakeRow) -> None:
    row.write()
    row.write("fgsm", 1.0, REVERSED)
    row.write("fgsm", 4.0, error="broken")
    (panel,) = panels(load_board(row.run).groups[0])
    (curve,) = panel.curves
    assert [point.eps_255 for point in curve] == [0, 1, 4]
    assert curve[0].srocc.value == pytest.approx(1)
    assert curve[1].srocc.value == pytest.approx(-1)
    assert curve[2].srocc.value is None


def test_a_failed_point_is_a_gap_and_a_weak_one_is_hollow(row: FakeRow) -> None:
    reference = row.but(reference=True)
    reference.write()
    reference.write("fgsm", 1.0)
    reference.write("fgsm", 2.0, error="broken")
    reference.write("fgsm", 4.0, REVERSED)
    figure = draw(load_board(row.run).groups[0])
    assert figure is not None
    ax = figure.axes[0]
    (line,) = [x for x in ax.get_lines() if np.size(x.get_xdata()) == 4]
    values = np.asarray(line.get_ydata(), dtype=float)
    assert values[:2] == pytest.approx([1, 1])
    assert math.isnan(values[2])
    faces = [x.get_markerfacecolor() for x in ax.get_lines() if x.get_marker() == "o"]
    assert faces == [LIGHT.reference, LIGHT.paper, LIGHT.reference, LIGHT.reference]


def test_the_reference_is_dashed_and_gray_and_the_others_are_not(row: FakeRow) -> None:
    for one in (row.but(reference=True), row.but(defense="cprl")):
        one.write()
        one.write("fgsm", 4.0)
    figure = draw(load_board(row.run).groups[0])
    assert figure is not None
    lines = [x for x in figure.axes[0].get_lines() if x.get_linestyle() not in ("None", "")]
    styles = {(x.get_color(), x.get_linestyle()) for x in lines if np.size(x.get_xdata()) == 2}
    assert (LIGHT.reference, "--") in styles
    assert (LIGHT.lines[0], "-") in styles


def test_colours_differ_for_seven_defenses_in_both_themes() -> None:
    for theme in (LIGHT, DARK):
        assert len({*theme.lines, theme.reference, theme.paper}) == 9


def test_more_defenses_than_colours_still_differ(row: FakeRow) -> None:
    for number in range(9):
        one = row.but(defense=f"defense{number}")
        one.write()
        one.write("fgsm", 4.0)
    figure = draw(load_board(row.run).groups[0])
    assert figure is not None
    (legend,) = figure.legends
    styles = [(x.get_color(), str(x.get_linestyle())) for x in legend.get_lines()]
    assert len(set(styles)) == 9


def test_labels_are_never_read_as_mathematics(row: FakeRow) -> None:
    odd = row.but(defense="a$^{$", title="Set $_{$")
    odd.write()
    odd.write("x$_{$", 4.0)
    figure = draw(load_board(row.run).groups[0])
    assert figure is not None
    assert to_png(figure)


def test_the_figure_says_proxy_labels_and_few_scenes(big_board: Board) -> None:
    real, demo = big_board.groups
    said = {}
    for group in (real, demo):
        figure = draw(group)
        assert figure is not None
        said[group.slug] = " ".join(text.get_text() for text in figure.texts)
    assert "proxy labels" in said["demo"]
    assert "few scenes" in said["demo"]
    assert "n = 48 images" in said["demo"]
    assert "proxy" not in said["koniq"]
    assert "few scenes" not in said["koniq"]
    assert "eps (1/255)" in said["koniq"]


def test_clean_cells_only_have_no_figure(row: FakeRow) -> None:
    row.write()
    assert draw(load_board(row.run).groups[0]) is None


def test_undefined_numbers_are_called_undefined(row: FakeRow) -> None:
    row.write()
    row.write("fgsm", 4.0, [0.5] * 8)
    assert "undefined" in printed(load_board(row.run), 120)


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_the_terminal_table_fits_and_cuts_nothing(big_board: Board, width: int) -> None:
    text = printed(big_board, width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    for words in ("KonIQ-10k", "lwta", "failed", "proxy labels", "few scenes", "~ attack too weak"):
        assert words in text, words


def test_intervals_appear_where_the_terminal_is_wide(big_board: Board) -> None:
    interval = re.compile(r"0\.\d{3} \[-?0\.\d{3}, 0\.\d{3}\]")
    wide = printed(big_board, 220)
    assert len(interval.findall(wide)) > 20
    assert "too narrow" not in wide
    assert "too narrow for the intervals" in printed(big_board, 80)


def test_attacks_that_do_not_fit_go_to_further_tables(row: FakeRow) -> None:
    row.write()
    names = [f"attack{i}" for i in range(14)]
    for i, name in enumerate(names):
        row.write(name, 4.0, [value + i for value in REVERSED])
    text = printed(load_board(row.run), 80)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert text.count("defense") >= 2
    for name in names:
        assert name in text


def test_markup_in_labels_is_printed_as_it_is(row: FakeRow) -> None:
    odd = row.but(defense="[red]x[/red]", title="[bold]T", reference=True)
    odd.write()
    odd.write("fgsm", 4.0)
    text = printed(load_board(row.run), 120)
    assert "[red]x[/red] (reference)" in text
    assert "[bold]T" in text
