"""An honest attack, and how faulty ones are made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from iqabench.api import Attack, Noise, Regressor, make_goal, pixel_gradient, project

DOC = "An attack for a test.\n\nIt has one fault at most."


@dataclass(frozen=True, kw_only=True)
class Honest(Attack):
    """One signed step that raises the logit.

    What the mutants below are made of; it breaks no rule itself.
    """

    summary = "one signed step"

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        return project(images + eps * sign(regressor, images, mos, noise), images, eps)


def sign(regressor: Regressor, images: Tensor, mos: Tensor, noise: Noise) -> Tensor:
    goal = make_goal("raise", regressor, images, mos, noise)
    return pixel_gradient(goal, regressor, images, noise)[1].sign()


def variant(**members: Any) -> type[Attack]:
    made = type("Mutant", (Honest,), {"__doc__": DOC, "__module__": __name__, **members})
    return dataclass(frozen=True, kw_only=True)(made)
