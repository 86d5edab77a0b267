"""Reading 10,000 cells and writing their leaderboard, curves, statistics and page."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from timing import Row, at_most, main

from iqabench.leaderboard.load import load_board
from iqabench.leaderboard.write import write_outputs
from iqabench.metrics import agreement
from iqabench.results import CLEAN, CellRecord, Columns, write_cell

ATTACKS = 6
EPS = [1.0, 2.0, 4.0, 8.0]
IMAGES = 50


def measure(repeats: int, *, cells: int = 10_000) -> list[Row]:
    """Return the rows of the time and of its growth."""
    few, many = cells // 10, cells
    seconds = []
    for count in (few // 10, few, many):  # the first one imports
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder), count)
            seconds.append(min(_report(Path(folder)) for _ in range(repeats)))
    how = f"{ATTACKS} attacks at {len(EPS)} eps on {IMAGES} images; 10 would be exactly linear"
    return [
        at_most(f"report, {many:,} cells over {few:,}", 13, seconds[2] / seconds[1], how),
        Row(f"report, {many:,} cells", "none", seconds[2], "s", None, "seconds of the processor"),
    ]


def _report(run: Path) -> float:
    began = time.process_time()
    write_outputs(run, load_board(run))
    return time.process_time() - began


def _write(run: Path, cells: int) -> None:
    """Write so many cells, or a few less, all with the same made-up numbers."""
    rng = np.random.default_rng(0)
    mos = rng.uniform(size=IMAGES)
    logits = 4 * (mos - 0.5) + rng.normal(size=IMAGES)
    scores = 1 / (1 + np.exp(-logits))
    metrics = agreement(mos, scores, logits, [None] * IMAGES, resamples=50).to_json()
    columns: Columns = {
        "image_id": [f"image{i}" for i in range(IMAGES)],
        "mos": mos.tolist(),
        "scene": [None] * IMAGES,
        "clean_score": scores.tolist(),
        "clean_logit": logits.tolist(),
        "score": scores.tolist(),
        "logit": logits.tolist(),
    }
    defenses = max(1, cells // (1 + ATTACKS * len(EPS)))
    for number in range(defenses):
        _one(run, number, CLEAN, 0.0, metrics, columns)
        for attack in range(ATTACKS):
            for eps in EPS:
                _one(run, number, f"pgd:steps={attack + 1}", eps, metrics, columns)


def _one(
    run: Path, number: int, attack: str, eps: float, metrics: dict[str, object], columns: Columns
) -> None:
    defense = f"cprl:b={number / 1000:g}"
    cell = {
        "dataset": {
            "name": "live",
            "version": "1",
            "fingerprint": "f" * 16,
            "resize": 320,
            "crop": 320,
        },
        "split": "5" * 16,
        "defense": {"spec": defense, "components": [], "weights_sha256": f"{number:064d}"},
        "attack": {"spec": attack, "components": [], "sources": {}, "draws": None},
        "score_draws": 1,
        "eps_255": eps,
        "seed": 0,
    }
    about = {
        "dataset_title": "LIVE",
        "proxy_labels": False,
        "defense": defense,
        "attack": attack,
        "backbone": "resnet18",
        "recipe": "light",
        "recipe_key": f"{number:016d}",
        "reference": number == 0,
        "threat_model": "linf",
        "access": "white-box",
        "stochastic": False,
    }
    record = CellRecord(
        cell,
        about,
        metrics=metrics,
        metrics_8bit=metrics,
        cost={"seconds": 1.0},
        environment={"torch": "2.5.1", "device": "cpu"},
    )
    write_cell(run, record, columns)


if __name__ == "__main__":
    main(measure, __doc__, quick={"cells": 1000}, repeats=1)
