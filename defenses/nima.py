"""NIMA: a regressor that predicts how opinions are distributed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.api import (
    NETWORK,
    Backbone,
    Batch,
    Defense,
    Noise,
    Regressor,
    Step,
    TrainState,
    global_average,
)

SOS = 0.2
"""Variance of opinions over y (1 - y), where the data set does not say it (Hossfeld et al. 2011,
the SOS hypothesis)."""
EDGE = 0.02
"""Labels are kept so far from 0 and 1 when a distribution with that mean is made."""
NEWTON = 60
HIDDEN = 256


def centres(bins: int) -> Tensor:
    """Return the scores that the bins stand for, 0 to 1, in float64."""
    return torch.linspace(0, 1, bins, dtype=torch.float64)


def maximum_entropy(mean: Tensor, spread: Tensor, bins: int) -> Tensor:
    """Return the distribution over bins with the most entropy of those with a mean and a spread.

    It is ``p_k ~ exp(a c_k + b c_k^2)``; (a, b) is the minimum of a convex function, found by
    damped Newton steps in float64. A spread below what bins can have at that mean is raised to it.

    Args:
        mean: ``(N,)`` in ``(0, 1)``.
        spread: Standard deviations, ``(N,)``; NaN where unknown: the SOS rule then.
        bins: At least 3.

    Returns:
        ``(N, bins)``, float64.
    """
    c = centres(bins)
    y = mean.double().clamp(EDGE, 1 - EDGE)
    variance = torch.where(spread.isnan(), SOS * y * (1 - y), spread.double().square())
    below = (y * (bins - 1)).floor() / (bins - 1)
    least = (y - below) * (below + 1 / (bins - 1) - y)  # two neighbouring bins alone
    variance = torch.minimum(torch.maximum(variance, 1.1 * least + 1e-4), 0.95 * y * (1 - y))
    powers = torch.stack([c, c.square()])
    wanted = torch.stack([y, variance + y.square()], dim=1)
    weights = torch.zeros_like(wanted)
    value = _dual(weights, wanted, powers)
    for _ in range(NEWTON):
        law = torch.softmax(weights @ powers, dim=1)
        centred = powers[None] - (law @ powers.T)[:, :, None]
        hessian = torch.einsum("nk,nik,njk->nij", law, centred, centred)
        hessian = hessian + 1e-12 * torch.eye(2, dtype=torch.float64)
        step = torch.linalg.solve(hessian, wanted - law @ powers.T)
        length = torch.ones_like(value)
        for _ in range(30):
            tried = _dual(weights + length[:, None] * step, wanted, powers)
            length = torch.where(tried <= value, length, length / 2)
        weights = weights + length[:, None] * step
        value = _dual(weights, wanted, powers)
    return torch.softmax(weights @ powers, dim=1)


def _dual(weights: Tensor, wanted: Tensor, powers: Tensor) -> Tensor:
    found: Tensor = torch.logsumexp(weights @ powers, dim=1) - (weights * wanted).sum(1)
    return found


def emd(first: Tensor, second: Tensor) -> Tensor:
    """Return the paper's Eq 1 with r = 2: the root mean squared difference of two CDFs, ``(N,)``.

    Args:
        first: Distributions, ``(N, bins)``.
        second: Of the same shape.
    """
    apart = (first.cumsum(1) - second.cumsum(1)).square().mean(1)
    return (apart + 1e-12).sqrt()  # the root has no slope at 0


class NIMANet(Regressor):
    """Backbone, average pooling, dropout, and a head on one score or on a distribution.

    Args:
        backbone: Gives features ``(N, C, h, w)``.
        method: Hyper-parameters.
    """

    def __init__(self, backbone: Backbone, method: NIMA) -> None:
        super().__init__()
        self.backbone = backbone
        width = backbone.out_channels
        usual = 0.75 if method.head == "emd" else 0.2
        self.dropout = nn.Dropout(usual if method.dropout is None else method.dropout)
        if method.head == "emd":
            self.head: nn.Module = nn.Linear(width, method.bins)
            c = centres(method.bins)[1:].float().log()  # the last bins' weights mirror the first's
            self.register_buffer("log_centres", c, persistent=False)
        else:
            self.head = nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))

    log_centres: Tensor

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``; of a distribution that of its mean."""
        out = self.outputs(images)
        if out.shape[1] == 1:
            return out.squeeze(1)
        law = torch.log_softmax(out, dim=1)
        high = torch.logsumexp(law[:, 1:] + self.log_centres, dim=1)
        low = torch.logsumexp(law[:, :-1] + self.log_centres.flip(0), dim=1)
        return high - low

    def outputs(self, images: Tensor) -> Tensor:
        """Return what the head puts out: ``(N, bins)``, or ``(N, 1)``."""
        features = global_average(self.backbone(images))
        found: Tensor = self.head(self.dropout(features))
        return found


@dataclass(frozen=True, kw_only=True)
class NIMA(Defense):
    """Neural image assessment (Talebi, Milanfar 2018).

    ``head=emd`` is the paper's: a softmax over scores, trained on the distribution of opinions with
    the squared earth mover's distance of Eq 1, and scored by its mean. Where a data set has
    histograms with as many bins they are the targets (``koniq``: 5); else the target is the
    distribution with the most entropy that has the label as its mean and the data set's spread, as
    the paper does for TID2013, or the spread of the SOS rule. ``head=mse`` is the regressor that
    the authors of CPRL most likely ran under this name: two layers, a sigmoid, MSE on the score.

    Deviations: bins stand for scores 0 to 1 in place of 1 to 10; the recipe's AdamW in place of SGD
    with a rate of its own for the head; average pooling. The paper's backbone is VGG-16: set
    ``backbones: {nima: vgg16}``.

    Attributes:
        head: ``mse`` or ``emd``.
        bins: Bins of ``emd``.
        dropout: Share of pooled features dropped in training; none takes 0.2 for ``mse``, 0.75 for
            ``emd``.
    """

    summary = "predicts the distribution of opinions, or a score by two layers"
    paper = "https://arxiv.org/abs/1709.05424"
    year = 2018

    head: Literal["mse", "emd"] = "mse"
    bins: int = 10
    dropout: float | None = None

    def __post_init__(self) -> None:
        if self.bins < 3:
            raise ValueError(f"bins must be at least 3, got {self.bins}")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")

    def build(self, backbone: Backbone) -> Regressor:
        """See ``Defense.build``."""
        return NIMANet(backbone, self)

    def train_step(self, regressor: Regressor, batch: Batch, state: TrainState) -> Step:
        """See ``Defense.train_step``."""
        if self.head == "mse":
            yield F.mse_loss(regressor(batch.images, batch.noise), batch.mos), NETWORK
            return
        net = next(m for m in regressor.modules() if isinstance(m, NIMANet))
        law = torch.softmax(net.outputs(batch.images), dim=1)
        yield emd(law, self.targets(batch).to(law)).mean(), NETWORK

    def targets(self, batch: Batch) -> Tensor:
        """Return the distributions that a batch is trained on, ``(N, bins)``."""
        opinions = batch.opinions
        if opinions is not None and opinions.shape[1] == self.bins:
            return opinions
        spread = batch.spread
        if spread is None:
            spread = torch.full_like(batch.mos, torch.nan)
        return maximum_entropy(batch.mos.cpu(), spread.cpu(), self.bins)
