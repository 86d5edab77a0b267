"""Every built-in method on the demo data set, by the commands that people give."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import write_config

from iqabench.chains import Chain
from iqabench.checkpoints import save_tensors
from iqabench.cli import main
from iqabench.contracts.defense import Wrapper
from iqabench.datasets.demo_images import DEMO_VERSION
from iqabench.registry import DEFENSES
from iqabench.results import find_cells, read_cell

NOT_TRAINED = {"pyiqa", "module", "exported"}  # test_pyiqa_bridge.py, test_own_metric.py


def spec_of(name: str) -> str:
    return f"{name}+resnet" if issubclass(DEFENSES.get(name), Wrapper) else name


SPECS = sorted(spec_of(name) for name in {*DEFENSES.names()} - NOT_TRAINED)
TRAINED = [spec for spec in SPECS if Chain.parse(spec).trained == Chain.parse(spec)]


class Killed(BaseException):
    """Stands in for SIGKILL: nothing catches it."""


def write_small_demo(store: Path) -> None:
    """What the demo data set would find made: ten scenes, two small images of each."""
    folder = store / "datasets" / f"demo-{DEMO_VERSION}"
    (folder / "Images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mos", "scene", "distortion", "strength"])
        for number in range(20):
            pixels = generator.normal(128, 3 + 3 * number, (36, 36, 3)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "Images" / f"{number}.png")
            mos = f"{1 - number / 20:.3f}"
            writer.writerow([f"{number}.png", mos, f"scene{number // 2}", "noise", number % 2])


class Desk:
    """A store with a small demo set, and the commands on it."""

    def __init__(self, folder: Path, *specs: str) -> None:
        self.specs = specs
        self.store, self.out = folder / "store", folder / "run"
        write_small_demo(self.store)
        self.config = write_config(folder / "tiny.yaml", datasets={"demo": {"recipe": "tiny"}})

    def flags(self) -> list[str]:
        places = ["--config", str(self.config), "--store", str(self.store), "--dataset", "demo"]
        return [*(flag for spec in self.specs for flag in ("--defense", spec)), *places]

    def train(self) -> int:
        return main(["train", *self.flags()])

    def run(self) -> int:
        attack = ["--attack", "fgsm:objective=reflect", "--eps", "2", "--no-reference"]
        return main(["run", *attack, "--out", str(self.out), *self.flags()])

    def losses(self) -> list[float]:
        (card,) = self.store.rglob("card.json")
        found: list[float] = json.loads(card.read_text())["losses"]
        return found

    def require_results(self) -> None:
        cells = [read_cell(path) for path in find_cells(self.out)]
        labels = {Chain.parse(spec).label for spec in self.specs}
        found = {(cell.about["defense"], cell.cell["eps_255"]) for cell in cells}
        assert found == {(label, eps) for label in labels for eps in (0.0, 2.0)}
        assert all(cell.status == "done" and cell.metrics is not None for cell in cells)


@pytest.mark.parametrize("spec", TRAINED)
def test_a_method_trains_is_killed_goes_on_is_kept_and_is_attacked(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = (Desk(tmp_path / part, spec) for part in ("whole", "broken"))
    assert whole.train() == 0

    def save_then_die(*args: object, **kwargs: object) -> None:
        save_tensors(*args, **kwargs)  # type: ignore[arg-type]
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("iqabench.training.save_tensors", save_then_die)
        with pytest.raises(Killed):
            broken.train()
    assert not list(broken.store.rglob("card.json"))
    assert broken.run() == 0
    assert broken.losses() == whole.losses()
    broken.require_results()


def test_methods_that_train_nothing_are_attacked_on_one_checkpoint(tmp_path: Path) -> None:
    desk = Desk(tmp_path, *(spec for spec in SPECS if spec not in TRAINED))
    assert desk.run() == 0
    assert len(desk.losses()) == 2
    desk.require_results()
