"""What lies beside the cells of synthetic runs: commands, cards, audits, pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from leaderboard_runs import FakeRow, Floats
from PIL import Image

EVIL = '<script>alert("x")</script>'
QUOTED = 'a"b'
SIZE = (12, 16)


def write_json(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def write_commands(run: Path, *commands: list[str]) -> None:
    write_json(run / "run.json", {"schema": 1, "runs": [{"command": c} for c in commands]})


def card(recipe_key: str, **changes: Any) -> dict[str, Any]:
    """Return a training card as the store has it."""
    return {
        "schema": 1,
        "recipe_key": recipe_key,
        "weights_sha256": "ab" * 32,
        "description": {},
        "images": 936,
        "epochs": 3,
        "losses": [0.5, 0.25, 0.125],
        "seconds": 187.3,
        "environment": {"torch": "2.5.1"},
        **changes,
    }


def audit(defense: str, eps_255: float, verdict: str, **changes: Any) -> dict[str, Any]:
    """Return a record as ``iqabench audit`` writes it, with one finding."""
    estimate = {"value": 0.25, "low": 0.125, "high": 0.5}
    finding = {
        "eps_255": eps_255,
        "verdict": verdict,
        "why": "half of it is taken away",
        "clean_srocc": estimate,
        "apparent": estimate,
        "real": estimate,
        "doubling": 0.0,
        "srocc": [],
        "reasons": [
            {"test": "T1", "asks": "is it so?", "found": "never", "raised": False},
            {"test": "T6", "asks": "is there a gradient?", "found": "nowhere", "raised": True},
        ],
    }
    return {
        "schema": 1,
        "defense": defense,
        "attacked_as": defense,
        "dataset": "LIVE",
        "seed": 0,
        "backbone": "mobilenet_v2",
        "recipe": "light",
        "sample": {"n": 48},
        "suite": {"name": "audit_quick-v1", "members": []},
        "sibling": "resnet",
        "findings": [finding],
        "error": None,
        **changes,
    }


def picture(run: Path, name: str, level: int | Floats) -> str:
    """Write a grey PNG file of a run and return its path in it."""
    path = run / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((*SIZE, 3)) + level
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return name


def saved(run: Path, image: str, clean: int, attacked: int, cell: str = "one") -> dict[str, str]:
    """Write both pictures of an image and return their entry in the cell file."""
    return {
        "image_id": image,
        "clean": picture(run, f"images/clean/{image}.png", clean),
        "attacked": picture(run, f"images/{cell}/{image}.png", attacked),
    }


def write_small(run: Path) -> FakeRow:
    """Write a row with everything: weak and strong attacks, pictures, card, audit, commands."""
    row = FakeRow(run, defense="cprl:b=0.3", recipe_key="1a" * 8)
    reference = row.but(defense="resnet", reference=True, recipe_key="2a" * 8)
    images = [saved(run, "image7", 100, 104), saved(run, "image0", 100, 96)]
    for one in (row, reference):
        one.write()
        one.write("fgsm", 4.0, [x * 0.9 for x in row.clean])
        one.write("pgd", 4.0, [-2 * x for x in row.clean], images=images if one is row else None)
    write_json(run / "cards" / "one.json", card("1a" * 8))
    write_json(run / "audits" / "one.json", audit("cprl:b=0.3", 4.0, "masked"))
    write_commands(run, ["run", "--defense", "cprl:b=0.3", "--out", "my run"])
    return row
