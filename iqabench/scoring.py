"""Scores of clean and attacked images, and the per-image columns of a cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Regressor, scores_and_logits
from iqabench.distances import Distances
from iqabench.errors import CellError
from iqabench.results import Columns, finite_or_none

NONADAPTIVE = "_nonadaptive"
"""Suffix of the columns of an attack that took the regressor's own gradient alone."""


@dataclass(frozen=True)
class Scores:
    """What a regressor says of some images; the mean over draws where it is stochastic.

    Attributes:
        scores: ``(N,)``.
        logits: ``(N,)``.
        draws: Scores of each draw, ``(N, draws)``; None for a deterministic regressor.
    """

    scores: Tensor
    logits: Tensor
    draws: Tensor | None = None


@torch.no_grad()
def score(regressor: Regressor, images: Tensor, noise: Noise, draws: int) -> Scores:
    """Return the scores of a batch, on the CPU.

    Raises:
        CellError: The regressor returned a wrong shape, NaN or infinity.
    """
    if not regressor.stochastic:
        return Scores(
            *(_checked(v, len(images)) for v in scores_and_logits(regressor, images, noise))
        )
    passes = [scores_and_logits(regressor, images, noise.for_draw(d)) for d in range(draws)]
    scores, logits = (
        torch.stack([_checked(p[i], len(images)) for p in passes], dim=1) for i in (0, 1)
    )
    return Scores(scores.mean(1), logits.mean(1), scores)


def scores_of(regressor: Regressor, logits: Tensor) -> Scores:
    """Return the scores of a deterministic regressor from the logits of one pass, on the CPU.

    Raises:
        CellError: They are of a wrong shape, NaN or infinite.
    """
    count = len(logits)
    return Scores(_checked(regressor.squash(logits), count), _checked(logits, count))


def _checked(values: Tensor, count: int) -> Tensor:
    if values.shape != (count,):
        raise CellError(f"the defense returned shape {tuple(values.shape)}, not ({count},)")
    if not bool(values.isfinite().all()):
        raise CellError("the defense returned NaN or infinite scores")
    return values.detach().float().cpu()


class CellColumns:
    """Collects the per-image columns of one cell, batch by batch."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}
        self._learned: tuple[str, ...] = ()

    def add(self, attacked: Scores, rounded: Scores | None, moved: Distances) -> None:
        """Append a batch; ``rounded`` is None where the 8-bit image is not scored."""
        self._extend("score", attacked.scores)
        self._extend("logit", attacked.logits)
        nothing = torch.full_like(attacked.scores, math.nan)
        self._extend("score_8bit", rounded.scores if rounded else nothing)
        self._extend("logit_8bit", rounded.logits if rounded else nothing)
        for name, values in vars(moved).items():
            self._extend(name, values)
        if attacked.draws is not None:
            for draw, values in enumerate(attacked.draws.unbind(1)):
                self._extend(f"score_{draw}", values)

    def add_nonadaptive(self, attacked: Scores) -> None:
        """Append the scores of a batch attacked through the regressor's own gradient alone."""
        self._extend(f"score{NONADAPTIVE}", attacked.scores)
        self._extend(f"logit{NONADAPTIVE}", attacked.logits)

    def add_learned(self, moved: Mapping[str, Tensor]) -> None:
        """Append learned distances of a batch."""
        self._learned = tuple(moved)
        for name, values in moved.items():
            self._extend(name, values)

    def extend(self, later: CellColumns) -> None:
        """Append the columns of a later batch."""
        self._learned = later._learned
        for name, values in later._values.items():
            self._values.setdefault(name, []).extend(values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def array(self, name: str) -> np.ndarray:
        """Return one column."""
        return np.asarray(self._values[name], dtype=np.float64)

    def table(self, first: Columns) -> Columns:
        """Return all columns after ``first``, with None for what is not finite."""
        return first | {name: list(finite_or_none(v)) for name, v in self._values.items()}

    def summary(self) -> dict[str, float | None]:
        """Return what the cell file says of the distances."""
        values = {
            "linf_255_max": self.array("linf_255").max(),
            "linf_255_mean": self.array("linf_255").mean(),
            "linf_8bit_255_max": self.array("linf_8bit_255").max(),
            "l2_mean": self.array("l2").mean(),
            "psnr_mean": self.array("psnr").mean(),
            "ssim_mean": self.array("ssim").mean(),
        }
        values |= {f"{name}_mean": self.array(name).mean() for name in self._learned}
        return dict(zip(values, finite_or_none(list(values.values())), strict=True))

    def _extend(self, name: str, values: Tensor) -> None:
        self._values.setdefault(name, []).extend(values.double().tolist())
