"""FGSM and PGD against two independent implementations: torchattacks and ART.

Sources: torchattacks 3.5.1 (github.com/Harry24k/adversarial-attacks-pytorch) and ART 1.20.1
(github.com/Trusted-AI/adversarial-robustness-toolbox), as published. Both are made for classifiers
and return the last iterate. ``Loss`` writes every objective anew, without ``make_goal``; they climb
it as it is (UPGD, ART's regressor) or as the cross-entropy of ``TwoClasses``.

The images must be equal, bit by bit. All compute ``fl(x + step)``. We and BIM clip that at
``fl(c - eps)`` and ``fl(c + eps)``; the others return ``fl(c + clip(fl(x - c)))``. This is the same
where ``x - c`` is exact: at c = 0, and by Sterbenz's lemma where x is within a factor of 2 of c, so
everywhere but at nearly black pixels, ``0 < c < 2 * (eps + step)`` (FGSM is equal there too).
What those pass through lies below 1/8, where float32 numbers are 2**-27 apart at most, and a step
rounds twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from support import Linear, grid_images, noise_for
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.api import Noise, Regressor
from iqabench.planning import attack
from iqabench.testing.rules import one_thread

RADII = (1 / 255, 4 / 255, 8 / 255)
OBJECTIVES = ("mse", "reflect", "raise", "lower")
MOS = torch.tensor([0.9, 0.1, 0.7, 0.5])
ROUNDING_PER_STEP = 2 * 2.0**-27

INSIDE = grid_images(len(MOS), 6)
_LEVELS = [0, 0, 0, 1, 3, 6, 9, 20, 128, 246, 249, 252, 254, 255, 255, 255]
BORDER = torch.from_numpy(np.random.default_rng(1).choice(_LEVELS, INSIDE.shape)).float() / 255
NO_NEARLY_BLACK = BORDER.where(BORDER > 0.2, 0.0)


class Rippled(Regressor):
    """Sines of a convolution, so steep that the gradient turns inside the ball.

    The patches do not overlap: like in ``Linear``, a pixel's gradient is one product, and rounding
    cannot turn its sign when a library's loss puts another positive factor in front.
    """

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(8 * torch.randn(1, 3, 3, 3, generator=generator), False)

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        return torch.sin(F.conv2d(images, self.weight, stride=3)).sum((1, 2, 3))


class Loss(nn.Module):
    """What an objective increases, one value per image of the batch with the labels ``MOS``."""

    def __init__(self, objective: str, regressor: Regressor) -> None:
        super().__init__()
        self.objective = objective
        self.regressor = regressor
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        logits = self.regressor.logit(images)
        if self.objective == "mse":
            return (torch.sigmoid(logits) - MOS) ** 2
        lowered = {"raise": MOS > 1, "lower": MOS <= 1, "reflect": MOS > 0.5}[self.objective]
        return torch.where(lowered, -logits, logits)


class TwoClasses(nn.Module):
    """Logits (0, loss): the cross-entropy of class 0 is softplus(loss), which rises with it."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        values = self.loss(images)
        return torch.stack([torch.zeros_like(values), values], 1)


class Sum(nn.Module):
    """A loss of (outputs, labels) for ART where the outputs are the values to increase."""

    reduction = "sum"

    def forward(self, values: Tensor, labels: Tensor) -> Tensor:
        return values.sum()


def by_torchattacks(name: str, model: nn.Module, clean: Tensor, **settings: Any) -> Tensor:
    library = pytest.importorskip("torchattacks")
    first_class = torch.zeros(len(clean), dtype=torch.long)
    made: Tensor = getattr(library, name)(model, **settings)(clean, first_class)
    return made


def by_art(name: str, model: nn.Module, clean: Tensor, **settings: Any) -> Tensor:
    evasion = pytest.importorskip("art.attacks.evasion")
    about: dict[str, Any] = {"input_shape": clean.shape[1:], "clip_values": (0.0, 1.0)}
    if isinstance(model, TwoClasses):  # its PGD computes on tensors, the regressor's on arrays
        kind = pytest.importorskip("art.estimators.classification").PyTorchClassifier
        about |= {"nb_classes": 2, "loss": nn.CrossEntropyLoss()}
    else:
        kind = pytest.importorskip("art.estimators.regression.pytorch").PyTorchRegressor
        about |= {"loss": Sum()}
    ready = getattr(evasion, name)(kind(model, **about, device_type="cpu"), **settings)
    labels = np.zeros(len(clean), np.int64)  # without labels it would take the predictions
    return torch.from_numpy(ready.generate(clean.numpy(), labels))


def bim(loss: Loss, clean: Tensor, eps: float, size: float, steps: int) -> Tensor:
    return by_torchattacks("BIM", TwoClasses(loss), clean, eps=eps, alpha=size, steps=steps)


def pgd(loss: Loss, clean: Tensor, eps: float, size: float, steps: int) -> Tensor:
    settings = {"eps": eps, "alpha": size, "steps": steps, "random_start": False}
    return by_torchattacks("PGD", TwoClasses(loss), clean, **settings)


def upgd(loss: Loss, clean: Tensor, eps: float, size: float, steps: int) -> Tensor:
    settings = {"eps": eps, "alpha": size, "steps": steps, "random_start": False, "decay": 0}
    return by_torchattacks("UPGD", loss, clean, **settings, loss=lambda x, *_: loss(x).sum())


def art_regressor(loss: nn.Module, clean: Tensor, eps: float, size: float, steps: int) -> Tensor:
    settings = {"eps": eps, "eps_step": size, "max_iter": steps, "verbose": False}
    return by_art("ProjectedGradientDescent", loss, clean, **settings)


def art_classifier(loss: Loss, clean: Tensor, eps: float, size: float, steps: int) -> Tensor:
    return art_regressor(TwoClasses(loss), clean, eps, size, steps)


PGD = {f.__name__: f for f in (bim, pgd, upgd, art_regressor, art_classifier)}
FGSM: dict[str, Callable[[Loss, Tensor, float], Tensor]] = {
    "torchattacks": lambda f, x, eps: by_torchattacks("FGSM", TwoClasses(f), x, eps=eps),
    "art_regressor": lambda f, x, eps: by_art("FastGradientMethod", f, x, eps=eps),
    "art_classifier": lambda f, x, eps: by_art("FastGradientMethod", TwoClasses(f), x, eps=eps),
}


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with one_thread():
        yield


def ours(text: str, regressor: Regressor) -> Callable[[Tensor, float], Tensor]:
    ready = attack(text).component
    return lambda clean, eps: ready.perturb(regressor, clean, MOS, eps, noise_for(clean))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("oracle", FGSM)
@pytest.mark.parametrize("regressor", [Linear(6), Rippled()], ids=["linear", "rippled"])
def test_fgsm_is_theirs(regressor: Regressor, oracle: str, objective: str) -> None:
    loss = Loss(objective, regressor)
    fgsm = ours(f"fgsm:objective={objective}", regressor)
    for clean, eps in product((INSIDE, BORDER), RADII):
        expected = FGSM[oracle](loss, clean, eps)
        assert torch.equal(fgsm(clean, eps), expected), f"eps {eps * 255:g}/255"


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("oracle", PGD)
@pytest.mark.parametrize(("steps", "step"), [(4, 0.25), (3, 0.4)])
def test_pgd_is_theirs_where_every_step_climbs(
    steps: int, step: float, oracle: str, objective: str
) -> None:
    loss = Loss(objective, Linear(6))  # the best iterate is the last, or equal to it
    climbed = ours(f"pgd:objective={objective},steps={steps},step={step}", loss.regressor)
    for clean, eps in product((INSIDE, BORDER), RADII):
        off = (climbed(clean, eps) - PGD[oracle](loss, clean, eps, eps * step, steps)).abs()
        rounded = (clean > 0) & (clean < 2 * (eps + eps * step)) & (oracle != "bim")
        assert not off[~rounded].any(), f"eps {eps * 255:g}/255"
        assert (off[rounded] <= steps * ROUNDING_PER_STEP).all(), f"eps {eps * 255:g}/255"


def walk(oracle: str, loss: Loss, clean: Tensor, eps: float, size: float, steps: int) -> Tensor:
    """Return the oracle's iterates: what its model was asked about, step by step, and its last."""
    asked: list[Tensor] = []
    hook = loss.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0].detach()))
    last = PGD[oracle](loss, clean, eps, size, steps)
    hook.remove()
    return torch.stack([*asked[:steps], last])


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("oracle", PGD)
@pytest.mark.parametrize(("steps", "step"), [(5, 0.0), (10, 0.25)])
def test_pgd_is_the_best_of_their_iterates(
    steps: int, step: float, oracle: str, objective: str
) -> None:
    loss, kept = Loss(objective, Rippled()), set()
    best_of = ours(f"pgd:objective={objective},steps={steps},step={step}", loss.regressor)
    for clean, eps in product((INSIDE, BORDER if oracle == "bim" else NO_NEARLY_BLACK), RADII):
        iterates = walk(oracle, loss, clean, eps, eps * (step or 2.5 / steps), steps)
        best = torch.stack([loss(iterate) for iterate in iterates]).argmax(0)
        expected = iterates[best, torch.arange(len(clean))]
        assert torch.equal(best_of(clean, eps), expected), f"eps {eps * 255:g}/255"
        kept |= set(best.tolist())
    assert len(kept) > 1, "one and the same iterate would have done for every image"
