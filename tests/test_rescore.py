"""``iqabench rescore``: kept images, scored by other defenses."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support import Workplace

from iqabench.cli import main
from iqabench.results import find_cells, read_cell, read_columns

DEFENSES = ("resnet", "kwta:share=0.5")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    made = Workplace(tmp_path_factory.mktemp("rescore"))
    named = [flag for spec in DEFENSES for flag in ("--defense", spec)]
    attacked = ["--dataset", "biq2021", "--attack", "fgsm:objective=reflect", "--eps", "4"]
    assert made.run(*named, *attacked, "--save-images", "all") == 0
    return made


def rescored(place: Workplace, *flags: str) -> list[dict[str, Any]]:
    places = [*place.places()[2:], "--out", str(place.folder / "out")]
    assert main(["rescore", str(place.out), *places, *flags]) == 0
    document = json.loads((place.folder / "out" / "rescored.json").read_text())
    lines: list[dict[str, Any]] = document["lines"]
    return lines


def test_every_defense_scores_what_was_made_on_every_other(
    place: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = rescored(place)
    pairs = {(line["made_on"], line["scored_by"]): line for line in lines}
    assert set(pairs) == {(a, b) for a in DEFENSES for b in DEFENSES}
    for (made_on, scored_by), line in pairs.items():
        assert line["own"] == (made_on == scored_by)
        assert line["attacked"]["n"] == 12
    assert "made on resnet" in capsys.readouterr().out.replace("\n", " ")


def test_a_defense_says_again_of_its_own_images_what_the_run_recorded(place: Workplace) -> None:
    rescored(place)
    with (place.folder / "out" / "rescored-images.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["made_on"] == row["scored_by"]]
    assert len(rows) == 2 * 12
    for path in find_cells(place.out):
        record = read_cell(path)
        if record.cell["eps_255"] != 4:
            continue
        table = read_columns(path, record)
        ours = {r["image_id"]: r for r in rows if r["made_on"] == record.about["defense"]}
        for number, name in enumerate(table["image_id"]):
            expected = (table["clean_score"][number], table["score_8bit"][number])
            found = (float(ours[name]["clean_score"]), float(ours[name]["score"]))
            assert found == pytest.approx(expected, abs=1e-6)


def test_another_defense_is_trained_and_asked(place: Workplace) -> None:
    lines = rescored(place, "--defense", "bitdepth+resnet")
    assert {line["scored_by"] for line in lines} == {"bitdepth+resnet"}
    assert {line["made_on"] for line in lines} == set(DEFENSES)
    assert not any(line["own"] for line in lines)


def refused(place: Workplace, capsys: pytest.CaptureFixture[str], run: Path, *flags: str) -> str:
    before = sorted(run.rglob("*")) if run.exists() else []
    assert main(["rescore", str(run), *place.places()[2:], *flags]) == 2
    assert (sorted(run.rglob("*")) if run.exists() else []) == before
    line = capsys.readouterr().err.strip()
    assert "\n" not in line.replace("iqabench: data set", "")
    return line


def test_what_cannot_be_rescored_is_refused(
    place: Workplace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "--save-images all" in refused(place, capsys, tmp_path / "nothing")
    assert "unknown" in refused(place, capsys, place.out, "--defense", "nothing")
    assert "give the recipe of the run" in refused(place, capsys, place.out, "--recipe", "light")
    copied = shutil.copytree(place.out, tmp_path / "run")
    (copied / "run.json").unlink()
    assert "--config FILE" in refused(place, capsys, copied)


def test_a_defense_that_was_trained_on_the_images_is_not_asked(
    place: Workplace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (split,) = (place.out / "splits").glob("*.json")
    document = json.loads(split.read_text())
    document["train"], document["test"] = document["test"], document["train"]
    (tmp_path / "turned.json").write_text(json.dumps(document))
    line = refused(place, capsys, place.out, "--split", str(tmp_path / "turned.json"))
    assert "was trained on" in line


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png"])
def test_an_image_outside_the_run_is_not_read(
    place: Workplace, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    copied = shutil.copytree(place.out, tmp_path / "run")
    path = next(p for p in find_cells(copied) if read_cell(p).images)
    document = json.loads(path.read_text())
    document["images"][0]["clean"] = name
    path.write_text(json.dumps(document))
    assert "lies outside the run" in refused(place, capsys, copied)


def test_a_link_to_an_image_outside_the_run_is_not_read(
    place: Workplace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copied = shutil.copytree(place.out, tmp_path / "run")
    kept = next((copied / "images" / "clean").glob("*.png"))
    kept.rename(tmp_path / "secret.png")
    kept.symlink_to(tmp_path / "secret.png")
    assert "lies outside the run" in refused(place, capsys, copied)


def test_a_missing_image_fails_in_one_line(
    place: Workplace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copied = shutil.copytree(place.out, tmp_path / "run")
    next((copied / "images" / "clean").glob("*.png")).unlink()
    out = tmp_path / "out"
    code = main(["rescore", str(copied), *place.places()[2:], "--out", str(out)])
    assert code == 2
    assert "cannot be read" in capsys.readouterr().err
    assert not out.exists()
