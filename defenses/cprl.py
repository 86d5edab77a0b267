"""CPRL: soft-ranking channel activation, trained by a min-max game on necessity and sufficiency."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name
from torch.nn.utils.parametrizations import spectral_norm

from iqabench.api import (
    NETWORK,
    Backbone,
    Batch,
    Defense,
    IncompatibleError,
    Noise,
    Player,
    Pooled,
    Regressor,
    Site,
    Step,
    TrainState,
    entries_at_ranks,
    stable_order,
)

INTERVENTION = "intervention"
"""The player that changes features; it has its own optimizer (Algorithm 1, lines 5 and 9)."""
INTERVENTION_LR = 10.0
"""Its learning rate over the network's: 3e-4 beside 3e-5 (METHODS 9.1, Algorithm 1 e)."""
MOMENTUM = 0.1
"""Weight of a batch in the running mean that ``mask=frozen`` ranks."""
SOFTNESS = 0.05
"""Width of the soft rank's transition, as a share of the channels."""

Rank = Literal["descending", "ascending", "magnitude", "indices"]
Part = Literal["none", "sufficient", "necessary"]
Masking = Literal["own", "removed", "recorded", "soft"]


def at_rank(table: Tensor, values: Tensor, rank: Rank) -> Tensor:
    """Return, for every channel, the entry of a table at the channel's rank.

    A k-th value would not do: Eq 7's sigmoid needs ranks within about 17 of its threshold.

    Args:
        table: ``(K,)``, one entry per rank.
        values: ``(N, K, ...)``, ranked over dimension 1, from 0.
        rank: Reading of "sort index" in Eq 7: ``descending`` (the largest is 0), ``ascending``,
            ``magnitude`` (the smallest ``|f|`` is 0), or ``indices``: what a library's ``argsort``
            returns, taken as if it were ranks.
    """
    rows = (values.abs() if rank == "magnitude" else values).detach().movedim(1, -1)
    if rank == "indices":
        return table[stable_order(rows, descending=False)].movedim(-1, 1)
    return entries_at_ranks(table, rows, descending=rank == "descending").movedim(-1, 1)


def soft_ranks(values: Tensor, rank: Rank) -> Tensor:
    """Return smooth ranks: the share of a normal distribution of the channels that lies below.

    Args:
        values: ``(N, K, ...)``.
        rank: As for ``at_rank``; ``indices`` are no function of the values and have no soft form.
    """
    centred = values if rank == "magnitude" else values - values.mean(1, keepdim=True)
    scale = centred.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)
    within = torch.erf(centred / (scale * 2**0.5))
    if rank == "magnitude":
        return values.shape[1] * within.abs()
    below = 0.5 * (1 + within)
    return values.shape[1] * (1 - below if rank == "descending" else below)


@dataclass
class Switch:
    """The intervention indicator that all modules of a network share (Algorithm 1).

    Attributes:
        part: Which part of the features is replaced: none, the non-causal one (``sufficient``
            terms need it), or the causal one (``necessary``).
        masking: Whose mask is used; everything but ``own`` is a gradient route for attackers.
        noise: Randomness of the pass, for ``mask=random``.
        recorded: Masks by module, of the batch that was seen first.
    """

    part: Part = "none"
    masking: Masking = "own"
    noise: Noise | None = None
    recorded: dict[str, Tensor] = field(default_factory=dict)

    @contextlib.contextmanager
    def set(self, **values: object) -> Iterator[None]:
        """Change some attributes for a while."""
        before = {name: getattr(self, name) for name in values}
        for name, value in values.items():
            setattr(self, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(self, name, value)


class Intervention(nn.Module):
    """The "FC" of Eq 13: a 1 x 1 convolution with spectral norm, then ReLU.

    It has no bias, which the norm would not bound. The power iteration moves only in
    ``iterating``, so that the network's own steps leave the player's weights as they are.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        spectral_norm(self.conv)
        self.eval()

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, K, h, w)`` to the same shape."""
        return F.relu(self.conv(features))

    def train(self, mode: bool = True) -> Intervention:
        """Stay in eval mode."""
        super().train(False)
        return self

    @contextlib.contextmanager
    def iterating(self) -> Iterator[None]:
        """Let the spectral norm follow the weights in this block."""
        super().train(True)
        try:
            yield
        finally:
            super().train(False)


class ChannelActivation(nn.Module):
    """M * f before an activation, with M = sigmoid(rank - K/2 + b K) over channels (Eq 7).

    Args:
        method: Hyper-parameters.
        site: Where it stands.
        activation: The activation it stands before, or in place of.
        switch: Shared by all modules of the network.
    """

    typical: Tensor

    def __init__(self, method: CPRL, site: Site, activation: nn.Module, switch: Switch) -> None:
        super().__init__()
        self.method, self.path, self.switch = method, site.path, switch
        self.activation = nn.Identity() if method.replace_relu else activation
        b = torch.tensor(method.b)
        self.b = nn.Parameter(b) if method.learn_b else b
        if method.mask == "frozen":
            self.register_buffer("typical", torch.zeros(1, site.channels, 1, 1))
        if method.pns:
            self.phi = Intervention(site.channels)
            self.xi = Intervention(site.channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, K, h, w)`` to the same shape."""
        mask = self.mask(features)
        kept = features * mask
        if self.switch.part == "sufficient":  # c of Eq 13: the non-causal part is replaced
            kept = self.phi(features) * (1 - mask) + kept
        elif self.switch.part == "necessary":  # s of Eq 13: the causal part is replaced
            rest = kept if self.method.eq13 == "literal" else features * (1 - mask)
            kept = self.xi(features) * mask + rest
        return self.activation(kept)  # type: ignore[no-any-return]

    def mask(self, features: Tensor) -> Tensor:
        """Return M, ``(N, K, h, w)`` or broadcastable to it; no gradient but to ``b``."""
        if self.method.mask == "none" or self.switch.masking == "removed":
            return torch.ones_like(features[:, :, :1, :1])
        if self.switch.masking == "recorded":
            if self.path not in self.switch.recorded:
                self.switch.recorded[self.path] = self._own_mask(features).detach()
            return self.switch.recorded[self.path]
        if self.switch.masking == "soft":
            soft, count = soft_ranks(self._ranked(features), self.method.rank), features.shape[1]
            return self._sigmoid(soft, count, softness=SOFTNESS * count)
        return self._own_mask(features)

    def _own_mask(self, features: Tensor) -> Tensor:
        if self.method.mask == "random":
            if self.switch.noise is None:
                raise ValueError("cprl:mask=random needs noise")
            shape = self._ranked(features).shape[1:]
            drawn = self.switch.noise.uniform(f"mask/{self.path}", shape, like=features)
            return self._hard(drawn, "ascending")
        if self.method.mask == "frozen":
            if self.training and self.switch.part == "none":
                self.typical.lerp_(features.detach().mean((0, 2, 3), keepdim=True), MOMENTUM)
            elif not self.training:
                return self._hard(self.typical, self.method.rank)
        return self._hard(self._ranked(features), self.method.rank)

    def _ranked(self, features: Tensor) -> Tensor:
        return features.mean((2, 3), keepdim=True) if self.method.axis == "image" else features

    def _hard(self, values: Tensor, rank: Rank) -> Tensor:
        by_rank = self._sigmoid(torch.arange(values.shape[1]).to(values), values.shape[1])
        return at_rank(by_rank, values, rank)

    def _sigmoid(self, rank: Tensor, count: int, *, softness: float = 1.0) -> Tensor:
        b = self.b.to(rank).clamp(0, 0.5)
        return torch.sigmoid((rank - count / 2 + b * count) / softness)


class CPRLNet(Pooled):
    """Backbone with channel activations, average pooling, one linear unit, sigmoid.

    Args:
        method: Hyper-parameters.
        backbone: Changed in place.
        sites: Where the channel activations go.
    """

    def __init__(self, method: CPRL, backbone: Backbone, sites: tuple[Site, ...]) -> None:
        switch = Switch()
        for site in sites:
            make = partial(ChannelActivation, method, site, switch=switch)
            backbone.replace_activation(site, make)
        super().__init__(backbone)
        self.switch = switch
        self.stochastic = method.mask == "random"
        self.soft = method.rank != "indices" and method.mask == "own"

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``; only ``mask=random`` uses the noise."""
        with self.switch.set(noise=noise):
            return super().logit(images)

    def surrogates(self) -> dict[str, Regressor]:
        """Return routes around the mask: as it was first, none at all, and a smooth one."""
        routes: dict[str, Masking] = {"mask_frozen": "recorded", "mask_removed": "removed"}
        routes |= {"soft_rank": "soft"} if self.soft else {}
        return {name: Route(self, masking) for name, masking in routes.items()}

    def interventions(self) -> list[Intervention]:
        """Return every FC of Eq 13."""
        return [m for m in self.modules() if isinstance(m, Intervention)]

    @contextlib.contextmanager
    def settled(self) -> Iterator[None]:
        """Use running statistics and leave them alone: intervened features would pollute them."""
        norms = [m for m in self.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
        for norm in norms:
            norm.eval()
        try:
            yield
        finally:
            for norm in norms:
                norm.train()


class Route(Regressor):
    """A network with another mask, for gradients; its weights are the network's own.

    With ``recorded``, the mask stays as it was when these images were first seen, which is the
    clean image in every attack that looks at it first; a batch of other images is recorded anew.
    """

    def __init__(self, net: CPRLNet, masking: Masking) -> None:
        super().__init__()
        self.net = net
        self.masking = masking
        self.stochastic = net.stochastic
        self._seen: tuple[str, ...] | None = None
        self._recorded: dict[str, Tensor] = {}

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        if self.masking == "recorded" and (noise is None or noise.image_ids != self._seen):
            self._seen = None if noise is None else noise.image_ids
            self._recorded = {}
        with self.net.switch.set(masking=self.masking, recorded=self._recorded):
            return self.net.logit(images, noise)


@dataclass(frozen=True, kw_only=True)
class CPRL(Defense):
    """Causal perception inspired representation learning (Wang, Yuan 2024, arXiv 2404.19567).

    Eq 7 masks channels by rank before chosen activations; Algorithm 1 trains against the worst
    replacement of the masked-out part (sufficiency) and of the kept part (necessity), Eqs 11-14.

    Deviations and readings (the paper leaves them open or contradicts itself): ranks descend, the
    only reading under which the network dies at small ``b`` as in Table 5; no gradient passes a
    rank; Eq 13's second line is corrected to ``s = FC f * M + f * (1 - M)``; ``y`` of Eq 12 is the
    network's own prediction, detached; rounds take turns none / sufficient / necessary; the base
    step of line 3 is made in every round, and lines 6 and 10 minimise MSE plus the term; batch
    norm keeps its running statistics in intervened passes.

    Attributes:
        rank: Reading of "sort index": see ``at_rank``.
        axis: Rank channels at every ``position``, or their means over the ``image``.
        replace_relu: Put the mask in place of the activation instead of before it.
        sites: Which activations: of the ``last`` stage, of the last two (``late``), after every
            residual addition (``post-add``), or ``all``. The first two take those after additions
            where the backbone has them.
        b: Of Eq 7, in [0, 0.5]: about ``0.5 + b`` of the channels are kept.
        learn_b: Train ``b``, one number per module.
        pns: Play the min-max game; without it only the activation is left (Table 6's "CA").
        weight: Weight of both terms of Eq 11 beside the MSE.
        eq13: ``corrected``, or ``literal`` as printed.
        mask: ``own``; for ablations ``none``, ``random`` (new for each pass, stochastic), or
            ``frozen``: in eval mode the ranks of the mean activations of training.
    """

    summary = "channels masked by rank, trained by a min-max game on necessity and sufficiency"
    paper = "https://arxiv.org/abs/2404.19567"
    year = 2024

    rank: Rank = "descending"
    axis: Literal["position", "image"] = "position"
    replace_relu: bool = False
    sites: Literal["last", "late", "post-add", "all"] = "late"
    b: float = 0.4
    learn_b: bool = False
    pns: bool = True
    weight: float = 1.0
    eq13: Literal["corrected", "literal"] = "corrected"
    mask: Literal["own", "none", "random", "frozen"] = "own"

    def __post_init__(self) -> None:
        if not 0 <= self.b <= 0.5:
            raise ValueError(f"b must be in [0, 0.5], got {self.b}")
        if self.weight < 0:
            raise ValueError(f"weight must not be negative, got {self.weight}")

    def build(self, backbone: Backbone) -> Regressor:
        """See ``Defense.build``."""
        return CPRLNet(self, backbone, self.places(backbone))

    def places(self, backbone: Backbone) -> tuple[Site, ...]:
        """Return the sites that are masked.

        Raises:
            IncompatibleError: The backbone has none of that kind.
        """
        added = backbone.find_sites(roles=("post-add",))
        if self.sites == "post-add":
            found = added
        elif self.sites == "all":
            found = backbone.sites
        else:
            stages = len(backbone.channels)
            first = stages - (1 if self.sites == "last" else 2)
            found = tuple(s for s in added or backbone.sites if s.stage >= first)
        if not found:
            raise IncompatibleError(
                f"cprl:sites={self.sites}: {backbone.name} has no such activation; take late"
            )
        return found

    def players(self, regressor: Regressor) -> Mapping[str, Player]:
        """Return the network, and what plays against it."""
        assert isinstance(regressor, CPRLNet)
        playing = [p for m in regressor.interventions() for p in m.parameters()]
        ids = {id(p) for p in playing}
        players = {NETWORK: Player([p for p in regressor.parameters() if id(p) not in ids])}
        if playing:
            players[INTERVENTION] = Player(playing, lr_scale=INTERVENTION_LR)
        return players

    def train_step(self, regressor: Regressor, batch: Batch, state: TrainState) -> Step:
        """Yield Algorithm 1's steps for one batch; see ``Defense.train_step``."""
        assert isinstance(regressor, CPRLNet)
        yield _mse(regressor, batch), NETWORK
        turn = state.step % 3
        if not self.pns or turn == 0:
            return
        part: Part = "sufficient" if turn == 1 else "necessary"
        sign = 1 if turn == 1 else -1  # the risk of Eq 11: SF + NC, with NC = -|y_s - y|^2
        with torch.no_grad(), regressor.settled():
            before = regressor(batch.images, batch.noise)
        with contextlib.ExitStack() as stack:
            for intervention in regressor.interventions():
                stack.enter_context(intervention.iterating())
            term = _change(regressor, batch, part, before)
        yield -sign * term, INTERVENTION
        term = _change(regressor, batch, part, before)
        yield _mse(regressor, batch) + self.weight * sign * term, NETWORK


def _mse(net: CPRLNet, batch: Batch) -> Tensor:
    return F.mse_loss(net(batch.images, batch.noise), batch.mos)


def _change(net: CPRLNet, batch: Batch, part: Part, before: Tensor) -> Tensor:
    """Return the mean square change of the scores under an intervention (Eq 12)."""
    with net.settled(), net.switch.set(part=part):
        return F.mse_loss(net(batch.images, batch.noise), before)
