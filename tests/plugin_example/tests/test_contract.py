"""The contract suite of iqabench, run over this plugin; copy it and change the names."""

import csv
from pathlib import Path

import numpy as np
import pytest
from iqabench_example.blur3 import Blur3
from iqabench_example.labelled_folder import LabelledFolder
from iqabench_example.momentum_fgsm import MomentumFGSM
from iqabench_example.softplus_net import SoftplusNet
from PIL import Image

from iqabench.testing import check_attack, check_dataset, check_defense


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    (tmp_path / "Images").mkdir()
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mos", "scene"])
        for number in range(6):
            name = f"image-{number}.png"
            pixels = generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "Images" / name)
            writer.writerow([name, 10 + 15 * number, f"scene-{number // 2}"])
    return tmp_path


def test_the_defense_keeps_the_contract() -> None:
    check_defense(SoftplusNet)
    check_defense(SoftplusNet(beta=2.0))


def test_the_wrapper_keeps_the_contract() -> None:
    check_defense(Blur3)


def test_the_attack_keeps_the_contract() -> None:
    check_attack(MomentumFGSM)
    check_attack(MomentumFGSM(objective="reflect", steps=2))


def test_the_data_set_keeps_the_contract(folder: Path) -> None:
    check_dataset(LabelledFolder, folder)
