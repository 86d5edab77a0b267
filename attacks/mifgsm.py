"""Momentum iterative FGSM."""

from __future__ import annotations

from dataclasses import dataclass, replace

from iqabench.api import SignedAscent, SteppedAttack


@dataclass(frozen=True, kw_only=True)
class MIFGSM(SteppedAttack):
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

    reach = 1.0

    step: float = 0.0
    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decay < 0:
            raise ValueError(f"decay must not be negative, got {self.decay}")

    def ascent(self, eps: float) -> SignedAscent:
        """See ``SteppedAttack.ascent``."""
        return replace(super().ascent(eps), decay=self.decay)
