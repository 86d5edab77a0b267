"""Synthetic runs for the tests of the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqabench.metrics import agreement
from iqabench.results import CellRecord, write_cell

Floats = NDArray[np.float64]
REVERSED = (4, 3, 2, 1, -1, -2, -3, -4)
"""Logits of a ``FakeRow`` that put its images in the opposite order."""
SWAPPED = (-4, -3, -2, -1, 4, 3, 2, 1)
"""The same for the better half of them alone."""


@dataclass(frozen=True)
class FakeRow:
    """One defense of a synthetic run; every write goes through ``results.write_cell``."""

    run: Path
    defense: str = "resnet"
    title: str = "LIVE"
    dataset: str = "live"
    backbone: str = "mobilenet_v2"
    recipe: str = "light"
    recipe_key: str = "0123456789abcdef"
    weights: str = "ab" * 32
    seed: int = 0
    reference: bool = False
    proxy: bool = False
    stochastic: bool = False
    crop: int = 320
    mos: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9)
    scenes: tuple[str | None, ...] | None = None
    clean: tuple[float, ...] = field(default=(-4, -3, -2, -1, 1, 2, 3, 4))
    resamples: int = 40
    seconds: float = 1.0
    about: Mapping[str, Any] = field(default_factory=dict)

    def but(self, **changes: Any) -> FakeRow:
        return replace(self, **changes)

    def write(
        self,
        attack: str = "clean",
        eps_255: float = 0.0,
        logits: Sequence[float] | None = None,
        *,
        label: str | None = None,
        error: str | None = None,
        draws: int | None = None,
        ids: Sequence[str] | None = None,
        nonadaptive: Sequence[float] | None = None,
        images: list[dict[str, str]] | None = None,
    ) -> Path:
        """Write one cell; logits default to the clean ones, an error makes it a failed one."""
        cell = {
            "dataset": {
                "name": self.dataset,
                "version": "1",
                "fingerprint": "f" * 16,
                "resize": 320,
                "crop": self.crop,
            },
            "split": "5" * 16,
            "defense": {"spec": self.defense, "components": [], "weights_sha256": self.weights},
            "attack": {"spec": attack, "components": [], "sources": {}, "draws": draws},
            "score_draws": 1,
            "eps_255": eps_255,
            "seed": self.seed,
        }
        about = {
            "dataset_title": self.title,
            "proxy_labels": self.proxy,
            "defense": self.defense,
            "attack": label or attack,
            "backbone": self.backbone,
            "recipe": self.recipe,
            "recipe_key": self.recipe_key,
            "reference": self.reference,
            "threat_model": "linf",
            "access": "white-box",
            "stochastic": self.stochastic,
            **self.about,
        }
        environment = {"iqabench": "0.1.0", "torch": "2.5.1", "device": "cpu"}
        record = CellRecord(cell, about, environment=environment)
        if error is not None:
            return write_cell(self.run, replace(record, status="failed", error=error), None)
        attacked = np.asarray(self.clean if logits is None else logits, dtype=float)
        metrics, columns = self._numbers(attacked, ids)
        done = replace(
            record,
            metrics=metrics,
            metrics_8bit=metrics,
            cost={"seconds": self.seconds},
            images=images,
        )
        if nonadaptive is not None:
            own, _ = self._numbers(np.asarray(nonadaptive, dtype=float), ids)
            done = replace(done, metrics_nonadaptive=own)
        return write_cell(self.run, done, columns)

    def _numbers(
        self, logits: Floats, ids: Sequence[str] | None
    ) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        n = len(self.mos)
        mos, clean = np.asarray(self.mos), np.asarray(self.clean, dtype=float)
        scenes = self.scenes or (None,) * n
        scores = 1 / (1 + np.exp(-logits))
        measured = agreement(mos, scores, logits, scenes, resamples=self.resamples)
        columns: dict[str, list[Any]] = {
            "image_id": list(ids or [f"image{i}" for i in range(n)]),
            "mos": mos.tolist(),
            "scene": list(scenes),
            "clean_score": (1 / (1 + np.exp(-clean))).tolist(),
            "clean_logit": clean.tolist(),
            "score": scores.tolist(),
            "logit": logits.tolist(),
        }
        return dict(measured.to_json()), columns


def write_whole_run(run: Path) -> Path:
    """Write a run that uses everything at once: two data sets, four rows, failures, marks."""
    real = FakeRow(run, dataset="koniq", title="KonIQ-10k")
    demo = FakeRow(run, dataset="demo", title="Demo photographs", proxy=True)
    write_data_set(real, n=48, scenes=0)
    write_data_set(demo, n=48, scenes=6)
    return run


def write_data_set(base: FakeRow, *, n: int, scenes: int, defenses: int = 4) -> None:
    """Write smooth made-up results: later defenses keep more, later attacks hurt more."""
    rng = np.random.default_rng(7)
    mos = rng.uniform(size=n)
    names = ("resnet", "cprl:b=0.3", "at:eps_255=2+resnet", "lwta", "sat", "kwta", "nt", "jpeg")
    base = base.but(
        mos=tuple(mos.tolist()),
        scenes=tuple(f"scene{i % scenes}" for i in range(n)) if scenes else None,
    )
    attacks = {"fgsm": 0.1, "pgd:objective=reflect": 2.6, "score_reflection": 1.9}
    for number, name in enumerate(names[:defenses]):
        clean = 6 * (mos - 0.5) + rng.normal(scale=0.9, size=n)
        row = base.but(
            defense=name,
            clean=tuple(clean.tolist()),
            reference=number == 0,
            weights=f"{number}c" * 32,
            recipe_key=f"{number}a" * 8,
            stochastic=name == "lwta",
        )
        row.write()
        for attack, strength in attacks.items():
            for eps in (1.0, 2.0, 4.0):
                if number == 3 and attack == "fgsm" and eps == 2:
                    row.write(attack, eps, error="BudgetError: 3 images left the ball")
                elif not (number == 2 and attack == "score_reflection" and eps == 4):
                    push = strength * eps**0.6 * (1 - 0.1 * number)
                    noise = rng.normal(scale=0.2, size=n)
                    row.write(attack, eps, clean - np.where(mos > 0.5, 1, -1) * push + noise)
