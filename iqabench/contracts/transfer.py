"""What is made on one regressor and shown to another."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from iqabench.contracts.ascent import SignedAscent
from iqabench.contracts.noise import Noise
from iqabench.contracts.objective import Goal
from iqabench.contracts.regressor import Regressor
from iqabench.contracts.slopes import Diverse


@dataclass(frozen=True)
class Transferred:
    """Momentum steps with input diversity on a source (M-DI2-FGSM, Xie et al. 2019, section 3.3).

    Attributes:
        steps: Number of steps; each has length eps / steps.
        decay: Weight of the steps so far.
        diversity: Share of steps in which an image is resized.
    """

    steps: int = 10
    decay: float = 1.0
    diversity: float = 0.7

    def images(
        self, goal: Goal, source: Regressor, clean: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        """Return what climbs ``goal`` on the source; the attacked model is not asked."""
        ascent = SignedAscent(
            eps=eps,
            steps=self.steps,
            step_size=eps / self.steps,
            slope=Diverse(self.diversity),
            decay=self.decay,
        )
        return ascent.climb(goal, source, clean, noise.for_purpose("transfer")).images
