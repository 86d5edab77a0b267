"""A small paper, and a row of a run under all its conditions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from leaderboard_runs import FakeRow

from iqabench.published.paper import Paper
from iqabench.published.reading import read_paper

N = 60
SETTINGS = {
    "resize": 320,
    "crop": 320,
    "flip": False,
    "batch_size": 16,
    "epochs": 50,
    "lr": 3e-5,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "final_lr": 0.0,
}
ABOUT: dict[str, Any] = {
    "dataset_part": None,
    "split_origin": "4:1 by scene, seed 0",
    "backbone_weights": {"torchvision": "IMAGENET1K_V1", "sha256_begins": "11ad3fa6"},
    "recipe_settings": SETTINGS,
}
FGSM = "fgsm:objective=reflect,threshold=0.5"
FILE = """
schema: 1
name: mine
title: A paper
source: https://example.org
notes: [It has no seeds.]
metrics: {SRCC: srocc, PLCC: plcc, MSE: mse}
recipe: {resize: 320, crop: 320, batch_size: 16, lr: 3.0e-5, epochs: null}
pretrained: true
datasets:
  LIVE: {dataset: live, split: "4:1 by scene"}
  KonIQ: {dataset: koniq}
attacks:
  clean: {attack: clean}
  FGSM:
    eps_255: 1
    attack: ["fgsm:objective=mse", "fgsm:objective=reflect,threshold=0.5"]
    note: The objective is not said.
methods:
  Base: {defense: resnet, backbone: resnet50}
  Small: {defense: "cprl:*,b=0.1", backbone: resnet50}
  Large: {defense: "cprl:*,b=0.4", backbone: resnet50}
tables:
  - {table: 1, attack: FGSM, metrics: [SRCC], cells: {Base: {LIVE: [@], KonIQ: [.1]}}}
  - {table: 2, dataset: LIVE, metrics: [SRCC, PLCC, MSE], cells: {Base: {clean: [.9, .9, .01]}}}
  - {table: 3, attack: clean, metrics: [SRCC], cells: {Small: {LIVE: [.3]}, Large: {LIVE: [.4]}}}
"""


def paper(value: str = "0.10", text: str = FILE) -> Paper:
    return read_paper(text.replace("@", value), "mine")


def row_of_paper(run: Path) -> FakeRow:
    """A row under all conditions of ``FILE``."""
    rng = np.random.default_rng(1)
    mos = rng.uniform(0.05, 0.95, size=N)
    return FakeRow(
        run,
        backbone="resnet50",
        reference=True,
        about=ABOUT,
        resamples=200,
        mos=tuple(mos.tolist()),
        clean=tuple((6 * (mos - 0.5) + rng.normal(scale=0.6, size=N)).tolist()),
    )


def attacked(row: FakeRow) -> list[float]:
    rng = np.random.default_rng(2)
    return [float(x) for x in np.asarray(row.clean) * 0.2 + rng.normal(size=N)]
