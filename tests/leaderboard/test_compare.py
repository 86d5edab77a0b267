from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from leaderboard_runs import FakeRow
from rich.console import Console

from iqabench.cli import main
from iqabench.leaderboard.compare import Comparison, Line, compare, judge
from iqabench.leaderboard.compare_tables import notes, to_json
from iqabench.leaderboard.compare_terminal import render
from iqabench.leaderboard.load import load_board
from iqabench.metrics import Estimate, agreement
from iqabench.published.paper import Paper
from iqabench.published.reading import read_paper

N = 60
SETTINGS = {
    "resize": 320,
    "crop": 320,
    "flip": False,
    "batch_size": 16,
    "epochs": 50,
    "lr": 3e-5,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "final_lr": 0.0,
}
ABOUT: dict[str, Any] = {
    "dataset_part": None,
    "split_origin": "4:1 by scene, seed 0",
    "backbone_weights": {"torchvision": "IMAGENET1K_V1", "sha256_begins": "11ad3fa6"},
    "recipe_settings": SETTINGS,
}
FGSM = "fgsm:objective=reflect,threshold=0.5"
FILE = """
schema: 1
name: mine
title: A paper
source: https://example.org
notes: [It has no seeds.]
metrics: {SRCC: srocc, PLCC: plcc, MSE: mse}
recipe: {resize: 320, crop: 320, batch_size: 16, lr: 3.0e-5, epochs: null}
pretrained: true
datasets:
  LIVE: {dataset: live, split: "4:1 by scene"}
  KonIQ: {dataset: koniq}
attacks:
  clean: {attack: clean}
  FGSM:
    eps_255: 1
    attack: ["fgsm:objective=mse", "fgsm:objective=reflect,threshold=0.5"]
    note: The objective is not said.
methods:
  Base: {defense: resnet, backbone: resnet50}
  Small: {defense: "cprl:*,b=0.1", backbone: resnet50}
  Large: {defense: "cprl:*,b=0.4", backbone: resnet50}
tables:
  - {table: 1, attack: FGSM, metrics: [SRCC], cells: {Base: {LIVE: [@], KonIQ: [.1]}}}
  - {table: 2, dataset: LIVE, metrics: [SRCC, PLCC, MSE], cells: {Base: {clean: [.9, .9, .01]}}}
  - {table: 3, attack: clean, metrics: [SRCC], cells: {Small: {LIVE: [.3]}, Large: {LIVE: [.4]}}}
"""


def paper(value: str = "0.10", text: str = FILE) -> Paper:
    return read_paper(text.replace("@", value), "mine")


@pytest.fixture
def row(tmp_path: Path) -> FakeRow:
    """A row under all conditions of ``FILE``."""
    rng = np.random.default_rng(1)
    mos = rng.uniform(0.05, 0.95, size=N)
    return FakeRow(
        tmp_path / "run",
        backbone="resnet50",
        reference=True,
        about=ABOUT,
        resamples=200,
        mos=tuple(mos.tolist()),
        clean=tuple((6 * (mos - 0.5) + rng.normal(scale=0.6, size=N)).tolist()),
    )


def attacked(row: FakeRow) -> list[float]:
    rng = np.random.default_rng(2)
    return [float(x) for x in np.asarray(row.clean) * 0.2 + rng.normal(size=N)]


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


def test_what_the_paper_leaves_open_is_told(row: FakeRow) -> None:
    row.write(FGSM, 1.0, attacked(row), label="fgsm:objective=reflect")
    text = "\n".join(notes(compare(load_board(row.run), paper())))
    for part in ("recipe epochs=50", "attack read as fgsm:objective=reflect", "It has no seeds."):
        assert part in text
    assert "The objective is not said." in text
    assert "lr=" not in text


def test_weak_attacks_and_stronger_ones_are_told(row: FakeRow) -> None:
    row.write()
    row.write(FGSM, 1.0, label="fgsm:objective=reflect")
    row.write("pgd", 1.0, [-x for x in row.clean])
    comparison = compare(load_board(row.run), paper())
    assert "lowest SROCC over every attack it met: -0.9" in "\n".join(notes(comparison))
    document = json.loads(to_json(comparison))
    (weak,) = [d for d in document["lines"] if (d["table"], d["dataset"]) == ("1", "LIVE")]
    assert weak["attack_too_weak"] is True
    assert weak["worst_srocc"] < -0.9 < 0.9 < weak["value"]
    assert "~ attack too weak" in shown(comparison)


def shown(comparison: Comparison, width: int = 80, *, with_unmeasured: bool = False) -> str:
    console = Console(width=width, record=True, file=None, force_terminal=False, quiet=False)
    with console.capture() as captured:
        render(comparison, console, with_unmeasured=with_unmeasured)
    return captured.get()


def test_the_terminal_lists_what_is_measured_and_counts_the_rest(row: FakeRow) -> None:
    row.write()
    comparison = compare(load_board(row.run), paper())
    text = shown(comparison)
    assert max(map(len, text.splitlines())) <= 80
    assert "Table 2: Base on LIVE, clean" in text
    assert "after logistic mapping" in text
    assert "Table 3: Small" not in text
    assert "Table 3: Small on LIVE, clean\n  not measured: SRCC 0.3" in shown(
        comparison, with_unmeasured=True
    )
    counts = {table: dict(count) for table, count in comparison.counts().items()}
    assert counts["1"] == {"not measured": 2}
    assert counts["3"] == {"not measured": 2}
    assert sum(counts["2"].values()) == 3


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


def test_the_command_writes_every_published_value(
    row: FakeRow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row.write()
    row.write(FGSM, 1.0, attacked(row), label="fgsm:objective=reflect")
    assert main(["compare", str(row.run), "--with", "cprl-paper"]) == 0
    out = capsys.readouterr().out
    written = row.run / "compare-cprl-paper.csv"
    assert f"wrote {written}" in out
    assert "Table 4: ResNet on LIVE, clean" in out
    table = list(csv.DictReader(io.StringIO(written.read_text())))
    assert len({(d["table"], d["method"], d["dataset"], d["attack"], d["metric"]) for d in table})
    assert len(table) == 300
    (clean,) = [
        d
        for d in table
        if (d["table"], d["method"], d["dataset"], d["metric"]) == ("4", "ResNet", "LIVE", "SROCC")
    ]
    assert clean["verdict"] in ("reproduced", "not reproduced")
    assert clean["published"] == "0.8807"
    assert clean["few_scenes"] == "false"
    assert "0.0750" in [d["published"] for d in table]  # printed zeros stay
    first = written.read_bytes()
    assert main(["compare", str(row.run), "--with", "cprl-paper", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["lines"]) == 300
    assert document["counts"]["5"]["not measured"] == 36
    assert written.read_bytes() == first
    mine = tmp_path / "my.yaml"
    mine.write_text(FILE.replace("@", "0.1"))
    assert main(["compare", str(row.run), "--with", str(mine), "--all"]) == 0
    assert "not measured: SRCC 0.3" in capsys.readouterr().out
    assert (row.run / "compare-mine.csv").is_file()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--with", "cprl-papr"], "Did you mean 'cprl-paper'?"),
        (["--with", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        ([], "the following arguments are required: --with"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_code_2(
    row: FakeRow, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    row.write()
    assert main(["compare", str(row.run), *flags]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not list(row.run.glob("compare-*"))


def test_a_run_without_anything_of_the_paper_says_so(row: FakeRow) -> None:
    row.but(defense="other").write()
    comparison = compare(load_board(row.run), paper())
    assert notes(comparison) == ["Nothing in this run is of a method and an attack of the paper."]
    assert {one.verdict for one in comparison.lines} == {"not measured"}
