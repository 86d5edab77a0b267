"""Images made on another trained defense."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from iqabench.api import Noise, ObjectiveAttack, ObjectiveName, Passes, Regressor, Transferred


@dataclass(frozen=True, kw_only=True)
class Transfer(ObjectiveAttack):
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

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        """See ``Attack.perturb``."""
        return next(self.sweep(regressor, images, mos, [eps], noise))

    def sweep(
        self,
        regressor: Regressor,
        images: Tensor,
        mos: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        """See ``Attack.sweep``."""
        assert self.facts is not None
        source = self.facts.sources[self.source]
        goal = self.goal(source, images, mos, noise)
        steps = Transferred(self.steps, self.decay, self.diversity)
        for eps in eps_list:
            yield steps.images(goal, source, images, eps, noise)

    @property
    def shares_work(self) -> bool:
        """Nothing is shared between radii."""
        return False

    def passes(self, eps_count: int) -> Passes:
        """See ``Attack.passes``: those through the source."""
        return Passes(eps_count * (self.steps + 1), eps_count * self.steps)
