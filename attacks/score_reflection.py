"""The score-reflection attack of CPRL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from iqabench.api import (
    Goal,
    Noise,
    ObjectiveName,
    Passes,
    Regressor,
    SteppedAttack,
    single_steps,
)


@dataclass(frozen=True, kw_only=True)
class ScoreReflection(SteppedAttack):
    """Drive good images down and bad images up: one signed step, or several.

    CPRL (arXiv 2404.19567) Eq 5 with the norm read as a distance and ascent on it, the only reading
    that reflects scores. Deviations: the step climbs the logit, whose gradient has the same sign
    and does not underflow; an image exactly at the threshold counts as bad; ``steps`` > 1 iterates
    (the paper has one step) with the side fixed from the start and the best iterate kept.

    Attributes:
        objective: ``reflect``, or another objective for the same steps.
        threshold: Side of an image: 0.5 is Eq 5, ``median`` of the split's labels hits ranks
            harder where labels are skewed.
        steps: Number of steps; one step has length eps.
        step: Length of a step as a share of eps when ``steps`` > 1; 0 takes 2.5 / steps.
    """

    summary = "good images down, bad images up (CPRL Eq 5)"
    paper = "https://arxiv.org/abs/2404.19567"
    year = 2024

    objective: ObjectiveName = "reflect"
    steps: int = 1

    def ascend(
        self,
        goal: Goal,
        regressor: Regressor,
        clean: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        """See ``AscentAttack.ascend``; a single step shares its gradient between radii."""
        if self.steps == 1:
            yield from single_steps(goal, regressor, clean, eps_list, noise)
            return
        yield from super().ascend(goal, regressor, clean, eps_list, noise)

    def climb_passes(self, eps_count: int) -> Passes:
        """See ``AscentAttack.climb_passes``."""
        return Passes(1, 1) if self.steps == 1 else super().climb_passes(eps_count)
