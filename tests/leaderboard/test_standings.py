"""How the rows of a run are ranked, and on which attacks they are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from board_reading import lines, only
from leaderboard_runs import REVERSED, SWAPPED, FakeRow

from iqabench.errors import ResultsError
from iqabench.leaderboard.load import load_board
from iqabench.leaderboard.rank import PER_IMAGE_WORST, WEAK_DROP, Row, Standing, per_image_worst
from iqabench.leaderboard.tables import remarks, standing_remarks

FOUR: dict[str, Any] = {"mos": (0.1, 0.4, 0.6, 0.9), "clean": (-2, -1, 1, 2)}


@pytest.fixture
def row(tmp_path: Path) -> FakeRow:
    """A row of a run in a fresh folder; ``row.but(...)`` is another one of the same run."""
    return FakeRow(tmp_path / "run")


def labels(standing: Standing) -> list[str]:
    return [row.entry.label for row in standing.rows]


def find(standing: Standing, label: str) -> Row:
    (row,) = [row for row in standing.rows if row.entry.label == label]
    return row


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
