from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from datetime import date, datetime, timezone
from pathlib import Path

import pytest
import torch
from support import Workplace

from iqabench.cli import main


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"))


def test_the_main_job_ends_with_a_leaderboard_and_the_paths(
    place: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.run("--dataset", "biq2021") == 0
    out = capsys.readouterr().out
    for name in ("leaderboard.csv", "leaderboard.json", "report.html", "curves-biq2021.svg"):
        assert name in out
    first = (place.out / "leaderboard.csv").read_bytes()
    cell = json.loads(next((place.out / "cells").rglob("clean-*.json")).read_text())
    assert cell["about"]["recipe_settings"]["crop"] == cell["cell"]["dataset"]["crop"]
    assert cell["about"]["recipe_settings"]["epochs"] == 2
    assert place.run("--dataset", "biq2021") == 0
    assert "0 cells computed, 5 found, 0 failed" in capsys.readouterr().err
    assert (place.out / "leaderboard.csv").read_bytes() == first
    (asked,) = json.loads((place.out / "run.json").read_text())["runs"]
    assert date.fromisoformat(asked["date"]) <= datetime.now(timezone.utc).date()
    (place.out / "leaderboard.csv").unlink()
    assert main(["report", str(place.out)]) == 0
    assert (place.out / "leaderboard.csv").read_bytes() == first


def test_a_dry_run_prints_cells_and_computes_nothing(
    place: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--dry-run", "--json", "--out", str(tmp_path / "none"), "--eps", "1,2"]
    assert place.run(*flags, "--dataset", "biq2021") == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["cells"]) == 5
    assert set(document["estimate"][0]["attack_seconds"]) == {
        "fgsm",
        "pgd:objective=reflect,steps=2",
    }
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--defense", "resnett"], "Did you mean 'resnet'?"),
        (["--attack", "fgms"], "Did you mean 'fgsm'?"),
        (["--dataset", "biq2022"], "Did you mean 'biq2021'?"),
        (["--backbone", "resnet51"], "unknown backbone 'resnet51'"),
        (["--recipe", "tinny"], "Did you mean 'tiny'?"),
        (["--attack", "pgd:"], "a value is missing"),
        (["--attack", "pgd:stpes=3"], "has no parameter 'stpes'"),
        (["--attack", "pgd:steps=ten"], "steps=ten"),
        (["--attack", "pgd:steps=0"], "must be at least 1"),
        (["--attack", "fgsm+pgd"], "attacks cannot be chained"),
        (["--eps", "-1"], "eps -1"),
        (["--eps", "nan"], "eps nan"),
        (["--eps", "four"], "eps 'four' is not a number"),
        (["--eps", "256"], "eps 256"),
        (["--eps", ""], "is not a number"),
        (["--seed", "x"], "seeds 'x'"),
        (["--device", "cuda:99"], "is not there"),
        (["--device", "cuda:²"], "unknown device"),
        (["--eps", "1_0"], "eps '1_0' is not a number"),
        (["--attack", "PGDD"], "Did you mean 'pgd'?"),
        (["--attack", "pgd:steps=1\n2"], "pgd"),
        (["--batch-size", "0"], "command line: batch_size"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--backbone-weights", "/nowhere.pth"], "No such file"),
        (["--data-root", "/nowhere"], "is not a folder"),
        (["--config", "/nowhere.yaml"], "cannot be read"),
        (["--split", "/nowhere.json"], "split file /nowhere.json cannot be read"),
        (["--out", "/proc/none"], "cannot write"),
        (["--no-such-flag"], "unrecognized arguments"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_a_wrong_request_gets_one_line_and_exit_code_2(
    place: Workplace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    out = [] if "--out" in flags else ["--out", str(tmp_path / "run")]
    dataset = [] if "--dataset" in flags else ["--dataset", "biq2021"]
    assert place.run(*out, *dataset, *flags) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.startswith("iqabench: ")
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.rglob("*.json"))


def _pickle_with_code(path: Path) -> None:
    path.write_bytes(pickle.dumps(os.system, protocol=4))


def _nothing(path: Path) -> None:
    path.write_bytes(b"")


def _another_network(path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(3)}, path)


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry"])
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_pickle_with_code, "holds more than tensors"),
        (_nothing, "is no weights file, or a damaged one (EOFError)"),
        (_another_network, "is it another network?"),
    ],
)
def test_weights_that_cannot_be_used_are_refused_before_anything_is_written(
    place: Workplace,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    write: Callable[[Path], None],
    message: str,
    dry: list[str],
) -> None:
    write(tmp_path / "w.pth")
    out = tmp_path / "run"
    flags = ["--backbone-weights", str(tmp_path / "w.pth"), "--out", str(out), *dry]
    assert place.run("--dataset", "biq2021", *flags) == 2
    said = capfd.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not out.exists()


def test_corrupt_images_of_both_sides_are_named_in_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Workplace(tmp_path)
    images = sorted((place.data / "biq2021" / "Images").iterdir())
    broken = [next(p for p in images if side in p.name) for side in ("(Tr", "(Te")]
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    assert place.run("--dataset", "biq2021") == 2
    said = capsys.readouterr().err
    assert said.startswith("iqabench: 2 of 36 images cannot be read: ")
    assert all(path.name in said for path in broken)
    assert not place.out.exists()
    assert main(["data", "check", "biq2021", *place.places()]) == 2
    assert "2 of 36 images cannot be read" in capsys.readouterr().err


def test_a_defense_that_cannot_be_built_fails_its_own_cells(
    place: Workplace,
    tmp_path: Path,
    install_plugin: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    points = {"iqabench.defenses": {"boom": "boom_iqa:Boom"}}
    install_plugin("boom-iqa", points, {"boom_iqa": BOOM})
    flags = ["--dataset", "biq2021", "--defense", "boom", "--out", str(tmp_path / "run")]
    assert place.run(*flags, "--attack", "fgsm", "--dry-run") == 0
    assert "unknown" in capsys.readouterr().out
    assert place.run(*flags, "--attack", "fgsm", "--eps", "1") == 1
    assert "2 cells computed, 0 found, 2 failed" in capsys.readouterr().err


BOOM = """
from dataclasses import dataclass
from iqabench.api import Defense

@dataclass(frozen=True, kw_only=True)
class Boom(Defense):
    summary = "cannot be built"

    def build(self, backbone):
        raise RuntimeError("no such layer")
"""


def test_a_missing_data_set_says_where_to_get_it(
    place: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.run("--data-root", str(tmp_path), "--dataset", "biq2021") == 2
    assert "get it from https://github.com/nisarahmedrana/BIQ2021" in capsys.readouterr().err


def test_an_interruption_is_130_and_leaves_finished_cells(
    place: Workplace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from iqabench.sweeping import Sweep

    def interrupt(self: object, *args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Sweep, "run", interrupt)
    assert (
        place.run("--dataset", "biq2021", "--attack", "pgd", "--out", str(tmp_path / "run")) == 130
    )
    assert "finished cells stay" in capsys.readouterr().err
    assert [p.name[:5] for p in (tmp_path / "run" / "cells").rglob("*.json")] == ["clean"]


def test_what_is_installed_is_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"fgsm", "pgd", "score_reflection"} <= {a["name"] for a in found["attacks"]}
    defenses = {d["name"]: d for d in found["defenses"]}
    for name, entry in defenses.items():
        assert "error" not in entry or name == "pyiqa"  # an extra, refused with its install command
        assert entry.get("year") or not entry.get("paper"), name
    how = {n: (d.get("stochastic"), d.get("routes")) for n, d in defenses.items()}
    assert how["resnet"] == (False, ["own"])
    assert how["jpeg"] == (False, ["own", "identity", "smooth_jpeg"])
    assert how["lwta"] == (True, ["own", "mean_field", "warm", "expectation"])
    assert how["module"] == (None, None)
    assert main(["show", "noise"]) == 0
    assert "draws random numbers; gradient routes: own, expectation" in capsys.readouterr().out
    assert main(["show", "pgd"]) == 0
    assert "steps = 10" in capsys.readouterr().out
    assert main(["show", "pdg"]) == 2
    assert "Did you mean 'pgd'?" in capsys.readouterr().err


def test_data_are_checked(place: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "biq2021", *place.places()]) == 0
    assert "36 images" in capsys.readouterr().out


def test_a_folder_without_results_cannot_be_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
