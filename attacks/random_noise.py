"""Random corners of the ball: what no gradient and no search would find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from iqabench.api import (
    AscentAttack,
    Climb,
    Goal,
    Noise,
    ObjectiveName,
    Passes,
    Regressor,
    keep_better,
    project,
    value_of,
)


@dataclass(frozen=True, kw_only=True)
class RandomNoise(AscentAttack):
    """The worst of several images in which every value moves by eps, up or down at random.

    A control: an attack that does no better found nothing (Athalye et al. 2018, section 3.1).

    Attributes:
        objective: What the worst is.
        threshold: For ``reflect`` and ``reflect_pred``; see ``ObjectiveAttack``.
        samples: Random images per image; the clean one counts too.
    """

    summary = "the worst of random corners of the ball"
    paper = "https://arxiv.org/abs/1802.00420"
    year = 2018
    access = "black-box"

    objective: ObjectiveName = "reflect"
    samples: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")

    @property
    def climb_queries(self) -> int:
        """See ``AscentAttack.climb_queries``."""
        return self.samples + 1

    def ascend(
        self,
        goal: Goal,
        regressor: Regressor,
        clean: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        """See ``AscentAttack.ascend``."""
        for eps in eps_list:
            best = Climb(clean, value_of(goal, regressor, clean, noise))
            for number in range(self.samples):
                drawn = noise.uniform(f"corner{number}", clean.shape[1:], like=clean, low=-1)
                move = torch.where(drawn < 0, -eps, eps)
                corner = project(clean + move, clean, eps)
                found = Climb(corner, value_of(goal, regressor, corner, noise))
                best = keep_better(best, found)
            yield best.images

    def climb_passes(self, eps_count: int) -> Passes:
        """See ``AscentAttack.climb_passes``."""
        return Passes(eps_count * self.climb_queries, 0)
