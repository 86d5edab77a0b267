"""What is read of a run, how its rows are named, and the tables of its numbers."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from board_reading import lines, only
from leaderboard_runs import REVERSED, SWAPPED, FakeRow

from iqabench.errors import ResultsError
from iqabench.leaderboard.html import to_html
from iqabench.leaderboard.load import Entry, load_board
from iqabench.leaderboard.rank import PER_IMAGE_WORST, standings
from iqabench.leaderboard.tables import remarks, standing_remarks, to_csv, to_json


@pytest.fixture
def row(tmp_path: Path) -> FakeRow:
    """A row of a run in a fresh folder; ``row.but(...)`` is another one of the same run."""
    return FakeRow(tmp_path / "run")


def entry_labels(run: Path) -> list[str]:
    return [entry.label for entry in load_board(run).entries]


def test_a_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no such folder; give the folder") as caught:
        load_board(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_cells_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="it holds no cells"):
        load_board(tmp_path)


def test_a_damaged_cell_file_is_not_skipped(row: FakeRow) -> None:
    row.write()
    path = row.write("fgsm", 4.0)
    path.write_text(path.read_text().replace('"eps_255": 4.0', '"eps_255": 8.0'))
    with pytest.raises(ResultsError, match="edited by hand"):
        load_board(row.run)


def test_a_cell_without_labels_is_named(row: FakeRow) -> None:
    path = row.write()
    document = json.loads(path.read_text())
    del document["about"]["backbone"], document["about"]["dataset_title"]
    path.write_text(json.dumps(document))
    with pytest.raises(ResultsError, match="incomplete cell file"):
        load_board(row.run)


def test_one_entry_gathers_its_clean_and_attacked_cells(row: FakeRow) -> None:
    row.write()
    row.write("fgsm", 1.0)
    row.write("fgsm", 4.0)
    (entry,) = load_board(row.run).entries
    assert entry.clean is not None
    assert list(entry.attacked) == [("fgsm", 1.0), ("fgsm", 4.0)]


def test_a_failed_cell_is_counted_and_listed_with_its_error(row: FakeRow) -> None:
    row.write()
    row.write("fgsm", 4.0)
    row.write("pgd", 4.0, error="BudgetError: left the ball")
    board = load_board(row.run)
    (group,) = board.groups
    assert [cell.record.error for _, cell in group.failures] == ["BudgetError: left the ball"]
    assert any("Failed cells: 1" in remark for remark in remarks(group))
    (dataset,) = json.loads(to_json(board))["datasets"]
    assert dataset["failures"][0]["error"] == "BudgetError: left the ball"
    (line,) = [x for x in lines(row.run) if x["attack"] == "pgd"]
    assert (line["status"], line["srocc"], line["n"]) == ("failed", "", "")
    assert only(row.run).compared == ("fgsm",)


def test_a_run_in_which_everything_failed_still_has_tables(row: FakeRow) -> None:
    row.write(error="out of memory")
    row.write("fgsm", 4.0, error="out of memory")
    standing = only(row.run)
    assert standing.rows[0].rank is None
    assert [line["status"] for line in lines(row.run)] == ["failed", "failed"]


def test_equal_labels_are_told_apart_by_recipe(row: FakeRow) -> None:
    row.write()
    row.but(recipe="full", recipe_key="f" * 16, weights="cd" * 32).write()
    assert entry_labels(row.run) == ["resnet (full)", "resnet (light)"]


def test_equal_labels_and_recipes_are_told_apart_by_key(row: FakeRow) -> None:
    row.write()
    row.but(recipe_key="f" * 16, weights="cd" * 32).write()
    row.but(defense="cprl").write()
    assert entry_labels(row.run) == ["cprl", "resnet (012345)", "resnet (ffffff)"]


def test_other_weights_of_one_recipe_are_told_apart(row: FakeRow) -> None:
    row.write()
    row.but(weights="cd" * 32).write()
    assert entry_labels(row.run) == ["resnet (ababab)", "resnet (cdcdcd)"]


def test_seeds_are_shown_only_if_there_are_several(row: FakeRow) -> None:
    row.write()
    assert entry_labels(row.run) == ["resnet"]
    row.but(seed=1, weights="cd" * 32, recipe_key="f" * 16).write()
    assert entry_labels(row.run) == ["resnet (seed 0)", "resnet (seed 1)"]


def test_attacks_with_equal_labels_are_shown_by_their_specs(row: FakeRow) -> None:
    row.write("pgd:steps=10", 4.0, label="pgd")
    row.write("pgd:steps=40", 4.0, label="pgd")
    row.write("fgsm:objective=mse", 4.0, label="fgsm")
    (group,) = load_board(row.run).groups
    assert list(group.attacks.values()) == ["fgsm", "pgd:steps=10", "pgd:steps=40"]


def test_of_two_cells_for_one_place_the_lowest_is_shown_and_said(row: FakeRow) -> None:
    row.write("fgsm", 4.0, draws=1)
    row.write("fgsm", 4.0, REVERSED, draws=2)
    row.write("fgsm", 4.0, draws=3, error="broken")
    (group,) = load_board(row.run).groups
    (entry,) = group.entries
    assert entry.attacked["fgsm", 4.0].srocc == pytest.approx(-1)
    assert any("Cells not shown: 2" in remark for remark in remarks(group))


def test_data_sets_and_splits_are_never_mixed(row: FakeRow) -> None:
    row.write()
    row.but(crop=224).write()
    row.but(dataset="demo", title="Demo", proxy=True).write()
    board = load_board(row.run)
    assert [g.title for g in board.groups] == ["LIVE (crop 224)", "LIVE (crop 320)", "Demo"]
    assert len({group.slug for group in board.groups}) == 3
    assert [g.proxy_labels for g in board.groups] == [False, False, True]


def test_a_group_that_nothing_attacked_comes_after_those_that_were(row: FakeRow) -> None:
    row.but(crop=224).write()
    row.write()
    row.write("fgsm", 4.0, REVERSED)
    assert [bool(g.attacks) for g in load_board(row.run).groups] == [True, False]


def test_few_scenes_are_said(row: FakeRow) -> None:
    row.but(scenes=("a", "a", "b", "b", "c", "c", "d", "d")).write()
    (group,) = load_board(row.run).groups
    assert any("Few scenes (4)" in remark for remark in remarks(group))
    (line,) = lines(row.run)
    assert (line["resampled"], line["units"], line["few_scenes"]) == ("scenes", "4", "true")


def test_every_number_of_the_table_carries_n_and_interval(row: FakeRow) -> None:
    row.write()
    row.write("fgsm", 4.0)
    row.write("pgd", 4.0, SWAPPED)
    found = lines(row.run)
    assert [x["attack"] for x in found] == ["clean", "fgsm", "pgd", PER_IMAGE_WORST]
    for line in found:
        assert line["n"] == "8"
        for name in ("srocc", "plcc", "krocc", "mse", "rmse"):
            value, low, high = (float(line[name + part]) for part in ("", "_low", "_high"))
            assert low - 1e-9 <= value <= high + 1e-9


def test_floats_are_written_in_full(row: FakeRow) -> None:
    row.write("fgsm", 4.0, SWAPPED)
    (entry,) = load_board(row.run).entries
    (line,) = [x for x in lines(row.run) if x["attack"] == "fgsm"]
    assert float(line["srocc"]) == entry.attacked["fgsm", 4.0].srocc


def test_tables_do_not_depend_on_time_place_or_order(row: FakeRow, tmp_path: Path) -> None:
    def fill(first: FakeRow, *, turned: bool) -> Path:
        rows = [first.but(reference=True), first.but(defense="cprl"), first.but(dataset="demo")]
        for one in reversed(rows) if turned else rows:
            one.write("pgd", 4.0, SWAPPED)
            one.write("fgsm", 4.0, REVERSED)
            one.write()
        return first.run

    one = fill(row, turned=False)
    two = fill(row.but(run=tmp_path / "elsewhere", seconds=99.0), turned=True)
    assert to_csv(load_board(one)) == to_csv(load_board(two))
    assert to_json(load_board(one)) == to_json(load_board(two))


def test_tables_hold_no_time_memory_or_path(row: FakeRow) -> None:
    row.but(seconds=98765.0).write()
    text = to_csv(load_board(row.run)) + to_json(load_board(row.run))
    for word in ("seconds", "memory", "98765", str(row.run)):
        assert word not in text


def test_the_document_says_its_schema_and_the_same_numbers(row: FakeRow) -> None:
    row.write()
    row.write("fgsm", 4.0, SWAPPED)
    document = json.loads(to_json(load_board(row.run)))
    assert document["schema"] == 1
    (ranked,) = document["datasets"][0]["standings"][0]["rows"]
    (line,) = [x for x in lines(row.run) if x["attack"] == "fgsm"]
    assert ranked["worst_srocc"]["value"] == float(line["worst_srocc"])
    assert ranked["results"][0]["measures"]["srocc"]["low"] == float(line["srocc_low"])


def test_a_run_without_attacks_shows_its_clean_numbers(row: FakeRow) -> None:
    row.write()
    standing = only(row.run, 0.0)
    assert standing.attacks == ()
    clean = standing.rows[0].clean
    assert clean is not None
    assert clean.srocc.value == pytest.approx(1)
    assert [x["attack"] for x in lines(row.run)] == ["clean"]


def test_a_lost_column_file_is_an_error_of_the_ranking(row: FakeRow) -> None:
    row.write("fgsm", 4.0)
    row.write("pgd", 4.0).with_suffix(".csv").unlink()
    with pytest.raises(ResultsError, match="cannot be read"):
        only(row.run)


def test_an_entry_without_clean_pass_is_shown(row: FakeRow) -> None:
    row.write("fgsm", 4.0)
    (entry,) = load_board(row.run).entries
    assert isinstance(entry, Entry)
    assert entry.clean is None
    assert only(row.run).rows[0].clean is None


def test_what_an_attack_on_the_own_gradient_would_leave_stands_beside(tmp_path: Path) -> None:
    row = FakeRow(tmp_path, defense="cprl")
    row.write()
    row.write("pgd", 1.0, [-x for x in row.clean], nonadaptive=row.clean)
    row.write("fgsm", 1.0, row.clean)
    board = load_board(tmp_path)
    lines = list(csv.DictReader(io.StringIO(to_csv(board))))
    found = {line["attack"]: (line["srocc"], line["srocc_nonadaptive"]) for line in lines}
    assert found["pgd"] == ("-1.0", "1.0")
    assert found["fgsm"] == ("1.0", "")
    [group] = board.groups
    [standing] = standings(group)
    [remark] = [r for r in standing_remarks(group, standing) if "own gradient" in r]
    assert "pgd would leave 1.000 in place of -1.000" in remark
    assert "1.000 by its own gradient" in to_html(board)
