"""Images made on another trained defense."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from iqabench.api import AscentAttack, Goal, Noise, ObjectiveName, Passes, Regressor, Transferred


@dataclass(frozen=True, kw_only=True)
class Transfer(AscentAttack):
    """What fools a source is shown to the defense, which is never asked.

    Momentum steps with input diversity (Xie et al. 2019) on the source, which is trained under the
    same conditions. A defense that falls to it, and not to its own gradient, hides its gradient.

    Attributes:
        objective: What increases on the source.
        threshold: For ``reflect`` and ``reflect_pred``; see ``ObjectiveAttack``.
        source: The trained defense that images are made on, as a component string.
        steps: Number of steps.
        decay: Weight of the steps so far.
        diversity: Share of steps in which an image is resized.
    """

    summary = "images made on another trained defense"
    paper = "https://arxiv.org/abs/1803.06978"
    year = 2019
    access = "transfer"

    objective: ObjectiveName = "reflect"
    source: str = "resnet"
    steps: int = 10
    decay: float = 1.0
    diversity: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective == "both":
            raise ValueError("both needs the defense's answer to choose by; say raise or lower")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.decay < 0 or not 0 <= self.diversity <= 1:
            raise ValueError("decay must not be negative, and diversity in [0, 1]")
        if not self.source:
            raise ValueError("source must name a defense")

    def sources(self) -> tuple[str, ...]:
        """See ``Attack.sources``."""
        return (self.source,)

    def goal(self, regressor: Regressor, images: Tensor, mos: Tensor, noise: Noise) -> Goal:
        """See ``Attack.goal``; what it needs to know, it asks of the source."""
        return super().goal(self._trained, images, mos, noise)

    def ascend(
        self,
        goal: Goal,
        regressor: Regressor,
        clean: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        """See ``AscentAttack.ascend``."""
        steps = Transferred(self.steps, self.decay, self.diversity)
        for eps in eps_list:
            yield steps.images(goal, self._trained, clean, eps, noise)

    def climb_passes(self, eps_count: int) -> Passes:
        """See ``AscentAttack.climb_passes``: those through the source."""
        return Passes(eps_count * (self.steps + 1), eps_count * self.steps)

    @property
    def _trained(self) -> Regressor:
        assert self.facts is not None
        return self.facts.sources[self.source]
