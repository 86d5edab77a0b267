from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from leaderboard_runs import FakeRow, write_data_set
from rich.console import Console
from scipy import integrate, stats

from iqabench.cli import main
from iqabench.errors import UnknownNameError
from iqabench.leaderboard.html import to_html
from iqabench.leaderboard.load import Board, load_board
from iqabench.leaderboard.rank import standings
from iqabench.leaderboard.statistics import gather, notes, to_csv, to_json
from iqabench.leaderboard.statistics_terminal import render
from iqabench.leaderboard.tables import standing_remarks
from iqabench.leaderboard.tables import to_csv as leaderboard_csv
from iqabench.leaderboard.terminal import render as render_leaderboard
from iqabench.results import read_cell, read_columns

RNG = np.random.default_rng(31)
MOS = RNG.uniform(size=60)
CLEAN = 6 * (MOS - 0.5) + RNG.normal(scale=0.8, size=60)
GOOD = CLEAN + RNG.normal(scale=0.6, size=60)
ALIKE = GOOD + RNG.normal(scale=0.2, size=60)
BAD = -CLEAN


@pytest.fixture
def row(tmp_path: Path) -> FakeRow:
    """The reference of a run in a fresh folder; ``row.but(...)`` is another row of it."""
    return FakeRow(
        tmp_path / "run",
        reference=True,
        mos=tuple(MOS.tolist()),
        clean=tuple(CLEAN.tolist()),
    )


def three_rows(row: FakeRow) -> Board:
    """Two rows that are alike and a reference that is far below them."""
    for defense, logits in (("resnet", BAD), ("cprl", GOOD), ("lwta", ALIKE)):
        one = row.but(defense=defense, reference=defense == "resnet")
        one.write()
        one.write("fgsm", 1.0, list((CLEAN + 3 * logits) / 4))
        one.write("fgsm", 4.0, list(logits))
    return load_board(row.run)


def lines(text: str, **wanted: str) -> list[dict[str, str]]:
    rows = csv.DictReader(io.StringIO(text))
    return [line for line in rows if all(line[k] == v for k, v in wanted.items())]


def only(text: str, **wanted: str) -> dict[str, str]:
    (line,) = lines(text, **wanted)
    return line


def printed(board: Board, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    render(gather(board), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_many_rows_are_resampled_until_they_can_be_told_apart(row: FakeRow) -> None:
    """Ten thousand resamples leave 20 rows of 60 images every rank each."""
    for number in range(20):
        one = row.but(defense=f"cprl:b={number / 100}", reference=number == 0)
        one.write()
        one.write("fgsm", 4.0, list(GOOD + number / 100 if number else BAD))
    (standing,) = standings(load_board(row.run).groups[0])
    assert [r.rank_range for r in standing.rows] == [(1, 19)] * 19 + [(20, 20)]


def test_rows_that_cannot_be_told_apart_share_their_ranks_everywhere(row: FakeRow) -> None:
    board = three_rows(row)
    (standing,) = [s for s in standings(board.groups[0]) if s.eps_255 == 4]
    assert [(r.rank, r.rank_range) for r in standing.rows] == [
        (1, (1, 2)),
        (2, (1, 2)),
        (3, (3, 3)),
    ]
    line = only(leaderboard_csv(board), defense="resnet", attack="fgsm", eps_255="4.0")
    assert (line["rank"], line["rank_low"], line["rank_high"]) == ("3", "3", "3")
    assert "1\N{EN DASH}2" in to_html(board)
    console = Console(width=200, file=io.StringIO(), force_terminal=False)
    render_leaderboard(board, console)
    assert isinstance(console.file, io.StringIO)
    assert "2 (1-2)" in console.file.getvalue()
    assert "3 (" not in console.file.getvalue()
    said = standing_remarks(board.groups[0], standing)
    assert any("corrected by Holm for 3 pairs" in remark for remark in said)


def test_with_few_scenes_no_rows_are_told_apart_and_it_is_said(row: FakeRow) -> None:
    board = three_rows(row.but(scenes=tuple(f"s{i % 4}" for i in range(60))))
    for standing in standings(board.groups[0]):
        assert {r.rank_range for r in standing.rows} == {(1, 3)}
        said = standing_remarks(board.groups[0], standing)
        assert any("4 scenes are too few to tell any of 3 rows apart" in text for text in said)


def test_one_row_has_no_range(row: FakeRow) -> None:
    row.write("fgsm", 4.0)
    assert standings(load_board(row.run).groups[0])[0].rows[0].rank_range is None
    for defense in ("cprl", "lwta"):
        row.but(defense=defense, reference=False).write("fgsm", 8.0)
    alone, two = standings(load_board(row.run).groups[0])
    assert {r.rank_range for r in alone.rows} == {None}
    assert {r.rank_range for r in two.rows if r.rank} == {(1, 2)}


def test_an_undefined_row_has_no_range(row: FakeRow) -> None:
    row.write("fgsm", 4.0, [0.5] * 60)
    for defense in ("cprl", "lwta"):
        row.but(defense=defense, reference=False).write("fgsm", 4.0)
    rows = standings(load_board(row.run).groups[0])[0].rows
    assert [r.rank_range for r in rows] == [(1, 2), (1, 2), None]


def test_a_difference_is_that_of_the_leaderboard_with_a_paired_interval(row: FakeRow) -> None:
    board = three_rows(row)
    found, board_lines = to_csv(gather(board)), leaderboard_csv(board)
    line = only(found, statistic="srocc_difference", defense="cprl", attack="fgsm", eps_255="4.0")
    srocc = {
        name: float(only(board_lines, defense=name, attack="fgsm", eps_255="4.0")["srocc"])
        for name in ("cprl", "resnet")
    }
    assert line["against"] == "resnet"
    assert float(line["value"]) == pytest.approx(srocc["cprl"] - srocc["resnet"])
    assert 0 < float(line["low"]) < float(line["value"]) < float(line["high"])
    assert float(line["p_holm"]) == pytest.approx(2 * float(line["p"]))  # two rows are compared
    clean = only(found, statistic="srocc_difference", defense="lwta", attack="clean")
    assert float(clean["value"]) == 0
    assert float(clean["p"]) == pytest.approx(1)


def test_paired_intervals_of_alike_rows_are_narrow(row: FakeRow) -> None:
    board = three_rows(row)
    found = to_csv(gather(board, against="cprl"))
    line = only(found, statistic="srocc_difference", defense="lwta", attack="fgsm", eps_255="4.0")
    single = only(leaderboard_csv(board), defense="lwta", attack="fgsm", eps_255="4.0")
    paired = float(line["high"]) - float(line["low"])
    assert paired < 0.7 * (float(single["srocc_high"]) - float(single["srocc_low"]))


def test_a_row_can_be_named_to_compare_with(row: FakeRow) -> None:
    board = three_rows(row)
    found = lines(to_csv(gather(board, against="cprl")), statistic="srocc_difference")
    assert {(line["defense"], line["against"]) for line in found} == {
        ("resnet", "cprl"),
        ("lwta", "cprl"),
    }
    with pytest.raises(UnknownNameError, match=r"unknown row 'cprk'.*'cprl'"):
        gather(board, against="cprk")


def test_without_reference_nothing_is_compared_and_it_is_said(row: FakeRow) -> None:
    for defense in ("a", "b"):
        row.but(defense=defense, reference=False).write("fgsm", 4.0)
    (found,) = gather(load_board(row.run))
    assert found.differences == []
    assert any("name one with --against" in note for note in notes(found))


def test_an_area_is_the_trapezoid_of_the_leaderboard(row: FakeRow) -> None:
    board = three_rows(row)
    srocc = [
        float(only(leaderboard_csv(board), defense="cprl", attack=attack, eps_255=eps)["srocc"])
        for attack, eps in (("clean", "0.0"), ("fgsm", "1.0"), ("fgsm", "4.0"))
    ]
    line = only(to_csv(gather(board)), statistic="area", defense="cprl", attack="fgsm")
    assert float(line["value"]) == pytest.approx(integrate.trapezoid(srocc, [0, 1, 4]) / 4)
    assert line["eps_grid"] == "0 1 4"
    assert (line["n"], line["units"], line["resamples"]) == ("60", "60", "10000")


def test_areas_are_over_the_radii_that_all_rows_share(row: FakeRow) -> None:
    three_rows(row)
    row.write("fgsm", 8.0, list(BAD))  # of the reference alone
    row.but(defense="clean_only", reference=False).write()
    found = lines(to_csv(gather(load_board(row.run))), statistic="area", attack="fgsm")
    assert [line["eps_grid"] for line in found] == ["0 1 4"] * 3
    assert {line["defense"] for line in found} == {"resnet", "cprl", "lwta"}


def test_a_row_without_clean_pass_has_no_area(row: FakeRow) -> None:
    row.write("fgsm", 4.0)
    row.but(defense="cprl", reference=False).write()
    row.but(defense="cprl", reference=False).write("fgsm", 4.0)
    found = lines(to_csv(gather(load_board(row.run))), statistic="area")
    assert {line["defense"] for line in found} == {"cprl"}


def test_the_lowest_is_the_number_that_ranks(row: FakeRow) -> None:
    for defense in ("resnet", "cprl"):
        one = row.but(defense=defense, reference=defense == "resnet")
        one.write()
        one.write("fgsm", 4.0, list(GOOD if defense == "cprl" else BAD))
        one.write("pgd", 4.0, list(ALIKE - CLEAN))
    board = load_board(row.run)
    worst = {
        x["defense"]: float(x["worst_srocc"]) for x in lines(leaderboard_csv(board), attack="pgd")
    }
    line = only(to_csv(gather(board)), statistic="srocc_difference", attack="lowest")
    assert float(line["value"]) == pytest.approx(worst["cprl"] - worst["resnet"])


def test_rank_damage_is_that_of_the_columns(row: FakeRow) -> None:
    row.write()
    path = row.write("fgsm", 4.0, list(GOOD))
    columns = read_columns(path, read_cell(path))
    clean, attacked = columns["clean_logit"], columns["logit"]
    found = to_csv(gather(load_board(row.run)))
    flips = only(found, statistic="pair_flips")
    somers = stats.somersd(clean, attacked).statistic
    assert float(flips["value"]) == pytest.approx((1 - somers) / 2)
    assert float(flips["low"]) < float(flips["value"]) < float(flips["high"])
    kept = only(found, statistic="srocc_clean_attacked")
    assert float(kept["value"]) == pytest.approx(stats.spearmanr(clean, attacked).statistic)
    s, a = np.array(columns["clean_score"]), np.array(columns["score"])
    expected = np.mean(np.log10(np.maximum(1 - s, s) / (np.abs(a - s) + 1e-6)))
    assert float(only(found, statistic="msu_robustness")["value"]) == pytest.approx(expected)
    low, high = s.min(), s.max()
    scaled, moved = (s - low) / (high - low), (a - low) / (high - low)
    expected = np.mean(np.log10(np.maximum(1 - scaled, scaled) / (np.abs(moved - scaled) + 1e-6)))
    own = only(found, statistic="msu_robustness_own_range")
    assert float(own["value"]) == pytest.approx(expected)


def test_seeds_are_combined_and_compared_with_the_reference_of_their_seed(row: FakeRow) -> None:
    noise = np.random.default_rng(2).normal(scale=0.7, size=(3, 60))
    for seed in range(3):
        for defense, logits in (("resnet", BAD), ("cprl", GOOD)):
            one = row.but(
                defense=defense,
                reference=defense == "resnet",
                seed=seed,
                weights=f"{seed}a" * 32,
                recipe_key=f"{seed}" * 16,
            )
            one.write()
            one.write("fgsm", 4.0, list(logits + noise[seed]))
    board = load_board(row.run)
    (found,) = gather(board)
    text = to_csv([found])
    srocc = [float(x["srocc"]) for x in lines(leaderboard_csv(board), attack="fgsm", eps_255="4.0")]
    cprl, resnet = np.array(srocc[:3]), np.array(srocc[3:])
    if lines(leaderboard_csv(board), attack="fgsm")[0]["defense"].startswith("resnet"):
        cprl, resnet = resnet, cprl
    mean = only(text, statistic="srocc_mean_over_seeds", defense="cprl", attack="fgsm")
    assert float(mean["value"]) == pytest.approx(cprl.mean())
    assert (mean["seeds"], mean["resampled_seeds"], mean["seed"]) == ("3", "false", "")
    assert (float(mean["seed_low"]), float(mean["seed_high"])) == (cprl.min(), cprl.max())
    less = only(text, statistic="srocc_difference_mean_over_seeds", attack="fgsm")
    assert float(less["value"]) == pytest.approx(cprl.mean() - resnet.mean())
    assert any("with 3 (fewer than 5)" in note for note in notes(found))


def test_images_in_another_order_are_brought_into_line(row: FakeRow) -> None:
    board = three_rows(row)
    expected = only(
        to_csv(gather(board)),
        statistic="srocc_difference",
        defense="cprl",
        attack="lowest",
        eps_255="4.0",
    )
    turned = row.but(
        defense="cprl", reference=False, mos=tuple(MOS[::-1]), clean=tuple(CLEAN[::-1])
    )
    turned.write("fgsm", 4.0, list(GOOD[::-1]), ids=[f"image{i}" for i in range(60)][::-1])
    found = only(
        to_csv(gather(load_board(row.run))),
        statistic="srocc_difference",
        defense="cprl",
        attack="lowest",
        eps_255="4.0",
    )
    assert found == expected


def test_the_document_holds_the_same_lines(row: FakeRow) -> None:
    found = gather(three_rows(row))
    document = json.loads(to_json(found))
    assert document["schema"] == 1
    (dataset,) = document["datasets"]
    table = lines(to_csv(found))
    assert len(dataset["lines"]) == len(table)
    for line, as_text in zip(dataset["lines"], table, strict=True):
        assert str("" if line["value"] is None else line["value"]) == as_text["value"]
        assert line["statistic"] == as_text["statistic"]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_terminal_cuts_nothing(tmp_path: Path, width: int) -> None:
    run = tmp_path / "run"
    write_data_set(FakeRow(run, dataset="demo", title="Demo", proxy=True), n=48, scenes=6)
    text = printed(load_board(run), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    for words in ("proxy labels", "few scenes", "Difference from", "Area under", "Holm", "p = "):
        assert words in text, words


def test_the_command_writes_and_prints(row: FakeRow, capsys: pytest.CaptureFixture[str]) -> None:
    three_rows(row)
    assert main(["statistics", str(row.run)]) == 0
    assert f"wrote {row.run / 'statistics.csv'}" in capsys.readouterr().out
    assert main(["statistics", str(row.run), "--against", "cprl", "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    others = {x["against"] for x in document["datasets"][0]["lines"] if x["p"] is not None}
    assert others == {"cprl"}
    assert (row.run / "statistics-against-cprl.csv").exists()
    assert main(["statistics", str(row.run), "--against", "nobody"]) == 2
    assert "unknown row 'nobody'" in capsys.readouterr().err
