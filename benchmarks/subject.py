"""What the speed benchmarks attack: an untrained ResNet-18 and images of noise, in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from iqabench.api import Regressor, Row
from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.clean import clean_scores
from iqabench.conditions import Conditions
from iqabench.contracts.objective import Facts
from iqabench.environment import settle
from iqabench.folding import Speed, quicken
from iqabench.looking import LookingSweep, can_look
from iqabench.pixels import Pixels
from iqabench.planning import attack
from iqabench.scoring import Scores
from iqabench.seeding import lent_rng, seed_torch
from iqabench.sides import Geometry, Side
from iqabench.sweeping import Outcome, Sweep

BATCH = 16
CPU = torch.device("cpu")


def regressor_of(defense: str, backbone: str = "resnet18", speed: Speed | None = None) -> Regressor:
    """Return an untrained, frozen regressor; with a speed as a run settles it, else as built."""
    with lent_rng():
        seed_torch("benchmark")
        built = Chain.parse(defense).build(BackboneSpec(backbone, "none").build())
    frozen = built.eval().requires_grad_(False)
    if speed is None:
        return frozen
    settled = settle(frozen, CPU)
    said = quicken(settled, speed, 64)
    assert said is None, said
    return settled


def side_of(count: int, size: int) -> Side:
    """Return a side with ``count`` images of noise, labelled from 0 to 1."""
    pixels = np.random.default_rng(0).integers(0, 256, count * size * size * 3, np.uint8)
    rows = tuple(
        Row(f"image{i}", Path(f"image{i}"), i / max(1, count - 1), f"scene{i}")
        for i in range(count)
    )
    held = Pixels([(size, size)] * count, pixels)
    names = tuple(row.image_id for row in rows)
    return Side(rows, names, Geometry(size, size), Path(), held)


def sweep_of(spec: str, regressor: Regressor, side: Side, clean: Scores | None = None) -> Sweep:
    """Return a prepared sweep as a run makes it; its self-check is left to the caller.

    Without clean scores they are computed, or found by an attack that looks at the images first.
    """
    conditions, component = Conditions(0, 1, 1, BATCH, CPU), attack(spec).component
    looks = clean is None and can_look(component, regressor)
    if clean is None and not looks:
        clean = clean_scores(regressor, side, conditions, _quiet)[0]
    logits = clean.logits.tolist() if clean else []
    prepared = component.prepare(Facts(side.image_ids, side.mos.tolist(), logits))
    if clean is None:
        return LookingSweep(prepared, regressor, side, conditions)
    return Sweep(prepared, regressor, side, clean, conditions)


def run(sweep: Sweep, eps_255: list[float]) -> dict[float, Outcome]:
    """Run a sweep as the harness does: radii together where the attack shares work."""
    together = sweep.attack.shares_work
    found: dict[float, Outcome] = {}
    for group in [eps_255] if together else [[eps] for eps in eps_255]:
        found |= sweep.run(group, _quiet)
    for outcome in found.values():
        if outcome.error is not None:
            raise outcome.error
    return found


def _quiet(done: int, total: int) -> None:
    """Show no progress."""
