"""Signed steps along a gradient that is averaged around the image."""

from __future__ import annotations

from dataclasses import dataclass, replace

from iqabench.api import ObjectiveName, Passes, SignedAscent, Smoothed, SteppedAttack


@dataclass(frozen=True, kw_only=True)
class SmoothedGradient(SteppedAttack):
    """PGD on the mean gradient at random points around the image, best iterate kept.

    Against jagged landscapes (k-WTA, ranks), where the gradient at a point describes a vanishingly
    small piece: Tramer et al. 2020, section 5, with gradients in place of finite differences.

    Attributes:
        objective: What the steps increase.
        threshold: For ``reflect`` and ``reflect_pred``; see ``ObjectiveAttack``.
        steps: Number of steps.
        samples: Points per step, half of them mirror images of the others.
        sigma_255: Standard deviation of a pixel's move to such a point, in grey levels.
        step: Length of a step as a share of eps; 0 takes 2.5 / steps.
    """

    summary = "signed steps along a gradient averaged around the image"
    paper = "https://arxiv.org/abs/2002.08347"
    year = 2020

    objective: ObjectiveName = "reflect"
    samples: int = 10
    sigma_255: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")
        if self.sigma_255 < 0:
            raise ValueError(f"sigma_255 must not be negative, got {self.sigma_255}")

    def ascent(self, eps: float) -> SignedAscent:
        """See ``SteppedAttack.ascent``."""
        return replace(super().ascent(eps), slope=Smoothed(self.samples, self.sigma_255 / 255))

    @property
    def look_passes(self) -> Passes:
        """See ``SteppedAttack.look_passes``."""
        return Passes(self.samples + 1, self.samples)
