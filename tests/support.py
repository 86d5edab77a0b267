"""What several test files build: tiny data sets, benchmarks and regressors."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor, nn

from iqabench.api import Noise, Regressor, Row
from iqabench.cli import main
from iqabench.pixels import Pixels
from iqabench.sides import Geometry, Side


class Linear(Regressor):
    """logit = w.x + c, the case in which every attack's optimum is known."""

    def __init__(self, size: int = 8, *, offset: float = 0.0, scale: float = 0.05) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        weight = torch.randn(3, size, size, generator=generator) * scale
        self.weight = nn.Parameter(weight.sign() * weight.abs().clamp_min(1e-3), False)
        self.offset = offset

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        return ((images - 0.5) * self.weight).sum((1, 2, 3)) + self.offset


def grid_images(count: int = 6, size: int = 8, *, margin: int = 40, seed: int = 0) -> Tensor:
    """Random images on the 8-bit grid, ``margin`` grey levels away from 0 and 255."""
    levels = np.random.default_rng(seed).integers(margin, 256 - margin, (count, 3, size, size))
    return torch.from_numpy(levels.astype(np.float32)) / 255


def noise_for(images: Tensor, seed: int = 0) -> Noise:
    return Noise(seed, tuple(f"image{i}" for i in range(len(images))))


def side_of(images: Tensor, scenes: list[str | None] | None = None) -> Side:
    """A side of a data set that is these images, on the 8-bit grid, in memory."""
    flat = (images * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    size = images.shape[2]
    rows = tuple(
        Row(f"image{i}", Path(f"image{i}"), 0.5, scenes[i] if scenes else None)
        for i in range(len(images))
    )
    pixels = Pixels([(size, size)] * len(images), flat.ravel())
    return Side(rows, tuple(r.image_id for r in rows), Geometry(size, size), Path(), pixels)


def write_biq2021(
    root: Path, *, train: int = 24, test: int = 12, size: int = 40, seed: int = 0
) -> Path:
    """The official layout of BIQ2021 with made images: noisier means a lower MOS."""
    folder = root / "biq2021"
    (folder / "Images").mkdir(parents=True)
    generator = np.random.default_rng(seed)
    ramp = np.linspace(60, 200, size)[:, None, None] * np.ones((1, size, 3))
    for name, count, tail in (("Train", train, ["", ""]), ("Test", test, [])):
        rows: list[Sequence[str]] = [["Image Name", "MOS", *tail]]
        for number in range(count):
            strength = (number + 0.5) / count
            pixels = ramp + generator.normal(0, 60 * strength, ramp.shape)
            listed = f"ss0{1 + number % 3} ({name[:2]}{number}).jpg"
            stored = listed.replace(".jpg", ".JPG") if number == 1 else listed
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(folder / "Images" / stored, format="JPEG", quality=95)
            rows.append([listed, f"{1 - strength:.4f}", *tail])
        with (folder / f"{name} (Images and MOS).csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return folder


def write_config(path: Path, **changes: Any) -> Path:
    """A benchmark that trains in about a second."""
    document: dict[str, Any] = {
        "backbone": "demo_net",
        "backbone_weights": "none",
        "recipe": "tiny",
        "datasets": {"biq2021": {"recipe": "tiny"}},
        "attacks": ["fgsm", "pgd:steps=2,objective=reflect"],
        "eps": [1, 4],
        "device": "cpu",
        "recipes": {"tiny": {"resize": 32, "crop": 32, "batch_size": 8, "epochs": 2, "lr": 1e-3}},
    }
    path.write_text(yaml.safe_dump(document | changes))
    return path


class Workplace:
    """A folder with a tiny data set, a benchmark, a store, and a way to run commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.store = folder / "store"
        self.out = folder / "run"
        write_biq2021(self.data)
        self.config = write_config(folder / "tiny.yaml")

    def places(self) -> list[str]:
        return [
            *("--config", str(self.config)),
            *("--data-root", str(self.data)),
            *("--store", str(self.store)),
        ]

    def run(self, *flags: str) -> int:
        return main(["run", "--out", str(self.out), *self.places(), *flags])
