"""Fast gradient sign method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from iqabench.api import AscentAttack, Goal, Noise, Passes, Regressor, single_steps


@dataclass(frozen=True, kw_only=True)
class FGSM(AscentAttack):
    """One signed gradient step of length eps from the clean images.

    Goodfellow et al. 2015, section 4; CPRL Eq 1. The sign of the gradient does not depend on eps,
    so a sweep takes one gradient for all radii.

    Attributes:
        objective: What the step increases; ``mse`` is the paper's loss.
        threshold: For ``reflect`` and ``reflect_pred``; see ``ObjectiveAttack``.
    """

    summary = "one signed gradient step"
    paper = "https://arxiv.org/abs/1412.6572"
    year = 2015

    def ascend(
        self,
        goal: Goal,
        regressor: Regressor,
        clean: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        """See ``AscentAttack.ascend``."""
        return single_steps(goal, regressor, clean, eps_list, noise)

    @property
    def shares_work(self) -> bool:
        """All radii share the gradient."""
        return True

    def climb_passes(self, eps_count: int) -> Passes:
        """See ``AscentAttack.climb_passes``."""
        return Passes(1, 1)
