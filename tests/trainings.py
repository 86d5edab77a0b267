"""Small data to train on, and the plainest training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from support import write_biq2021

from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.data import DataHome, OpenDataset, dataset
from iqabench.progress import Silent
from iqabench.recipes import Recipe
from iqabench.sides import Geometry
from iqabench.training import Training

CPU = torch.device("cpu")
RECIPE = Recipe(resize=32, crop=24, batch_size=8, epochs=3, lr=1e-3, flip=True)


def open_data(root: Path) -> OpenDataset:
    write_biq2021(root)
    home = DataHome(root, root / "store", Silent())
    return home.open(dataset("biq2021"), Geometry(32, 24), split=None, split_seed=0)


def plain(data: OpenDataset, **changes: object) -> Training:
    made = Training(
        Chain.parse("resnet:dropout=0.3"), BackboneSpec("demo_net", "none"), RECIPE, data, 0
    )
    return replace(made, **changes)  # type: ignore[arg-type]
