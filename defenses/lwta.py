"""Local winner-takes-all with sampled winners."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.api import (
    NETWORK,
    Backbone,
    Batch,
    Defense,
    IncompatibleError,
    Noise,
    Pooled,
    Regressor,
    Step,
    TrainState,
)

Rule = Literal["sampled", "averaged", "mean_field"]
WARM, COLD = 0.67, 0.01
"""Temperatures of the relaxed winner in training and in testing, as published."""


@dataclass
class Race:
    """How all blocks of a network choose their winners, and what the last pass cost.

    Attributes:
        noise: Randomness of the pass; None takes the probabilities themselves (mean field).
        temperature: Of the relaxed sample; towards 0 one unit of a block wins all.
        divergences: KL divergence of every block layer from the uniform law, of the last pass.
    """

    noise: Noise | None = None
    temperature: float = COLD
    divergences: list[Tensor] = field(default_factory=list)

    @contextlib.contextmanager
    def run(self, noise: Noise | None, temperature: float) -> Iterator[None]:
        """Use this randomness and temperature for a while."""
        before = self.noise, self.temperature
        self.noise, self.temperature, self.divergences = noise, temperature, []
        try:
            yield
        finally:
            self.noise, self.temperature = before


class WinnerTakesAll(nn.Module):
    """Neighbouring channels compete at every position; the winner passes its linear value.

    The winner is drawn with probability ``softmax(h)`` by the Gumbel trick, relaxed:
    ``xi = softmax((h + G) / T)``, and the output is ``xi * h`` (the paper's Eq 4 to 6).

    Args:
        units: Channels per block.
        path: Name of the place, for the noise.
        race: Shared by all modules of the network.
    """

    def __init__(self, units: int, path: str, race: Race) -> None:
        super().__init__()
        self.units, self.path, self.race = units, path, race

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to the same shape."""
        race = self.race
        blocks = self._blocks(features)
        log_law = torch.log_softmax(blocks, dim=2)
        if self.training:
            uniform = math.log(self.units)
            race.divergences.append((log_law.exp() * log_law).sum(2).mean() + uniform)
        if race.noise is None:
            share = log_law.exp()
        else:
            drawn = race.noise.uniform(f"lwta/{self.path}", features.shape[1:], like=features)
            gumbel = -torch.log(-torch.log(drawn.clamp(1e-10, 1 - 1e-7)))
            share = torch.softmax((blocks + self._blocks(gumbel)) / race.temperature, dim=2)
        out: Tensor = (blocks * share).flatten(1, 2)
        return out

    def _blocks(self, features: Tensor) -> Tensor:
        n, c, h, w = features.shape
        return features.reshape(n, c // self.units, self.units, h, w)


class LWTANet(Pooled):
    """Backbone with LWTA in place of its activations, average pooling, one linear unit, sigmoid.

    Args:
        backbone: Changed in place.
        method: Hyper-parameters.
    """

    def __init__(self, backbone: Backbone, method: LWTA) -> None:
        race = Race()
        for site in backbone.sites:
            if site.channels % method.units:
                raise IncompatibleError(
                    f"lwta:units={method.units} does not divide the {site.channels} channels of"
                    f" {site.path} of {backbone.name}; take units=2"
                )
            new = WinnerTakesAll(method.units, site.path, race)
            backbone.replace_activation(site, partial(_instead, new))
        super().__init__(backbone)
        self.race = race
        self.rule, self.samples = method.rule, method.samples
        self.stochastic = method.rule != "mean_field"

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        if self.training:
            return self.drawn(images, _given(noise), WARM)
        if self.rule == "mean_field":
            return self.drawn(images, None, COLD)
        if self.rule == "sampled":
            return self.drawn(images, _given(noise), COLD)
        purposes = (_given(noise).for_purpose(f"sample{i}") for i in range(self.samples))
        total = sum(self.drawn(images, one, COLD) for one in purposes)
        assert isinstance(total, Tensor)
        return total / self.samples

    def drawn(self, images: Tensor, noise: Noise | None, temperature: float) -> Tensor:
        """Return the logits of one pass; without noise those of the mean field."""
        with self.race.run(noise, temperature):
            return super().logit(images)

    def surrogates(self) -> dict[str, Regressor]:
        """Return the mean field, and a sample warm enough to have a gradient between the units."""
        warm = {"warm": Route(self, WARM)} if self.stochastic else {}
        return {"mean_field": Route(self, None), **warm}


class Route(Regressor):
    """An LWTA network with another way to choose winners, for gradients.

    Args:
        net: The network; its weights are shared.
        temperature: Of a relaxed sample; None takes the mean field.
    """

    def __init__(self, net: LWTANet, temperature: float | None) -> None:
        super().__init__()
        self.net, self.temperature = net, temperature
        self.stochastic = temperature is not None

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        if self.temperature is None:
            return self.net.drawn(images, None, COLD)
        return self.net.drawn(images, _given(noise), self.temperature)


def _instead(new: nn.Module, old: nn.Module) -> nn.Module:
    return new


def _given(noise: Noise | None) -> Noise:
    if noise is None:
        raise ValueError("lwta needs noise: its winners are drawn")
    return noise


@dataclass(frozen=True, kw_only=True)
class LWTA(Defense):
    """Blocks of units compete, a winner is sampled (Panousis, Chatzis, Theodoridis 2021).

    Adapted to scores: every activation of the backbone becomes LWTA over neighbouring channels, all
    else stays; the loss is MSE plus ``kl_weight`` times the mean divergence of the winners' law
    from the uniform one (Eq 7; in the published training script the term is computed and then left
    out). Omitted: the stick-breaking prior over blocks. The paper trains adversarially:
    ``at+lwta``.

    A sample at T = 0.01 has next to no gradient between the units, and its randomness hides the
    rest, so attacks go through the expectation over draws, the mean field, and warm samples too.

    Attributes:
        units: Units per block.
        rule: How a score is made in testing: from one ``sampled`` pass (as published), ``averaged``
            over ``samples`` passes, or by the winners' law itself (``mean_field``), which is
            deterministic.
        samples: Passes of ``averaged``.
        kl_weight: Of the divergence in the loss.
    """

    summary = "neighbouring channels compete, a sampled winner passes"
    paper = "https://arxiv.org/abs/2112.02671"
    year = 2021

    units: int = 2
    rule: Rule = "sampled"
    samples: int = 20
    kl_weight: float = 1e-3

    def __post_init__(self) -> None:
        if self.units < 2:
            raise ValueError(f"units must be at least 2, got {self.units}")
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")
        if self.kl_weight < 0:
            raise ValueError(f"kl_weight must not be negative, got {self.kl_weight}")

    def build(self, backbone: Backbone) -> Regressor:
        """See ``Defense.build``."""
        return LWTANet(backbone, self)

    def train_step(self, regressor: Regressor, batch: Batch, state: TrainState) -> Step:
        """See ``Defense.train_step``."""
        net = next(m for m in regressor.modules() if isinstance(m, LWTANet))
        loss = F.mse_loss(regressor(batch.images, batch.noise), batch.mos)
        divergence = torch.stack(net.race.divergences).mean()
        yield loss + self.kl_weight * divergence, NETWORK
