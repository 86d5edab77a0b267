"""The example plugin, installed with pip into an environment of its own and used from there."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from fresh_environment import LIMIT, Environment, missing_tools
from PIL import Image

PLUGIN = Path(__file__).parent / "plugin_example"


def write_images(folder: Path) -> None:
    """Twenty images on the scale 0 to 100: noisier means worse, two images per scene."""
    (folder / "Images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mos", "scene"])
        for number in range(20):
            pixels = generator.normal(128, 4 + 3 * number, (36, 48, 3)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "Images" / f"{number}.png")
            writer.writerow([f"{number}.png", 97 - 4 * number, f"scene{number // 2}"])


def write_benchmark(path: Path) -> None:
    document = {
        "defenses": ["blur3+softplus_net"],
        "attacks": ["momentum_fgsm:objective=reflect,steps=2"],
        "eps": [2],
        "backbone": "demo_net",
        "backbone_weights": "none",
        "recipe": "tiny",
        "device": "cpu",
        "recipes": {"tiny": {"resize": 32, "crop": 32, "batch_size": 8, "epochs": 1, "lr": 1e-3}},
    }
    path.write_text(yaml.safe_dump(document))


@pytest.mark.slow
def test_the_example_plugin_is_installed_and_runs_a_whole_benchmark(tmp_path: Path) -> None:
    if reason := missing_tools():
        pytest.skip(f"{reason}, so nothing can be installed without a network")
    source = shutil.copytree(PLUGIN, tmp_path / "source")  # building writes into its folder
    environment = Environment(tmp_path)
    environment.install(source)

    listed = environment.iqabench("list")
    ours = {
        (kind, row["name"])
        for kind in ("defenses", "attacks", "datasets")
        for row in listed[kind]
        if row.get("from", "").startswith("iqabench-example 1.0")
    }
    assert ours == {
        ("defenses", "softplus_net"),
        ("defenses", "blur3"),
        ("attacks", "momentum_fgsm"),
        ("datasets", "labelled_folder"),
    }
    shown = environment.iqabench("show", "momentum_fgsm")
    assert shown["parameters"]["steps"] == {"type": "int", "default": 5}
    assert environment.iqabench("show", "blur3")["wraps"] is True

    write_images(tmp_path / "data" / "labelled_folder")
    write_benchmark(tmp_path / "tiny.yaml")
    places = ("--config", "tiny.yaml", "--data-root", "data", "--store", "store", "--out", "run")
    environment.iqabench("run", "--dataset", "labelled_folder", *places)

    board = json.loads((tmp_path / "run" / "leaderboard.json").read_text())
    (group,) = board["datasets"]
    wanted = "iqabench-example/blur3+iqabench-example/softplus_net"
    assert {entry["label"] for entry in group["entries"]} == {"resnet", wanted}
    assert [a["label"] for a in group["attacks"]] == [
        "iqabench-example/momentum_fgsm:objective=reflect,steps=2"
    ]
    assert group["failures"] == []
    (standing,) = group["standings"]
    assert standing["eps_255"] == 2
    assert {row["defense"] for row in standing["rows"]} == {"resnet", wanted}
    for row in standing["rows"]:
        (result,) = row["results"]
        assert result["error"] is None
        assert -1 <= result["measures"]["srocc"]["value"] <= 1


@pytest.mark.slow
def test_the_tests_of_the_example_plugin_pass(tmp_path: Path) -> None:
    source = shutil.copytree(PLUGIN, tmp_path / "source")
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(source), "tests"],
        cwd=source,
        env=os.environ | {"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "4 passed" in found.stdout
