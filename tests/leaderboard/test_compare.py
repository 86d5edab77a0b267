"""Which measured values are compared with a published one, and how they are judged."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared_papers import ABOUT, FGSM, FILE, SETTINGS, N, attacked, paper, row_of_paper
from leaderboard_runs import FakeRow

from iqabench.leaderboard.compare import Line, compare, judge
from iqabench.leaderboard.compare_tables import to_json
from iqabench.leaderboard.load import load_board
from iqabench.metrics import Estimate, agreement
from iqabench.published.paper import Paper


@pytest.fixture
def row(tmp_path: Path) -> FakeRow:
    """A row under all conditions of ``FILE``."""
    return row_of_paper(tmp_path / "run")


def lines(row: FakeRow, published: Paper | None = None) -> list[Line]:
    return list(compare(load_board(row.run), published or paper()).lines)


def line(row: FakeRow, *, method: str = "Base", attack: str = "FGSM", value: str = "0.10") -> Line:
    """Return the only line of a place on LIVE."""
    (found,) = [
        one
        for one in lines(row, paper(value))
        if (one.place.method, one.place.dataset, one.place.attack) == (method, "LIVE", attack)
        and one.metric == "SRCC"
    ]
    return found


def reasons(row: FakeRow, **changes: Any) -> tuple[str, ...]:
    """Return why a row that differs in ``changes`` of ``about`` is not comparable."""
    row.but(about={**ABOUT, **changes}).write(FGSM, 1.0, attacked(row), label=FGSM)
    found = line(row)
    assert found.verdict == ("not comparable" if found.reasons else found.verdict)
    return found.reasons


def test_equal_conditions_are_judged_by_the_interval(row: FakeRow) -> None:
    row.write(FGSM, 1.0, attacked(row), label="fgsm:objective=reflect")
    found = line(row)
    assert found.estimate is not None
    value, low, high = found.estimate.value, found.estimate.low, found.estimate.high
    assert value is not None
    assert low is not None
    assert high is not None
    inside = line(row, value=f"{value:.4f}")
    assert (inside.verdict, inside.reasons, inside.outside) == ("reproduced", (), 0.0)
    assert inside.difference == pytest.approx(0, abs=5e-5)
    above = line(row, value=f"{high + 0.02:.4f}")
    assert above.verdict == "not reproduced"
    assert above.outside == pytest.approx(0.02, abs=2e-4)
    below = line(row, value=f"{low - 0.03:.4f}")
    assert below.outside == pytest.approx(-0.03, abs=2e-4)
    assert below.difference == pytest.approx(value - low + 0.03, abs=1e-4)


@pytest.mark.parametrize(
    ("published", "verdict", "outside"),
    [
        ("0.9", "reproduced", 0.0),  # 0.85 to 0.95 round to it
        ("0.90", "not reproduced", 0.015),
        ("0.885", "not reproduced", 0.0045),
        ("0.88", "reproduced", 0.0),
        ("0.8855", "not reproduced", 0.00545),
        ("0.7", "not reproduced", -0.05),
        ("0.76", "not reproduced", -0.035),
        ("0.795", "not reproduced", -0.0045),
        ("1", "reproduced", 0.0),
        ("0", "not reproduced", -0.3),
    ],
)
def test_half_a_unit_of_the_last_printed_digit_counts(
    published: str, verdict: str, outside: float
) -> None:
    found = judge(Decimal(published), Estimate(0.84, 0.8, 0.88))
    assert found[0] == verdict
    assert found[1] == pytest.approx(outside, abs=1e-12)


def test_without_an_interval_nothing_is_judged(row: FakeRow) -> None:
    assert judge(Decimal("0.5"), Estimate(None)) == ("not comparable", None)
    row.write(FGSM, 1.0, [0.0] * N, label=FGSM)
    found = line(row)
    assert (found.verdict, found.reasons) == ("not comparable", ("srocc has no interval here",))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dataset_part": "20 of its 779 images"}, "only 20 of its 779 images"),
        ({"split_origin": "4:1 by image, seed 0"}, "split 4:1 by image, seed 0, not 4:1 by scene"),
        ({"split_origin": "file live.json"}, "split file live.json, not 4:1 by scene"),
        ({"split_origin": None}, "split not recorded, not 4:1 by scene"),
        ({"backbone": "mobilenet_v2"}, "backbone mobilenet_v2, not resnet50"),
        ({"backbone_weights": "none"}, "started from nothing, not from ImageNet"),
        (
            {"backbone_weights": None},
            "started from somewhere that is not recorded, not from ImageNet",
        ),
        ({"recipe_settings": {**SETTINGS, "lr": 5e-4}}, "recipe: lr is 0.0005, not 3e-05"),
        ({"recipe_settings": None}, "recipe: batch_size and lr not recorded"),
        ({"recipe_settings": {**SETTINGS, "epochs": 3}}, None),
        ({"backbone_weights": {"sha256": "00"}}, None),
    ],
    ids=str,
)
def test_a_condition_that_differs_is_the_reason(
    row: FakeRow, changes: dict[str, Any], reason: str | None
) -> None:
    assert reasons(row, **changes) == (() if reason is None else (reason,))


@pytest.mark.parametrize(
    ("spec", "label", "eps", "reason"),
    [
        ("fgsm:objective=mse,threshold=0.5", "fgsm", 1.0, None),
        (
            "fgsm:objective=raise,threshold=0.5",
            "fgsm:objective=raise",
            1.0,
            "attack: objective is raise, not mse",
        ),
        (
            "fgsm:objective=reflect,threshold=median",
            "fgsm:objective=reflect,threshold=median",
            1.0,
            "attack: threshold is median, not 0.5",
        ),
        (FGSM, "fgsm:objective=reflect", 4.0, "eps 4/255, not 1/255"),
    ],
)
def test_objective_and_eps_must_match(
    row: FakeRow, spec: str, label: str, eps: float, reason: str | None
) -> None:
    row.write(spec, eps, attacked(row), label=label)
    assert line(row).reasons == (() if reason is None else (reason,))


def test_a_size_or_another_parameter_of_the_defense_is_a_reason(row: FakeRow) -> None:
    row.but(crop=224).write(FGSM, 1.0, attacked(row), label=FGSM)
    row.but(defense="resnet:pool=max").write()
    assert line(row).reasons == ("size: crop is 224, not 320",)
    assert line(row, attack="clean").reasons == ("defense: pool is max, not its default",)


def test_other_data_are_shown_only_where_the_papers_are_not(row: FakeRow) -> None:
    row.but(dataset="koniq", title="KonIQ").write()
    assert line(row, attack="clean").verdict == "not measured"
    row.but(dataset="biq2021", about={**ABOUT, "dataset_part": "2 of its 9"}).write()
    other = line(row, attack="clean")
    assert other.reasons == ("data set biq2021, not live",)
    row.but(backbone="resnet18", crop=224, about={**ABOUT, "split_origin": "official"}).write()
    own = line(row, attack="clean")
    assert own.measured is not None
    assert own.measured.dataset == "live"
    assert len(own.reasons) == 3
    assert own.others == 1


def test_every_comparable_cell_is_judged_and_no_other_one_shown(row: FakeRow) -> None:
    row.write("fgsm:objective=mse,threshold=0.5", 1.0, attacked(row), label="fgsm")
    row.write(FGSM, 1.0, [-x for x in row.clean], label="fgsm:objective=reflect")
    row.write(FGSM, 2.0, attacked(row), label="fgsm:objective=reflect")
    row.but(seed=1, weights="cd" * 32).write(FGSM, 1.0, label="fgsm:objective=reflect")
    value = load_board(row.run).entries[0].attacked["fgsm:objective=mse,threshold=0.5", 1.0].srocc
    found = [one for one in lines(row, paper(f"{value:.3f}")) if one.place.attack == "FGSM"]
    live = [one for one in found if one.place.dataset == "LIVE"]
    assert {one.verdict for one in live} == {"reproduced", "not reproduced"}
    assert sorted((m.attack, m.entry.seed) for one in live if (m := one.measured)) == [
        ("fgsm", 0),
        ("fgsm:objective=reflect", 0),
        ("fgsm:objective=reflect", 1),
    ]
    (koniq,) = [one for one in found if one.place.dataset == "KonIQ"]
    assert koniq.verdict == "not measured"


def test_named_parameters_choose_the_row_and_wrappers_are_other_methods(row: FakeRow) -> None:
    row.but(defense="cprl:b=0.4,rank=indices").write()
    row.but(defense="at:eps_255=2+resnet").write()
    row.but(defense="resnet").write(FGSM, 1.0, error="BudgetError: out of the ball", label=FGSM)
    found = {one.place.method: one for one in lines(row) if one.place.table.table == "3"}
    assert found["Small"].verdict == "not measured"
    assert found["Large"].verdict != "not measured"
    assert found["Large"].check is not None
    assert "defense rank=indices" in found["Large"].check.left_open
    rest = [one for one in lines(row) if one.place.table.table != "3"]
    assert {one.verdict for one in rest} == {"not measured"}


def test_mapped_plcc_stands_beside_raw_and_never_replaces_it(row: FakeRow) -> None:
    mos = np.asarray(row.mos)
    noise = np.random.default_rng(3).normal(scale=0.02, size=N)
    scores = 0.5 + 0.1 * np.log(mos / (1 - mos)) + noise
    row.write("clean", 0.0, np.log(scores / (1 - scores)).tolist())
    (found,) = [one for one in lines(row) if one.metric == "PLCC"]
    raw = agreement(np.asarray(row.mos), scores, scores, [None] * N, resamples=200)
    assert found.estimate is not None
    assert found.estimate.value == pytest.approx(raw.estimates["plcc"].value, abs=1e-12)
    assert found.beside is not None
    assert found.beside.low is None
    assert found.beside.value is not None
    assert found.estimate.value is not None
    assert found.beside.value > found.estimate.value + 0.005
    mapped = paper(text=FILE.replace("PLCC: plcc", "PLCC: plcc_logistic"))
    (judged,) = [one for one in lines(row, mapped) if one.metric == "PLCC"]
    assert judged.beside == found.estimate
    assert judged.estimate is not None
    assert judged.estimate.value == found.beside.value
    assert judged.estimate.low is not None
    for one, two in ((paper(), mapped), (mapped, paper())):
        first, second = (json.loads(to_json(compare(load_board(row.run), p))) for p in (one, two))
        pairs = [
            [(d["plcc"], d["plcc_logistic"]) for d in document["lines"] if d["metric"] == "PLCC"]
            for document in (first, second)
        ]
        assert pairs[0] == pairs[1]
