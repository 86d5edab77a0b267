"""The loops that a user writes today with torchattacks, ART and foolbox.

All of them see the regressor as a classifier of good and bad with the logits (0, logit), whose
cross-entropy rises in the direction of CPRL Eq 5. Each returns the clean scores and those of every
eps, one row each, like a sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from iqabench.api import Regressor

Loop = Callable[[Sequence[float]], Tensor]
"""Radii on the ``[0, 1]`` scale -> scores, ``(1 + radii, N)``."""


class TwoClasses(nn.Module):
    """A regressor as a classifier: class 1 is good.

    Args:
        regressor: Its logit is that of class 1 over class 0.
    """

    def __init__(self, regressor: Regressor) -> None:
        super().__init__()
        self.regressor = regressor

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(N, 2)``."""
        logits = self.regressor.logit(images)
        return torch.stack((torch.zeros_like(logits), logits), 1)


def loops(
    regressor: Regressor, images: Tensor, mos: Tensor, size: int, steps: int
) -> dict[str, Loop]:
    """Return the loops of the libraries that are installed, by name.

    Args:
        regressor: Frozen, in eval mode.
        images: Clean images.
        mos: Their labels in ``[0, 1]``.
        size: Images per pass.
        steps: 0 for FGSM, else steps of PGD from the clean images, a quarter of eps each.
    """
    found: dict[str, Loop] = {}
    for name, make in (("torchattacks", _torchattacks), ("ART", _art), ("foolbox", _foolbox)):
        try:
            found[name] = make(regressor, images, mos, size, steps)
        except ImportError:
            continue
    return found


def _torchattacks(regressor: Regressor, images: Tensor, mos: Tensor, size: int, steps: int) -> Loop:
    import torchattacks

    model = TwoClasses(regressor).eval()

    def attacked(x: Tensor, y: Tensor, eps: float) -> Tensor:
        if steps:
            attack = torchattacks.PGD(model, eps, eps / 4, steps, random_start=False)
        else:
            attack = torchattacks.FGSM(model, eps)
        adversarial: Tensor = attack(x, y)
        return adversarial

    return _loop(regressor, images, mos, size, attacked)


def _foolbox(regressor: Regressor, images: Tensor, mos: Tensor, size: int, steps: int) -> Loop:
    import foolbox

    model = foolbox.PyTorchModel(TwoClasses(regressor).eval(), bounds=(0, 1))
    if steps:
        attack = foolbox.attacks.LinfPGD(steps=steps, rel_stepsize=0.25, random_start=False)
    else:
        attack = foolbox.attacks.LinfFastGradientAttack()

    def attacked(x: Tensor, y: Tensor, eps: float) -> Tensor:
        adversarial: Tensor = attack(model, x, y, epsilons=eps)[1]
        return adversarial

    return _loop(regressor, images, mos, size, attacked)


def _art(regressor: Regressor, images: Tensor, mos: Tensor, size: int, steps: int) -> Loop:
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    model = PyTorchClassifier(
        TwoClasses(regressor).eval(),
        nn.CrossEntropyLoss(),
        tuple(images.shape[1:]),
        2,
        clip_values=(0, 1),
        device_type="cpu",
    )

    def attacked(x: Tensor, y: Tensor, eps: float) -> Tensor:
        if steps:
            attack = ProjectedGradientDescentPyTorch(
                model, eps=eps, eps_step=eps / 4, max_iter=steps, batch_size=size, verbose=False
            )
        else:
            attack = FastGradientMethod(model, eps=eps, eps_step=eps, batch_size=size)
        return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))

    return _loop(regressor, images, mos, size, attacked)


def _loop(
    regressor: Regressor,
    images: Tensor,
    mos: Tensor,
    size: int,
    attacked: Callable[[Tensor, Tensor, float], Tensor],
) -> Loop:
    def run(radii: Sequence[float]) -> Tensor:
        return torch.cat([torch.stack(list(one(i, radii))) for i in range(0, len(images), size)], 1)

    def one(start: int, radii: Sequence[float]) -> Iterator[Tensor]:
        x, y = images[start : start + size], (mos[start : start + size] > 0.5).long()
        with torch.no_grad():
            yield regressor(x)
        for eps in radii:
            adversarial = attacked(x, y, eps)
            with torch.no_grad():
                yield regressor(adversarial)

    return run
