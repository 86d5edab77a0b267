from __future__ import annotations

import csv
import json
import re
import shlex
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import InstallPlugin
from scipy import stats
from support import Workplace

from iqabench.chains import Chain
from iqabench.cli import main
from iqabench.cli.parser import build_parser
from iqabench.figures.certified import ordered_share
from iqabench.resampling import Units

BOTH = ["--defense", "smoothing+resnet", "--defense", "smoothing:sigma=0.05+resnet"]
QUICK = ["--l2", "0.02,0.01,0.02,0.2", "--samples", "40", "--confidence", "0.99"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("certify"))


def certify(place: Workplace, out: Path, *flags: str) -> int:
    words = ["certify", "--dataset", "biq2021", *flags, "--out", str(out)]
    return main([*words, *place.places()])


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "certify.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(table: list[dict[str, str]], name: str, missing: float) -> np.ndarray:
    return np.array([float(row[name] or missing) for row in table])


@pytest.fixture(scope="module")
def done(place: Workplace) -> Path:
    out = place.folder / "done"
    assert certify(place, out, *BOTH, *QUICK) == 0
    return out


def test_the_same_command_writes_the_same_bytes(
    place: Workplace, done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert certify(place, tmp_path, *BOTH, *QUICK, "--json") == 0
    assert capsys.readouterr().out == (done / "certify.json").read_text()
    names = [f"certify.{kind}" for kind in ("csv", "json", "png", "svg")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (done / name).read_bytes(), name


def test_the_record_says_of_all_images_what_the_table_says_of_each(done: Path) -> None:
    record = json.loads((done / "certify.json").read_text())
    assert (record["schema"], record["samples"], record["confidence"]) == (1, 40, 0.99)
    assert record["images"] == 12
    assert record["linf_1_255_in_l2"] == pytest.approx((3 * 32 * 32) ** 0.5 / 255)
    table = rows(done)
    assert len(table) == 24
    for one, sigma in zip(record["defenses"], (0.12, 0.05), strict=True):
        own = [row for row in table if row["defense"] == one["defense"]]
        score, mos = column(own, "score", np.nan), column(own, "mos", np.nan)
        assert one["sigma"] == sigma
        reach = stats.norm.ppf(1 - 0.005 ** (1 / 40))
        assert one["largest_finite_l2"] == pytest.approx(-sigma * reach)
        expected = stats.spearmanr(score, mos).statistic
        assert one["agreement"]["srocc"]["value"] == pytest.approx(expected)
        assert [radius["l2"] for radius in one["radii"]] == [0.01, 0.02, 0.2]
        for radius in one["radii"]:
            check_radius(radius, own, score, one["largest_finite_l2"])


def check_radius(
    radius: dict[str, Any], own: list[dict[str, str]], score: np.ndarray, largest: float
) -> None:
    low = column(own, f"low_{radius['l2']}", -np.inf)
    high = column(own, f"high_{radius['l2']}", np.inf)
    assert (low <= score).all()
    assert (score <= high).all()
    pairs = list(combinations(range(len(score)), 2))
    apart = [high[i] < low[j] or high[j] < low[i] for i, j in pairs]
    assert radius["ordered"]["value"] == pytest.approx(np.mean(apart))
    if radius["l2"] > largest:
        assert radius["finite"] == 0
        assert radius["width_median"] is radius["width_p95"] is None
    else:
        widths = np.sort(high - low)
        assert radius["finite"] == 1
        assert widths[0] > 0
        assert radius["width_median"] == pytest.approx(widths[5], rel=1e-6)
        assert radius["width_p95"] == pytest.approx(widths[11], rel=1e-6)


def test_other_radii_and_images_change_nothing(
    place: Workplace, done: Path, tmp_path: Path
) -> None:
    flags = [*BOTH[:2], *QUICK[2:], "--l2", "0.02", "--images", "5"]
    assert certify(place, tmp_path, *flags) == 0
    whole = {(row["defense"], row["image_id"]): row for row in rows(done)}
    table = rows(tmp_path)
    assert len(table) == 5
    for row in table:
        same = whole[row["defense"], row["image_id"]]
        for name in ("score", "low_0.02", "high_0.02"):
            assert float(row[name]) == pytest.approx(float(same[name]), abs=1e-6)


def test_the_terminal_says_what_the_numbers_do_not(
    place: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*BOTH[:2], *QUICK[2:], "--l2", "0.01", "--images", "1"]
    assert certify(place, tmp_path, *flags) == 0
    out = capsys.readouterr().out
    said = " ".join(out.split())
    assert "Confidence 0.99 for each image, not for all at once." in said
    assert "1/255 in L-infinity is 0.217 in L2, far outside (21.7 x 0.01)." in said
    assert "undefined" in said, "one image has no order"
    assert said.endswith(f"wrote {tmp_path / 'certify.json'}")
    (one,) = json.loads((tmp_path / "certify.json").read_text())["defenses"]
    assert one["radii"][0]["ordered"] == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--l2", "0"], "l2 0 is not a radius"),
        (["--l2", "0.1,-1"], "l2 -1 is not a radius"),
        (["--l2", "inf"], "l2 inf is not a radius"),
        (["--l2", "nan"], "l2 nan is not a radius"),
        (["--l2", "0.1,"], "l2 '' is not a number"),
        (["--l2", "1_0"], "l2 '1_0' is not a number"),
        (["--confidence", "1"], "confidence 1 is none"),
        (["--confidence", "0"], "confidence 0 is none"),
        (["--confidence", "nan"], "confidence nan is none"),
        (["--samples", "0"], "samples must be at least 1, got 0"),
        (["--samples", "many"], "invalid int value: 'many'"),
        (["--samples", "18", "--l2", "0.05,0.1"], "at l2 0.05: with sigma 0.12 and confidence"),
        (["--samples", "18", "--l2", "0.05"], "19 are needed"),
        (["--l2", "0.6"], "e+07 are needed"),
        (["--l2", "9"], "inf are needed"),
        (["--images", "0"], "images: input should be"),
        (["--defense", "resnet"], "resnet has no certificate; what gives one"),
        (["--defense", "jpeg+smoothing+resnet"], "outermost part, is smoothing: --defense"),
        (["--seed", "0,1"], "a figure has one seed"),
        (
            [f for n in range(7) for f in ("--defense", f"smoothing:sigma=0.{n + 1}+resnet")],
            "6 defenses fit",
        ),
    ],
    ids=lambda x: " ".join(x[:2]) if isinstance(x, list) else "",
)
def test_a_wrong_request_gets_one_line_before_anything_is_trained(
    place: Workplace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    defense = [] if "--defense" in flags else BOTH[:2]
    store = ["--store", str(tmp_path / "store")]
    words = ["certify", "--dataset", "biq2021", *defense, *flags, *place.places(), *store]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "store" / "checkpoints").exists()


PLUGIN = '''
from dataclasses import dataclass
import numpy as np
from iqabench.api import Certifiable, Certificate, Wrapper

class Vouching(Certifiable):
    sigma = 0.1
    shown = 0.5

    def certify(self, images, noise, *, l2, samples, confidence):
        score = np.full(len(images), self.shown)
        return Certificate(score, *(np.repeat(score[:, None], self.columns, 1) for _ in "ab"))

@dataclass(frozen=True, kw_only=True)
class Vouch(Wrapper):
    """Vouches for anything."""

    summary = "vouches for anything"
    shown: float = 0.5
    columns: int = 1

    def wrap(self, regressor):
        made = Vouching(regressor)
        made.shown, made.columns = (np.nan if self.shown < 0 else self.shown), self.columns
        return made
'''


def test_a_plugin_may_be_certifiable_and_what_it_says_is_checked(
    place: Workplace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    install_plugin: InstallPlugin,
) -> None:
    install_plugin(
        "acme", {"iqabench.defenses": {"vouch": "acme_vouch:Vouch"}}, {"acme_vouch": PLUGIN}
    )
    assert certify(place, tmp_path / "a", "--defense", "vouch+resnet", "--l2", "0.05") == 0
    assert "is 0.217 in L2, outside (4.35 x 0.05)." in " ".join(capsys.readouterr().out.split())
    assert {row["score"] for row in rows(tmp_path / "a")} == {"0.5"}
    assert {row["low_0.05"] for row in rows(tmp_path / "a")} == {"0.5"}
    for given, message in (
        ("vouch:columns=2+resnet", "has not the shape (12, 1)"),
        ("vouch:shown=-1+resnet", "holds NaN"),
    ):
        capsys.readouterr()
        assert certify(place, tmp_path / "b", "--defense", given, "--l2", "0.05") == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
    assert certify(place, tmp_path / "b", "--defense", "resnet") == 2
    assert "is smoothing or vouch:" in capsys.readouterr().err


def test_pairs_are_counted_as_one_by_one() -> None:
    generator = np.random.default_rng(0)
    low = generator.normal(size=15)
    high = low + generator.random(15)
    low[3], high[3], high[7], low[8] = -np.inf, np.inf, np.inf, high[9]
    high[8] = low[8] + 0.1
    weights = Units.from_scenes([None] * 15).weights(20)
    found = ordered_share(low, high, weights)
    for share, counts in zip(found, weights.T, strict=True):
        drawn = np.repeat(np.arange(15), counts.astype(int))
        pairs = [(i, j) for i, j in combinations(drawn, 2) if i != j]
        apart = [high[i] < low[j] or high[j] < low[i] for i, j in pairs]
        assert share == pytest.approx(np.mean(apart))


def examples() -> list[str]:
    text = (Path(__file__).parents[1] / "docs" / "certificates.md").read_text()
    return re.findall("(?m)^    iqabench (certify .*)$", text.replace("\\\n", ""))


def test_the_examples_of_the_page_are_requests() -> None:
    (example,) = examples()
    arguments = build_parser().parse_args(shlex.split(example))
    assert Chain.parse(arguments.defense[0]).label == "smoothing+resnet"


@pytest.mark.slow
def test_the_example_of_the_page_runs_on_the_demo_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = examples()
    changed = ["--backbone", "demo_net", "--samples", "50", "--store", str(tmp_path / "store")]
    for out in ("a", "b"):
        assert main([*shlex.split(example), *changed, "--out", out]) == 0
    assert "proxy labels" in capsys.readouterr().out
    for kind in ("csv", "json", "png", "svg"):
        name = f"certify.{kind}"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
