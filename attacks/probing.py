"""Gradients estimated from scores alone: NES and SPSA."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from iqabench.api import ObjectiveName, Passes, Probed, SignedAscent, SteppedAttack


@dataclass(frozen=True, kw_only=True)
class Probing(SteppedAttack):
    """Signed steps along a gradient that is estimated by pairs of opposite moves.

    Attributes:
        law: How the pixels of a move are drawn.
        objective: What the steps increase.
        threshold: For ``reflect`` and ``reflect_pred``; see ``ObjectiveAttack``.
        steps: Number of steps.
        pairs: Pairs of queries per step.
        sigma_255: Size of a move, per pixel, in grey levels.
        step: Length of a step as a share of eps; 0 takes 2.5 / steps.
        decay: Weight of the estimates of earlier steps; 0 uses each alone.
    """

    access = "black-box"
    law: ClassVar[Literal["normal", "sign"]]

    objective: ObjectiveName = "reflect"
    steps: int = 20
    step: float = 0.0
    pairs: int = 25
    sigma_255: float = 1.0
    decay: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs < 1:
            raise ValueError(f"pairs must be at least 1, got {self.pairs}")
        if self.sigma_255 <= 0 or self.decay < 0:
            raise ValueError("sigma_255 must be above 0, and decay not negative")

    @property
    def climb_queries(self) -> int:
        """See ``AscentAttack.climb_queries``."""
        return self.steps * self.look_queries + 1

    @property
    def look_queries(self) -> int:
        """Score queries per image of one step."""
        return 2 * self.pairs + 1

    @property
    def look_passes(self) -> Passes:
        """See ``SteppedAttack.look_passes``."""
        return Passes(self.look_queries, 0)

    def ascent(self, eps: float) -> SignedAscent:
        """See ``SteppedAttack.ascent``."""
        slope = Probed(self.pairs, self.sigma_255 / 255, self.law)
        return replace(super().ascent(eps), slope=slope, decay=self.decay)


@dataclass(frozen=True, kw_only=True)
class NES(Probing):
    """Natural evolution strategies: moves from a normal law (Ilyas et al. 2018, section 3.1).

    A ``sigma_255`` of a grey level and more sees over jagged landscapes, which the usual 1e-3 does
    not (Tramer et al. 2020, section 5). Parameters: see ``Probing``.
    """

    summary = "gradient estimated from scores, normal probes"
    paper = "https://arxiv.org/abs/1804.08598"
    year = 2018
    law = "normal"


@dataclass(frozen=True, kw_only=True)
class SPSA(Probing):
    """Simultaneous perturbation: every pixel moves by sigma (Uesato et al. 2018, section 4.1).

    Deviation: signed steps of fixed length in place of Adam. Parameters: see ``Probing``.
    """

    summary = "gradient estimated from scores, sign probes"
    paper = "https://arxiv.org/abs/1802.05666"
    year = 2018
    law = "sign"
