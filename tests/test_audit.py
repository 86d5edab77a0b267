"""``iqabench audit`` from the command line, on a small data set that a small network learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import write_biq2021, write_config

from iqabench.audit.auditing import PROBED
from iqabench.audit.controls import Share, controls
from iqabench.audit.thresholds import DELTA
from iqabench.cli import main
from iqabench.cli.audit import IMAGES, QUICK_IMAGES
from iqabench.planning import attack
from iqabench.suites import suites

RECIPE = {"resize": 32, "crop": 32, "batch_size": 16, "epochs": 8, "lr": 3e-3}
DEFENSES = ("false_gradient+resnet", "const")


class Place:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_biq2021(folder / "data", train=160, test=60)
        self.config = write_config(folder / "tiny.yaml", recipes={"tiny": RECIPE})
        self.out = folder / "run"

    def audit(self, *flags: str) -> int:
        return main(
            [
                *("audit", "--config", str(self.config), "--data-root", str(self.folder / "data")),
                *("--store", str(self.folder / "store"), "--dataset", "biq2021"),
                *("--out", str(self.out), *flags),
            ]
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("audit"))


@pytest.fixture(scope="module")
def records(place: Place) -> dict[str, dict[str, Any]]:
    flags = [flag for spec in DEFENSES for flag in ("--defense", spec)]
    assert place.audit("--quick", "--eps", "4", "--images", "40", *flags) == 0
    return read(place)


def read(place: Place) -> dict[str, dict[str, Any]]:
    found = [json.loads(p.read_text()) for p in (place.out / "audits").glob("*.json")]
    return {record["defense"]: record for record in found}


def test_every_defense_has_a_record_and_a_page(
    place: Place, records: dict[str, dict[str, Any]]
) -> None:
    assert set(DEFENSES) <= set(records)
    pages = list((place.out / "audits").glob("*.html"))
    assert len(pages) >= len(DEFENSES)
    for page in pages:
        text = page.read_text()
        assert "http://" not in text.replace("http://www.w3.org", "")
        assert "<script" not in text
    for record in records.values():
        assert record["error"] is None
        assert record["suite"]["name"] == "audit_quick-v1"
        assert (record["sample"]["n"], record["clean_sample"]["n"]) == (40, 60)
        assert [f["eps_255"] for f in record["findings"]] == [4]
        assert record["thresholds"]["DELTA"] == DELTA


def test_a_gradient_that_points_the_wrong_way_is_a_mask(
    records: dict[str, dict[str, Any]],
) -> None:
    record = records["false_gradient+resnet"]
    assert record["conduct"] is None
    [finding] = record["findings"]
    assert finding["verdict"] == "masked", finding["why"]
    assert finding["apparent"]["low"] > DELTA
    raised = {reason["test"] for reason in finding["reasons"] if reason["raised"]}
    assert {"T2", "T5", "T7", "T9"} <= raised
    assert record["probes"]["linearity"]["0.25"] < 0
    tests = [int(reason["test"][1:]) for reason in finding["reasons"]]
    assert tests == sorted(tests)


@pytest.mark.slow
def test_a_score_that_depends_on_the_batch_is_found_and_attacked_alone(place: Place) -> None:
    flags = ("--quick", "--eps", "4", "--images", "20", "--defense", "batch_score+resnet")
    assert place.audit(*flags) == 0
    record = read(place)["batch_score+resnet"]
    assert record["attacked_as"] == "one_by_one+batch_score+resnet"
    assert "batch" in record["conduct"]


def test_a_constant_has_no_signal(records: dict[str, dict[str, Any]]) -> None:
    [finding] = records["const"]["findings"]
    assert finding["verdict"] == "no signal"


def test_the_cost_of_a_quick_audit_is_what_the_docs_say(
    records: dict[str, dict[str, Any]],
) -> None:
    record = records["false_gradient+resnet"]
    per_image = record["gradients"] / record["sample"]["n"]
    assert per_image == 2 * 66  # the defense and its sibling; transfer's are the source's


def gradients(name: str, images: int, radii: int, routes: int) -> float:
    """Of the attacks of an audit: the defense on its routes, its sibling, and transfer's source."""
    own = transferred = 0.0
    for member in suites()[name].members:
        passes = attack(member).component.passes(radii)
        assert passes is not None
        if member.startswith("transfer"):
            transferred += passes.backwards
        else:
            own += passes.backwards
    return images * (own * (routes + 1) + transferred * 2)


@pytest.mark.parametrize(("routes", "said"), [(1, 60_000), (4, 121_000), (5, 141_000)])
def test_an_audit_costs_what_the_docs_say_and_a_quick_one_a_tenth(routes: int, said: int) -> None:
    probes = 2 * PROBED
    default = gradients("audit-v1", IMAGES, 2, routes) + probes
    quick = gradients("audit_quick-v1", QUICK_IMAGES, 1, routes) + probes
    assert default == pytest.approx(said, rel=0.01)
    assert default <= 150_000
    assert round(quick / default, 2) == 0.1
    document = (Path(__file__).parents[1] / "docs" / "audit.md").read_text()
    assert f"{said:,}" in document


@pytest.mark.slow
def test_undeclared_randomness_is_declared_before_it_is_attacked(place: Place) -> None:
    flags = ("--quick", "--eps", "4", "--images", "4", "--defense", "random_input+resnet")
    assert place.audit(*flags) == 0
    record = read(place)["random_input+resnet"]
    assert record["attacked_as"] == "declared+random_input+resnet"
    assert "call to call" in record["conduct"]


def test_a_defense_that_fails_before_it_is_attacked_has_a_record_and_no_verdict(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such layer")

    monkeypatch.setattr("iqabench.audit.auditing.look", broken)
    run = tmp_path / "run"
    assert place.audit("--quick", "--defense", "const", "--out", str(run)) == 1
    [path] = run.glob("audits/*.json")
    record = json.loads(path.read_text())
    assert (record["error"], record["findings"]) == ("RuntimeError: no such layer", [])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "give --defense SPEC, or --controls"),
        (("--defense", "resnet"), "resnet is the undefended reference"),
        (("--defense", "nope"), "unknown defense 'nope'"),
        (("--controls", "--defense", "cprl"), "without --defense"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    place: Place, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], words: str
) -> None:
    assert place.audit("--quick", *flags) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_the_interval_of_a_share_is_exact() -> None:
    low, high = Share(0, 24).interval
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 24))
    low, high = Share(30, 30).interval
    assert low == pytest.approx(0.025 ** (1 / 30))
    assert high == 1
    assert Share(0, 0).interval == (0, 1)


def test_the_list_of_controls_is_three_of_each_kind() -> None:
    kinds = [control.kind for control in controls() if control.truth != "useless"]
    assert {kinds.count(kind) for kind in kinds} == {3}
    assert len(set(kinds)) == 18
