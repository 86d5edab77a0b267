"""Projected gradient descent (ascent, as written here)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from iqabench.api import (
    Goal,
    Noise,
    Passes,
    Regressor,
    SteppedAttack,
    keep_better,
    random_start,
)


@dataclass(frozen=True, kw_only=True)
class PGD(SteppedAttack):
    """Signed gradient steps inside the ball, best iterate of all restarts kept, image by image.

    Madry et al. 2018, section 2.1; CPRL Eq 2. The first restart always starts from the clean image,
    the others from a uniform point of the ball. Deviation: an image whose gradient is exactly zero
    at the clean image (``mse`` where f equals y) goes to a random point in the first step.

    Attributes:
        objective: What the steps increase; ``mse`` is the paper's loss.
        threshold: For ``reflect`` and ``reflect_pred``; see ``ObjectiveAttack``.
        steps: Steps per restart.
        restarts: Starts in all, the clean image among them.
        step: Length of a step as a share of eps; 0 takes 2.5 / steps (Madry's rule).
    """

    summary = "signed gradient steps inside the ball, best iterate kept"
    paper = "https://arxiv.org/abs/1706.06083"
    year = 2018

    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.restarts < 1:
            raise ValueError(f"restarts must be at least 1, got {self.restarts}")

    def ascend(
        self,
        goal: Goal,
        regressor: Regressor,
        clean: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        """See ``AscentAttack.ascend``."""
        for ascent, first in self.ascents(goal, regressor, clean, eps_list, noise):
            eps = ascent.eps
            away = random_start(clean, noise, eps=eps, purpose="kick")
            best = ascent.climb(goal, regressor, clean, noise, first=first, kick=away)
            for restart in range(1, self.restarts):
                start = random_start(clean, noise, eps=eps, purpose=f"restart{restart}")
                best = keep_better(best, ascent.climb(goal, regressor, clean, noise, start=start))
            yield best.images

    @property
    def shares_work(self) -> bool:
        """See ``SteppedAttack.shares_work``; a restart begins elsewhere for every radius."""
        return self.restarts == 1 and super().shares_work

    def climb_passes(self, eps_count: int) -> Passes:
        """See ``AscentAttack.climb_passes``."""
        return self._climb_passes(eps_count, self.restarts)
