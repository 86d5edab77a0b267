"""Planning 100,000 cells, and looking for their files: in proportion to their number."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timing import Row, at_most, main

from iqabench.config import load_benchmark
from iqabench.data import DataHome
from iqabench.planning import Plan, make_plan
from iqabench.progress import Silent
from iqabench.records import NOTHING, Attacked, Recorder

EPS = [1, 2, 4, 8]
ATTACKS = 25


def measure(repeats: int, *, cells: int = 100_000) -> list[Row]:
    """Return the rows of planning and of the look for files that are not there."""
    few, many = cells // 10, cells
    with tempfile.TemporaryDirectory() as folder:
        home = _home(Path(folder))
        _time(home, few // 10, Path(folder))  # what is imported and cached on first use
        small = [_time(home, few, Path(folder)) for _ in range(repeats)]
        large = [_time(home, many, Path(folder)) for _ in range(repeats)]
    rows = []
    for place, what in enumerate(("planning", "resume check")):
        first, second = (min(run[place] for run in runs) for runs in (small, large))
        rows += [
            at_most(
                f"{what}, {many:,} cells over {few:,}",
                13,
                second / first,
                "10 would be exactly linear",
            ),
            Row(f"{what}, {many:,} cells", "none", second, "s", None, "seconds of the processor"),
        ]
    return rows


def _time(home: DataHome, cells: int, folder: Path) -> tuple[float, float]:
    """Return the seconds of the plan and of the look for every file."""
    began = time.process_time()
    plan = _plan(home, cells)
    planned = time.process_time()
    assert _missing(plan, folder / "run") == sum(1 for _ in plan.cells())
    return planned - began, time.process_time() - planned


def _plan(home: DataHome, cells: int) -> Plan:
    seeds = list(range(max(1, cells // (1 + ATTACKS * len(EPS)))))
    flags = {
        "defenses": ["resnet"],
        "attacks": [f"pgd:steps={number + 1}" for number in range(ATTACKS)],
        "eps": EPS,
        "seeds": seeds,
        "backbone": "demo_net",
        "backbone_weights": "none",
        "recipe": "demo",
    }
    return make_plan(load_benchmark(None, flags), ["biq2021"], home, split=None)


def _missing(plan: Plan, run: Path) -> int:
    """Look for every cell as a run does; return how many are not there."""
    missing = 0
    for entry in plan.entries:
        recorder = Recorder(run, entry, "", "0" * 64, 1, torch.device("cpu"))
        missing += not recorder.finds(NOTHING, 0.0)
        for attack in plan.attacks:
            attacked = Attacked.by(attack, sources={}, draws=None)
            missing += sum(not recorder.finds(attacked, eps) for eps in plan.eps_255)
    return missing


def _home(folder: Path) -> DataHome:
    """Return a home with BIQ2021 in its official layout: a few grey images."""
    images = folder / "biq2021" / "Images"
    images.mkdir(parents=True)
    for side, count in (("Train", 24), ("Test", 12)):
        lines = ["Image Name,MOS"]
        for number in range(count):
            name = f"ss01 ({side[:2]}{number}).jpg"
            Image.fromarray(np.full((32, 32, 3), 7 * number, np.uint8)).save(images / name)
            lines.append(f"{name},{number / count:.3f}")
        (images.parent / f"{side} (Images and MOS).csv").write_text("\n".join(lines) + "\n")
    return DataHome(folder, folder / "store", Silent())


if __name__ == "__main__":
    main(measure, __doc__, quick={"cells": 5000}, repeats=1)
