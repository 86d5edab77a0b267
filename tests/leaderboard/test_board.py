from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from leaderboard_runs import FakeRow

from iqabench.errors import ResultsError
from iqabench.leaderboard.html import to_html
from iqabench.leaderboard.load import Entry, load_board
from iqabench.leaderboard.rank import (
    PER_IMAGE_WORST,
    WEAK_DROP,
    Row,
    Standing,
    per_image_worst,
    standings,
)
from iqabench.leaderboard.tables import remarks, standing_remarks, to_csv, to_json

FOUR: dict[str, Any] = {"mos": (0.1, 0.4, 0.6, 0.9), "clean": (-2, -1, 1, 2)}
REVERSED = (4, 3, 2, 1, -1, -2, -3, -4)
SWAPPED = (-4, -3, -2, -1, 4, 3, 2, 1)


@pytest.fixture
def row(tmp_path: Path) -> FakeRow:
    """A row of a run in a fresh folder; ``row.but(...)`` is another one of the same run."""
    return FakeRow(tmp_path / "run")


def only(run: Path, eps: float = 4.0) -> Standing:
    """Return the standing of a run with one group."""
    (group,) = load_board(run).groups
    (standing,) = [s for s in standings(group) if s.eps_255 == eps]
    return standing


def labels(standing: Standing) -> list[str]:
    return [row.entry.label for row in standing.rows]


def find(standing: Standing, label: str) -> Row:
    (row,) = [row for row in standing.rows if row.entry.label == label]
    return row


def lines(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(load_board(run)))))


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


def test_rows_rank_by_their_lowest_srocc_not_by_one_attack(row: FakeRow) -> None:
    strong, mixed = row.but(defense="strong"), row.but(defense="mixed")
    for one in (strong, mixed):
        one.write()
    strong.write("fgsm", 4.0, SWAPPED)
    strong.write("pgd", 4.0, SWAPPED)
    mixed.write("fgsm", 4.0)
    mixed.write("pgd", 4.0, REVERSED)
    standing = only(row.run)
    assert labels(standing) == ["strong", "mixed"]
    assert [r.rank for r in standing.rows] == [1, 2]
    lowest = find(standing, "mixed").lowest
    assert lowest is not None
    assert lowest.srocc.value == pytest.approx(-1)
    assert lowest.by == "pgd"


def test_equal_rows_share_a_rank(row: FakeRow) -> None:
    for defense in ("a", "b"):
        row.but(defense=defense).write("fgsm", 4.0)
    row.but(defense="c").write("fgsm", 4.0, REVERSED)
    assert [r.rank for r in only(row.run).rows] == [1, 1, 3]


def test_the_per_image_worst_can_be_lower_than_every_attack(row: FakeRow) -> None:
    small = row.but(**FOUR)
    small.write()
    # Ranks 2 3 4 1 and 4 1 2 3 against 1 2 3 4: 1 - 6 * 12 / 60 each; together 4 2 3 1.
    small.write("down", 4.0, (-2, -1, 1, -3))
    small.write("up", 4.0, (3, -1, 1, 2))
    (result,) = only(row.run).rows
    values = [r.measures.srocc.value for r in result.results if r.measures]
    assert values == pytest.approx([-0.2, -0.2])
    assert result.worst is not None
    assert result.worst.srocc.value == pytest.approx(1 - 6 * 18 / 60)
    assert result.worst.srocc.low is not None
    assert result.lowest is not None
    assert result.lowest.by == PER_IMAGE_WORST


def test_the_per_image_worst_is_not_the_lowest_logit(row: FakeRow) -> None:
    small = row.but(**FOUR)
    small.write("lower_all", 4.0, (-12, -11, -9, -8))
    small.write("harmless", 4.0, (-2, -1, 1, 2))
    (entry,) = load_board(row.run).entries
    worst = per_image_worst([entry.attacked["lower_all", 4.0], entry.attacked["harmless", 4.0]])
    # Images below 0.5 keep their clean logit: -2 -1 -9 -8 has ranks 3 4 1 2.
    assert worst.srocc.value == pytest.approx(1 - 6 * 16 / 60)


def test_the_per_image_worst_joins_images_by_name_not_by_place(row: FakeRow) -> None:
    small = row.but(**FOUR)
    small.write("down", 4.0, (-2, -1, 1, -3), ids="abcd")
    turned = small.but(mos=FOUR["mos"][::-1], clean=FOUR["clean"][::-1])
    turned.write("up", 4.0, (2, 1, -1, 3), ids="dcba")
    (result,) = only(row.run).rows
    assert result.worst is not None
    assert result.worst.srocc.value == pytest.approx(-0.8)


def test_attacks_on_other_images_are_refused(row: FakeRow) -> None:
    row.write("fgsm", 4.0)
    row.write("pgd", 4.0, ids="stuvwxyz")
    with pytest.raises(ResultsError, match="other images"):
        only(row.run)


def test_rows_are_compared_only_on_attacks_that_all_met(row: FakeRow) -> None:
    honest, lazy = row.but(defense="honest"), row.but(defense="lazy")
    honest.write("fgsm", 4.0)
    honest.write("strong", 4.0, REVERSED)
    lazy.write("fgsm", 4.0, SWAPPED)
    (group,) = load_board(row.run).groups
    standing = only(row.run)
    assert standing.compared == ("fgsm",)
    assert labels(standing) == ["honest", "lazy"]
    beyond = find(standing, "honest").lowest_met
    assert beyond is not None
    assert beyond.srocc.value == pytest.approx(-1)
    said = "\n".join(standing_remarks(group, standing))
    assert "every row with results met: fgsm." in said
    assert "Not compared on strong, without result for lazy." in said
    assert "lazy: not run: strong." in said
    assert "honest: lowest SROCC over every attack it met: -1.000" in said


def test_a_row_without_results_does_not_empty_the_comparison(row: FakeRow) -> None:
    row.but(defense="met").write("fgsm", 4.0)
    row.but(defense="only_clean").write()
    standing = only(row.run)
    assert standing.compared == ("fgsm",)
    assert [r.rank for r in standing.rows] == [1, None]


def test_nothing_is_ranked_without_a_common_attack(row: FakeRow) -> None:
    row.but(defense="a").write("fgsm", 4.0)
    row.but(defense="b").write("pgd", 4.0)
    (group,) = load_board(row.run).groups
    standing = only(row.run)
    assert [r.rank for r in standing.rows] == [None, None]
    assert "nothing is ranked" in standing_remarks(group, standing)[0]


def test_an_attack_that_spares_the_reference_is_too_weak(row: FakeRow) -> None:
    reference, defended = row.but(reference=True), row.but(defense="cprl")
    for one in (reference, defended):
        one.write()
    reference.write("mild", 4.0)
    reference.write("strong", 4.0, REVERSED)
    # What the defended row itself loses must not matter.
    defended.write("mild", 4.0, REVERSED)
    defended.write("strong", 4.0)
    standing = only(row.run)
    for label in ("resnet", "cprl"):
        marks = {r.attack: r.too_weak for r in find(standing, label).results}
        assert marks == {"mild": True, "strong": False}


def test_a_drop_of_the_limit_is_not_too_weak(row: FakeRow) -> None:
    reference = row.but(reference=True)
    reference.write()
    reference.write("swap", 4.0, (-3, -4, -2, -1, 1, 2, 3, 4))
    reference.write("shuffle", 4.0, (-2, -3, -4, -1, 1, 2, 3, 4))
    marks = {r.attack: r for r in only(row.run).rows[0].results}
    drops = {a: 1 - (r.measures.srocc.value or 0) for a, r in marks.items() if r.measures}
    assert drops["swap"] < drops["shuffle"] < WEAK_DROP
    assert marks["swap"].too_weak is True
    reference.write("swap", 8.0, SWAPPED)
    assert only(row.run, 8.0).rows[0].results[0].too_weak is False


def test_the_reference_must_share_backbone_and_seed(row: FakeRow) -> None:
    other = row.but(reference=True, backbone="resnet50")
    for one in (other, row.but(defense="cprl")):
        one.write()
        one.write("fgsm", 4.0)
    row.but(defense="nima").write()  # never attacked, so nothing is asked of it
    (group,) = load_board(row.run).groups
    assert find(only(row.run), "cprl").results[0].too_weak is None
    assert find(only(row.run), "resnet").results[0].too_weak is True
    said = [r for r in remarks(group) if "too weak is unknown" in r]
    assert len(said) == 1
    assert said[0].endswith("for: cprl.")


def test_an_undefined_srocc_sorts_last_and_is_said(row: FakeRow) -> None:
    row.but(defense="bad").write("fgsm", 4.0, REVERSED)
    constant = row.but(defense="constant")
    constant.write("fgsm", 4.0, [0.5] * 8)
    constant.write("pgd", 4.0)
    row.but(defense="bad").write("pgd", 4.0)
    standing = only(row.run)
    assert labels(standing) == ["bad", "constant"]
    lowest = find(standing, "constant").lowest
    assert lowest is not None
    assert lowest.srocc.value is None
    (line,) = [x for x in lines(row.run) if (x["defense"], x["attack"]) == ("constant", "fgsm")]
    assert line["srocc"] == ""
    assert line["worst_srocc"] == ""
    assert line["rank"] == "2"
    assert float(line["mse"]) > 0


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
