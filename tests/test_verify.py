"""``iqabench verify``: every kind of damage is found, and nothing else."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support import Workplace

from iqabench.cli import main
from iqabench.results import columns_from_csv, columns_to_csv, find_cells, read_cell

FLAGS = (
    "--defense",
    "kwta:share=0.5",
    "--dataset",
    "biq2021",
    "--attack",
    "fgsm:objective=reflect",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = Workplace(tmp_path_factory.mktemp("verify"))
    assert place.run(*FLAGS, "--eps", "0.5,4", "--save-images", "3") == 0
    return place.out


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "run")


def verified(run: Path, capsys: pytest.CaptureFixture[str], code: int) -> dict[str, Any]:
    assert main(["verify", str(run), "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["sound"] == (code == 0)
    return found


def attacked(run: Path) -> Path:
    (path,) = (
        p
        for p in find_cells(run)
        if read_cell(p).cell["eps_255"] == 4 and read_cell(p).about["defense"] != "resnet"
    )
    return path


def test_a_run_as_it_was_written_is_sound(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = verified(run, capsys, 0)
    assert (found["cells"], found["failed"], found["images"]) == (6, 0, 6)
    assert found["problems"] == found["missing"] == found["unknown"] == found["unread"] == []
    assert main(["verify", str(run)]) == 0
    assert "6 cells, 6 kept images: 0 things wrong, 0 cells missing" in capsys.readouterr().out


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def columns_edited(path: Path, change: Callable[[dict[str, list[Any]]], None]) -> None:
    """As somebody would who knows of the hash."""
    table = columns_from_csv(path.with_suffix(".csv").read_text())
    change(table)
    text = columns_to_csv(table)
    path.with_suffix(".csv").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    edited(path, lambda d: d["columns"].update(sha256=digest))


def _better(document: dict[str, Any]) -> None:
    document["metrics"]["srocc"]["value"] += 0.01


def _narrower(document: dict[str, Any]) -> None:
    document["metrics_nonadaptive"]["plcc"]["low"] += 0.01


def _renamed(document: dict[str, Any]) -> None:
    document["cell"]["seed"] = 7


def _moved_further(table: dict[str, list[Any]]) -> None:
    table["linf_255"][0] = 4.1


def _other_scores(table: dict[str, list[Any]]) -> None:
    table["score"][0] = 1 - table["score"][0]


def _image(run: Path, kind: str) -> Path:
    images = read_cell(attacked(run)).images
    assert images
    return run / images[0][kind]


def _no_columns_left(run: Path) -> None:
    attacked(run).with_suffix(".csv").write_text("image_id\n")


def _misplaced(run: Path) -> None:
    attacked(run).rename(attacked(run).with_name("x.json"))


def _brighter(run: Path) -> None:
    path = _image(run, "attacked")
    Image.open(path).point(lambda level: min(255, level + 9)).save(path)


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "metric": (lambda run: edited(attacked(run), _better), "metrics does not follow .*: srocc"),
    "interval": (
        lambda run: edited(attacked(run), _narrower),
        "metrics_nonadaptive does not follow .*: plcc",
    ),
    "key": (lambda run: edited(attacked(run), _renamed), "do not match its key"),
    "columns": (_no_columns_left, "does not match the hash"),
    "no columns": (lambda run: attacked(run).with_suffix(".csv").unlink(), "cannot be read"),
    "budget": (
        lambda run: columns_edited(attacked(run), _moved_further),
        "linf_255 is up to 4.1, and eps is 4",
    ),
    "scores": (lambda run: columns_edited(attacked(run), _other_scores), "does not follow"),
    "place": (_misplaced, "is not where a cell of this key lies"),
    "image": (_brighter, "is not the file that was kept"),
    "image's budget": (_brighter, "moved by .* grey levels, and eps is 4"),
    "image elsewhere": (
        lambda run: edited(attacked(run), lambda d: d["images"][0].update(clean="../x.png")),
        "lies outside the run",
    ),
    "image gone": (lambda run: _image(run, "clean").unlink(), "cannot be read"),
}


@pytest.mark.parametrize("name", CASES)
def test_damage_is_found(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage, said = CASES[name]
    damage(run)
    problems = verified(run, capsys, 1)["problems"]
    assert any(re.search(said, line) for line in problems), problems


def test_a_cell_that_was_asked_for_and_is_gone_is_missing(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attacked(run).unlink()
    (line,) = verified(run, capsys, 1)["missing"]
    assert line.startswith("fgsm:objective=reflect,")
    assert " at 4/255 against kwta:" in line


def test_without_its_request_what_is_missing_is_unknown(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "run.json").unlink()
    assert len(verified(run, capsys, 0)["unknown"]) == 1


def test_files_that_belong_to_no_cell_are_named(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = [
        run / "cells" / "notes.json",
        attacked(run).parent / "orphan.csv",
        run / "images" / "0123456789abcdef" / "left.png",
    ]
    for path in strange:
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    assert set(verified(run, capsys, 0)["unread"]) == {*map(str, strange)}


def test_a_cell_under_another_name_is_wrong(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = attacked(run)
    for suffix in (".json", ".csv"):
        copy = path.with_name(f"copy{suffix}")
        copy.write_bytes(path.with_suffix(suffix).read_bytes())
    (line,) = verified(run, capsys, 1)["problems"]
    assert "copy.json: is not where a cell of this key lies" in line


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path)]) == 2
    assert "no results at" in capsys.readouterr().err
