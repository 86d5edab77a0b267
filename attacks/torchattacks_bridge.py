"""Attacks of torchattacks (Kim 2020; https://github.com/Harry24k/adversarial-attacks-pytorch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from iqabench.api import BridgedAttack, Offer, Value

_STEPS = {"steps": 10, "step": 0.25}
_MOMENTUM = {**_STEPS, "decay": 1.0}
_VARIANCE = {**_MOMENTUM, "N": 5, "beta": 1.5}
_DIVERSE = {
    **_STEPS,
    "decay": 0.0,
    "resize_rate": 0.9,
    "diversity_prob": 0.5,
    "random_start": False,
}
_PATCH = {"steps": 10, "amplification": 10.0}

OFFERED = {
    "FGSM": Offer(),
    "BIM": Offer(_STEPS),
    "PGD": Offer({**_STEPS, "random_start": True}, random="random_start"),
    "RFGSM": Offer(_STEPS, random=True),
    "FFGSM": Offer({"step": 1.25}, random=True),
    "UPGD": Offer({**_MOMENTUM, "random_start": False}, random="random_start"),
    "MIFGSM": Offer(_MOMENTUM),
    "NIFGSM": Offer(_MOMENTUM),
    "SINIFGSM": Offer({**_MOMENTUM, "m": 5}, passes=lambda s: s["steps"] * s["m"]),
    "VMIFGSM": Offer(_VARIANCE, random=True, passes=lambda s: s["steps"] * (1 + s["N"])),
    "VNIFGSM": Offer(_VARIANCE, random=True, passes=lambda s: s["steps"] * (1 + s["N"])),
    "DIFGSM": Offer(_DIVERSE, random=True, square=True),
    "TIFGSM": Offer(
        {**_DIVERSE, "kernel_name": "gaussian", "len_kernel": 15, "nsig": 3.0},
        random=True,
        square=True,
    ),
    "PIFGSM": Offer(_PATCH),
    "PIFGSMPP": Offer({**_PATCH, "project_factor": 0.8}),
    "APGD": Offer(
        {"steps": 10, "n_restarts": 1, "rho": 0.75},
        random=True,
        passes=lambda s: s["n_restarts"] * (s["steps"] + 1),
        forwards=2,  # the anchor, and a class that nobody looks at
    ),
}
"""What was checked on scalars; ``step`` is a share of eps, as its ratio in the library is."""

_BOUNDARY = "it looks for the nearest class boundary, which a score does not have"
_QUERIES = "it makes queries, and a bridge declares white-box access: use a native one"
REFUSED = {
    "VANILA": "it attacks nothing",
    "GN": "its noise obeys no radius and climbs nothing",
    "TPGD": "its divergence from the clean prediction has no direction",
    "EOTPGD": "its repeated passes are equal: a stochastic defense is attacked through its mean",
    "PGDRS": "it attacks a copy smoothed by noise that is not the model that is scored",
    "PGDRSL2": "its ball is L2, and eps is an L-infinity radius",
    "PGDL2": "its ball is L2, and eps is an L-infinity radius",
    "APGDT": "its targets are other classes, at least three of them",
    "AutoAttack": "it needs four classes, and returns clean images where no class changes",
    "Jitter": "its loss is about the predicted class",
    "JSMA": "its target is class label + 1 modulo 10",
    "Square": "it returns clean images where no class changes",
    "SPSA": _QUERIES,
    "OnePixel": "it maximises the probability of another class on a few pixels, not in a ball",
    "Pixle": "it swaps pixels until the class changes, not in a ball",
    **dict.fromkeys(("CW", "DeepFool", "EADEN", "EADL1", "FAB", "SparseFool"), _BOUNDARY),
    **dict.fromkeys(("LGV", "MultiAttack"), "it is a wrapper around other attacks"),
}


class _TwoClasses(nn.Module):
    """Logits (0, value - anchor): the cross-entropy of class 0 is softplus(value - anchor).

    It rises with the value, so an untargeted attack on class 0 climbs the value. The anchor keeps
    float32 where softplus has a gradient, whatever the scale of the score.

    Args:
        value: What to climb.
        like: Where the library computes; it finds the device by this module's parameters.
        anchor: Values of the clean images, for attacks that compare losses. Without it the anchor
            is the value itself, detached: the gradient is half the value's at every point, which is
            exact, but the loss is constant.
    """

    def __init__(self, value: Value, like: Tensor, anchor: Tensor | None = None) -> None:
        super().__init__()
        self.value = value
        self.anchor = anchor
        self.place = nn.Parameter(like.new_zeros(0), requires_grad=False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        values = self.value(images)
        anchor = values.detach() if self.anchor is None else self.anchor
        return torch.stack([torch.zeros_like(values), values - anchor], 1)


@dataclass(frozen=True, kw_only=True)
class TorchattacksBridge(BridgedAttack):
    """An attack of torchattacks on the score, through logits of two made-up classes.

    Verified with torchattacks 3.5.1; ``docs/bridges.md`` says what is offered and why the rest is
    not. Deviations: radius and step length are shares of eps instead of absolute defaults, and APGD
    keeps its best loss instead of its first change of class. All but APGD return their last
    iterate.

    Attributes:
        name: Its name in torchattacks.
        objective: What it increases; see ``iqabench.contracts.objective``.
        threshold: For ``reflect`` and ``reflect_pred``; see ``ObjectiveAttack``.
        steps: Number of steps.
        step: Length of a step as a share of eps; 0 takes 2.5 / steps.
        random_start: Start from a uniform point of the ball.
        decay: Share of the accumulated gradient that is kept.
        m: Darkened copies whose gradients are averaged.
        N: Neighbours whose gradients are compared.
        beta: Their distance as a share of eps.
        resize_rate: Smallest, or largest, side after resizing as a share of the side.
        diversity_prob: Probability of resizing.
        kernel_name: Kernel that smooths the gradient.
        len_kernel: Side of the kernel, odd.
        nsig: Half width of the Gaussian kernel in standard deviations.
        amplification: Length of a step over eps / steps.
        project_factor: Share of the overflow that goes to the neighbours.
        n_restarts: Random starts.
        rho: Share of steps that must climb, or the step is halved.
    """

    summary = "an attack of torchattacks, lent to scores (docs/bridges.md)"
    paper = "https://arxiv.org/abs/2010.01950"
    year = 2020
    library = "torchattacks"
    distribution = "torchattacks"
    extra = "torchattacks"
    offered = OFFERED
    refused = REFUSED

    random_start: bool | None = None
    decay: float | None = None
    m: int | None = None
    N: int | None = None
    beta: float | None = None
    resize_rate: float | None = None
    diversity_prob: float | None = None
    kernel_name: Literal["gaussian", "linear", "uniform"] | None = None
    len_kernel: int | None = None
    nsig: float | None = None
    amplification: float | None = None
    project_factor: float | None = None
    n_restarts: int | None = None
    rho: float | None = None

    def run(self, value: Value, images: Tensor, eps: float) -> Tensor:
        """See ``BridgedAttack.run``."""
        import torchattacks

        first_class = torch.zeros(len(images), dtype=torch.long, device=images.device)
        make = getattr(torchattacks, self.name)
        moved: Tensor
        if self.name == "APGD":  # its public call gives back clean images until the class changes
            with torch.no_grad():
                model = _TwoClasses(value, images, anchor=value(images))
            attack = make(model, eps=eps, **self.settings)
            _, moved = attack.perturb(images, first_class, best_loss=True)
        else:
            attack = make(_TwoClasses(value, images), **self._arguments(eps))
            moved = attack(images, first_class)
        return moved

    def _arguments(self, eps: float) -> dict[str, object]:
        """Return what the library's constructor takes, in its own words."""
        settings = self.settings
        if "amplification" in settings:  # it divides eps by its steps itself
            return {"max_epsilon": eps, "num_iter_set": settings.pop("steps"), **settings}
        if "step" in settings:
            settings["alpha"] = self.step_size(eps)
            del settings["step"]
        return {"eps": eps, **settings}
