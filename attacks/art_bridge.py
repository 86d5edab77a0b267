"""Attacks of the Adversarial Robustness Toolbox (Nicolae et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from iqabench.api import BridgedAttack, Offer, Value

_STEPS = {"steps": 10, "step": 0.25}

OFFERED = {
    "FastGradientMethod": Offer(),
    "BasicIterativeMethod": Offer(_STEPS),
    "ProjectedGradientDescent": Offer(_STEPS),
    "MomentumIterativeMethod": Offer({**_STEPS, "decay": 1.0}),
}
"""What ART runs on a regressor and was checked; ``step`` is a share of eps."""

_CLASSIFIER = "it needs a classifier; ART itself refuses a regressor"
_PATCH = "it paints a patch, which no L-infinity ball holds"
REFUSED = {
    "ProjectedGradientDescentNumpy": "it is what ProjectedGradientDescent runs on a regressor",
    "SquareAttack": "it keeps its last restart instead of its best, and fails on rectangles",
    "SpatialTransformation": "it asks the regressor for its number of classes and fails",
    **dict.fromkeys(("AdversarialPatch", "AdversarialPatchPyTorch", "DPatch"), _PATCH),
    **dict.fromkeys(
        (
            "AutoAttack",
            "AutoConjugateGradient",
            "AutoProjectedGradientDescent",
            "BoundaryAttack",
            "CarliniL0Method",
            "CarliniL2Method",
            "CarliniLInfMethod",
            "DeepFool",
            "ElasticNet",
            "GeoDA",
            "HopSkipJump",
            "LowProFool",
            "NewtonFool",
            "PixelAttack",
            "ProjectedGradientDescentPyTorch",
            "RescalingAutoConjugateGradient",
            "SaliencyMapMethod",
            "ShadowAttack",
            "SignOPTAttack",
            "SimBA",
            "TargetedUniversalPerturbation",
            "ThresholdAttack",
            "UniversalPerturbation",
            "VirtualAdversarialMethod",
            "Wasserstein",
            "ZooAttack",
        ),
        _CLASSIFIER,
    ),
}


class _Values(nn.Module):
    """What an attack climbs, in the form of a network."""

    def __init__(self, value: Value) -> None:
        super().__init__()
        self.value = value

    def forward(self, images: Tensor) -> Tensor:
        return self.value(images)


class _Signed(nn.Module):
    """The loss sum(labels * outputs): labels of 1 raise each output, whatever its scale."""

    reduction = "sum"

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return (labels * outputs).sum()


@dataclass(frozen=True, kw_only=True)
class ARTBridge(BridgedAttack):
    """An attack of ART on the score, through its regressor and a loss of its own.

    Verified with ART 1.20.1; ``docs/bridges.md`` says what is offered and why the rest is not.
    ART computes on NumPy arrays, so every step goes over the CPU. Deviations: radius and step
    length are shares of eps instead of absolute defaults. It returns its last iterate.

    Attributes:
        name: Its name in ``art.attacks.evasion``.
        objective: What it increases; see ``iqabench.contracts.objective``.
        threshold: For ``reflect`` and ``reflect_pred``; see ``ObjectiveAttack``.
        steps: Number of steps.
        step: Length of a step as a share of eps; 0 takes 2.5 / steps.
        decay: Share of the accumulated gradient that is kept.
    """

    summary = "an attack of the Adversarial Robustness Toolbox, lent to scores (docs/bridges.md)"
    paper = "https://arxiv.org/abs/1807.01069"
    year = 2018
    library = "art"
    distribution = "adversarial-robustness-toolbox"
    extra = "art"
    offered = OFFERED
    refused = REFUSED

    name: str = "ProjectedGradientDescent"
    decay: float | None = None

    def run(self, value: Value, images: Tensor, eps: float) -> Tensor:
        """See ``BridgedAttack.run``."""
        from art.attacks import evasion
        from art.estimators.regression.pytorch import PyTorchRegressor

        arrays = images.cpu().numpy()
        # On the CPU, or ART would move the network to the GPU of its own choice.
        estimator = PyTorchRegressor(
            _Values(value),
            loss=_Signed(),
            input_shape=arrays.shape[1:],
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        attack = getattr(evasion, self.name)(
            estimator, eps=eps, batch_size=len(arrays), **self._arguments(eps)
        )
        # Without labels it would take the predictions, (N, 1) against (N,), as targets.
        moved = attack.generate(arrays, np.ones(len(arrays), np.float32))
        return torch.from_numpy(moved)

    def _arguments(self, eps: float) -> dict[str, Any]:
        """Return what the library's constructor takes, in its own words."""
        settings = self.settings
        if "steps" not in settings:
            return {}
        kept = {key: settings[key] for key in settings.keys() - _STEPS.keys()}
        steps = {"max_iter": settings["steps"], "eps_step": self.step_size(eps)}
        return {**steps, **kept, "verbose": False}
