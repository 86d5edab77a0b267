"""What an attack tries to increase, per image.

Every objective is written as a *goal*: a function of (model, images, noise) that returns one value
per image, larger meaning more damage. A goal never mixes the images of a batch, so the sum of its
values has the per-image gradients. The model is an argument because a surrogate may supply the
gradient while the real regressor supplies the value.

================  ==============================================================================
``mse``           (f - y)^2, the loss of the paper's Eq 1 and 2; weak against ranks
``reflect``       -s * logit with s = +1 where mos > threshold, else -1 (CPRL Eq 5, reading R1)
``reflect_pred``  the same with the clean score in place of the mos (needs no label; NT's L_mid)
``raise``         logit
``lower``         -logit
``both``          |logit - clean logit|: climbed as ``raise`` and as ``lower``, the better one kept
``rank_reverse``  -(logit - t)^2, t = the clean logit found at the opposite rank of the image's mos
================  ==============================================================================

``reflect`` climbs the logit instead of the norm of Eq 5: the sign of the gradient is the same, and
in float32 the sigmoid's derivative underflows where the logit's does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Regressor

ObjectiveName = Literal["mse", "reflect", "reflect_pred", "raise", "lower", "both", "rank_reverse"]
OBJECTIVES: tuple[str, ...] = get_args(ObjectiveName)
Threshold = float | Literal["median"]

Goal = Callable[[Regressor, Tensor, Noise], Tensor]
"""(model, images, noise) -> one value per image, larger = more damage."""


@dataclass(frozen=True)
class Facts:
    """What an attack may know of the whole attacked split before it starts.

    Attributes:
        image_ids: Every image of the split.
        mos: Their labels in ``[0, 1]``.
        logits: Their clean logits under the attacked regressor.
        sources: Trained regressors of other defenses, by the spec the attack asked for.
    """

    image_ids: Sequence[str]
    mos: Sequence[float]
    logits: Sequence[float]
    sources: Mapping[str, Regressor] = field(default_factory=dict)

    @property
    def median_mos(self) -> float:
        """The median label of the attacked split."""
        return float(np.median(np.asarray(self.mos, dtype=np.float64)))

    def reversed_logits(self) -> dict[str, float]:
        """Return, per image, the clean logit at the opposite rank of the image's mos.

        The image with the highest mos gets the lowest clean logit and so on, so that reaching the
        targets turns the predicted order against the labels. Ties go by image id, so that the
        targets do not depend on the order of the table.
        """
        order = sorted(range(len(self.mos)), key=lambda i: (self.mos[i], self.image_ids[i]))
        descending = sorted(self.logits, reverse=True)
        return {self.image_ids[i]: t for i, t in zip(order, descending, strict=True)}


def make_goal(
    name: str,
    regressor: Regressor,
    images: Tensor,
    mos: Tensor,
    noise: Noise,
    *,
    threshold: Threshold = 0.5,
    facts: Facts | None = None,
) -> Goal:
    """Return the goal of an objective for one batch.

    Args:
        name: One of ``OBJECTIVES``.
        regressor: The attacked regressor, for objectives that start from its clean score.
        images: Clean images ``(N, 3, H, W)``.
        mos: Labels ``(N,)`` in ``[0, 1]``.
        noise: Randomness of the batch; its image ids find the targets of ``rank_reverse``.
        threshold: Where ``reflect`` and ``reflect_pred`` split good from bad: a value in
            ``[0, 1]`` (0.5 is Eq 5) or ``median`` of the labels of the attacked split.
        facts: Needed by ``rank_reverse`` and by ``threshold="median"``.

    Raises:
        ValueError: Unknown name, or facts are needed and were not given.
    """
    if name in ("reflect", "reflect_pred"):
        cut = _need(facts, name).median_mos if threshold == "median" else threshold
        if name == "reflect_pred":
            with torch.no_grad():
                quality = regressor(images, noise)
        else:
            quality = mos
        return _signed_logit(torch.where(quality > cut, -1.0, 1.0))
    if name in ("raise", "lower"):
        return _signed_logit(torch.tensor(1.0 if name == "raise" else -1.0, device=images.device))
    if name == "both":
        with torch.no_grad():
            before = regressor.logit(images, noise)
        return lambda model, x, n: (model.logit(x, n) - before).abs()
    if name == "mse":
        return lambda model, x, n: (model(x, n) - mos).square()
    if name == "rank_reverse":
        targets = _need(facts, name).reversed_logits()
        wanted = torch.tensor([targets[i] for i in noise.image_ids], device=images.device)
        return lambda model, x, n: -(model.logit(x, n) - wanted).square()
    raise ValueError(f"unknown objective {name!r}; it is one of {', '.join(OBJECTIVES)}")


def _signed_logit(direction: Tensor) -> Goal:
    return lambda model, x, n: direction * model.logit(x, n)


def _need(facts: Facts | None, name: str) -> Facts:
    if facts is None:
        raise ValueError(f"objective {name!r} needs the facts of the split: call prepare() first")
    return facts
