"""From what was computed to the file of a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from iqabench.contracts.attack import Attack
from iqabench.environment import environment
from iqabench.errors import one_line
from iqabench.folding import VERSION as SPEED_VERSION
from iqabench.folding import Speed
from iqabench.keeping import whole
from iqabench.metrics import agreement
from iqabench.planning import Entry
from iqabench.registry import Named
from iqabench.results import (
    CLEAN,
    CellRecord,
    Columns,
    cell_path,
    is_complete,
    read_cell,
    refresh_about,
    write_cell,
)
from iqabench.scoring import NONADAPTIVE, CellColumns, Scores
from iqabench.sweeping import VERSION


@dataclass(frozen=True)
class Attacked:
    """What a cell was attacked with, as results name it.

    Attributes:
        label: Short form, for people.
        key: What goes into the cell key.
        threat_model: What the budget check enforced.
        access: What of the defense the attack used.
    """

    label: str
    key: Mapping[str, Any]
    threat_model: str = "none"
    access: str = "none"

    @classmethod
    def by(
        cls,
        attack: Named[Attack],
        *,
        sources: Mapping[str, str],
        draws: int | None,
        routes: Sequence[str] = (),
    ) -> Attacked:
        """Describe an attack with the weights of its sources, the draws it averages, its routes."""
        key: dict[str, Any] = {
            "spec": attack.canonical,
            "components": [attack.identity],
            "sources": dict(sources),
            "draws": draws,
        }
        if len(routes) > 1:
            key["routes"] = list(routes)
        info = attack.component
        return cls(attack.label, key, info.threat_model, info.access)

    @property
    def spec(self) -> str:
        """Its canonical spec."""
        return str(self.key["spec"])


NOTHING = Attacked(CLEAN, {"spec": CLEAN, "components": [], "sources": {}, "draws": None})
"""The clean pass."""


@dataclass(frozen=True)
class Recorder:
    """Writes the cells of one defense on one data set.

    Attributes:
        run: The run directory.
        entry: The defense on the data set.
        recipe_key: Key of its checkpoint; empty if training failed.
        weights_sha256: Hash of its weights; None if training failed.
        score_draws: Passes averaged per score: 1 for a deterministic regressor.
        device: Where it ran.
        speed: What was done to the network to make it faster.
    """

    run: Path
    entry: Entry
    recipe_key: str
    weights_sha256: str | None
    score_draws: int
    device: torch.device
    speed: Speed = "exact"

    def cell(self, attacked: Attacked, eps_255: float) -> dict[str, Any]:
        """Return everything that can change a cell's numbers; ``docs/results-format.md``."""
        entry = self.entry
        quickened = (
            {} if self.speed == "exact" else {"speed": self.speed, "speed_version": SPEED_VERSION}
        )
        return {
            "core": VERSION,
            "dataset": entry.data.describe(),
            "split": entry.data.split.fingerprint,
            "defense": {
                "spec": entry.chain.canonical,
                "components": entry.chain.identities,
                "weights_sha256": self.weights_sha256,
                **quickened,
            },
            "attack": attacked.key,
            "eps_255": float(eps_255),
            "seed": entry.seed,
            "score_draws": self.score_draws,
        }

    def path(self, attacked: Attacked, eps_255: float) -> Path:
        """Return where a cell's file lies."""
        return cell_path(self.run, self.cell(attacked, eps_255))

    def done(
        self,
        attacked: Attacked,
        eps_255: float,
        clean: Scores,
        columns: CellColumns,
        cost: Mapping[str, Any],
        images: list[dict[str, str]] | None = None,
    ) -> None:
        """Write a finished cell."""
        rows = self.entry.data.test.rows
        first: Columns = {
            "image_id": [r.image_id for r in rows],
            "mos": [r.mos for r in rows],
            "scene": [r.scene for r in rows],
            "clean_score": clean.scores.tolist(),
            "clean_logit": clean.logits.tolist(),
        }
        record = CellRecord(
            cell=self.cell(attacked, eps_255),
            about=self._about(attacked),
            metrics=self._metrics(columns, ""),
            metrics_8bit=self._metrics(columns, "_8bit"),
            metrics_nonadaptive=self._metrics(columns, NONADAPTIVE),
            distance=columns.summary(),
            cost=dict(cost),
            images=images,
            environment=environment(self.device),
        )
        write_cell(self.run, record, columns.table(first))

    def finds(
        self,
        attacked: Attacked,
        eps_255: float,
        image_ids: Sequence[str] = (),
        learned: Sequence[str] = (),
    ) -> bool:
        """Say whether the cell is finished already; if so, bring its ``about`` up to date.

        Args:
            attacked: What it was attacked with.
            eps_255: The radius, in grey levels.
            image_ids: Images that it must have kept.
            learned: Learned distances that it must have.
        """
        path = self.path(attacked, eps_255)
        if not is_complete(path):
            return False
        if image_ids or learned:
            record = read_cell(path)
            there = set(record.distance or ())
            if not whole(self.run, record.images, image_ids):
                return False
            if not {f"{name}_mean" for name in learned} <= there:
                return False
        refresh_about(path, self._about(attacked))
        return True

    def failed(self, attacked: Attacked, eps_255: float, error: Exception) -> str:
        """Write a failed cell and return what went wrong in one line."""
        message = one_line(error)
        record = CellRecord(
            cell=self.cell(attacked, eps_255),
            about=self._about(attacked),
            status="failed",
            error=message,
            environment=environment(self.device),
        )
        write_cell(self.run, record, None)
        return f"{attacked.label} at {eps_255:g}/255 against {self.entry.shown} failed: {message}"

    def _metrics(self, columns: CellColumns, suffix: str) -> dict[str, Any] | None:
        if f"score{suffix}" not in columns:
            return None
        scores, logits = columns.array(f"score{suffix}"), columns.array(f"logit{suffix}")
        if not np.isfinite(scores).all():  # the 8-bit columns of a fractional eps
            return None
        rows = self.entry.data.test.rows
        mos = np.asarray([r.mos for r in rows])
        return agreement(mos, scores, logits, [r.scene for r in rows]).to_json()

    def _about(self, attacked: Attacked) -> dict[str, Any]:
        entry, info = self.entry, self.entry.data.named.component
        weights = entry.training.backbone.provenance()["weights"]
        settings = entry.training.recipe.description()
        if not entry.chain.trains:
            weights, settings = "pretrained", settings | {"epochs": 0}
        return {
            "dataset_title": info.title,
            "dataset_part": entry.data.incomplete,
            "proxy_labels": info.proxy_labels,
            "split_origin": entry.data.split.origin,
            "defense": entry.chain.label,
            "attack": attacked.label,
            "backbone": entry.backbone_name,
            "backbone_weights": weights,
            "recipe": entry.recipe_name,
            "recipe_settings": settings,
            "recipe_key": self.recipe_key,
            "reference": entry.reference,
            "threat_model": attacked.threat_model,
            "access": attacked.access,
            "stochastic": self.score_draws > 1,
        }
