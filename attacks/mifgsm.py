"""Momentum iterative FGSM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from iqabench.api import AscentAttack, Goal, Noise, Passes, Regressor, SignedAscent


@dataclass(frozen=True, kw_only=True)
class MIFGSM(AscentAttack):
    """Signed steps along an accumulated gradient, from the clean images.

    Dong et al. 2018, Algorithm 1: every gradient is divided by its L1 norm before it is added.
    Deviation: the best iterate is kept, not the last.

    Attributes:
        objective: What the steps increase.
        threshold: For ``reflect`` and ``reflect_pred``; see ``ObjectiveAttack``.
        steps: Number of steps.
        decay: Weight of the steps so far; 0 is plain iterated FGSM.
        step: Length of a step as a share of eps; 0 takes 1 / steps, the paper's.
    """

    summary = "signed steps along an accumulated gradient"
    paper = "https://arxiv.org/abs/1710.06081"
    year = 2018

    steps: int = 10
    decay: float = 1.0
    step: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.decay < 0 or self.step < 0:
            raise ValueError("decay and step must not be negative")

    def ascend(
        self,
        goal: Goal,
        regressor: Regressor,
        clean: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        """See ``AscentAttack.ascend``."""
        share = self.step or 1 / self.steps
        for eps in eps_list:
            ascent = SignedAscent(
                eps=eps, steps=self.steps, step_size=eps * share, decay=self.decay
            )
            yield ascent.climb(goal, regressor, clean, noise).images

    def climb_passes(self, eps_count: int) -> Passes:
        """See ``AscentAttack.climb_passes``."""
        return Passes(eps_count * (self.steps + 1), eps_count * self.steps)
