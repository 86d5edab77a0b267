"""The clean pass: scores of images as they are."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch

from iqabench.conditions import Conditions
from iqabench.containment import contained
from iqabench.contracts.regressor import Regressor
from iqabench.distances import Distances
from iqabench.progress import Counter
from iqabench.scoring import CellColumns, Scores, score
from iqabench.sides import Side


@dataclass
class CleanPass:
    """Clean scores of a side, batch after batch.

    Attributes:
        columns: What the clean cell holds of them.
    """

    columns: CellColumns = field(default_factory=CellColumns)

    def __post_init__(self) -> None:
        self._parts: list[Scores] = []

    def add(self, scores: Scores, unmoved: Distances) -> None:
        """Append a batch."""
        self._parts.append(scores)
        self.columns.add(scores, scores, unmoved)

    @property
    def scores(self) -> Scores:
        """Those of all batches so far."""
        draws = [p.draws for p in self._parts if p.draws is not None]
        return Scores(
            torch.cat([p.scores for p in self._parts]),
            torch.cat([p.logits for p in self._parts]),
            torch.cat(draws) if draws else None,
        )


def clean_scores(
    regressor: Regressor, side: Side, conditions: Conditions, progress: Counter
) -> tuple[Scores, CellColumns, float]:
    """Return the clean scores of a side, their columns, and the seconds they took."""
    began = time.perf_counter()
    found = CleanPass()

    def work(numbers: list[int]) -> tuple[Scores, Distances, int]:
        images, _ = side.batch(numbers, conditions.device)
        noise = side.noise(conditions.seed, numbers, "score")
        scores = score(regressor, images, noise, conditions.score_draws)
        return scores, Distances.of_unmoved(images), numbers[-1]

    every = range(len(side))
    with contained("the defense"):
        for scores, unmoved, last in conditions.memory.batches(every, conditions.batch_size, work):
            found.add(scores, unmoved)
            progress(last + 1, len(side))
    return found.scores, found.columns, time.perf_counter() - began
