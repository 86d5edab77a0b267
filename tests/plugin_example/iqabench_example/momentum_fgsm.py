"""An attack: signed steps along an accumulated gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iqabench.api import Noise, ObjectiveAttack, Passes, Regressor, pixel_gradient, project


@dataclass(frozen=True, kw_only=True)
class MomentumFGSM(ObjectiveAttack):
    """Signed steps along a running sum of gradients, each divided by its L1 norm.

    Dong et al. 2018, algorithm 1. ``ObjectiveAttack`` brings two parameters more: ``objective``
    (what to increase) and ``threshold``.

    Attributes:
        steps: Number of steps; each has the length eps / steps.
        decay: Weight of the gradients before; 0 forgets them.
    """

    summary = "signed steps along accumulated gradients (MI-FGSM)"
    paper = "https://arxiv.org/abs/1710.06081"
    year = 2018

    steps: int = 5
    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.decay < 0:
            raise ValueError("steps must be at least 1, and decay must not be negative")

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        """See ``Attack.perturb``; ``eps`` is on the [0, 1] scale, like the images."""
        goal = self.goal(regressor, images, mos, noise)
        moved, memory = images, torch.zeros_like(images)
        for _ in range(self.steps):
            _, gradient = pixel_gradient(goal, regressor, moved, noise)
            # Per image, never over the batch: a result must not depend on the other images.
            size = gradient.abs().sum((1, 2, 3), keepdim=True).clamp_min(1e-30)
            memory = self.decay * memory + gradient / size
            moved = project(moved + eps / self.steps * memory.sign(), images, eps)
        return moved

    def passes(self, eps_count: int) -> Passes:
        """See ``Attack.passes``."""
        return Passes(eps_count * self.steps, eps_count * self.steps)
