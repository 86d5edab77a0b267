"""k-Winners-Take-All activations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor, nn

from iqabench.api import (
    Backbone,
    Defense,
    IncompatibleError,
    Noise,
    Pooled,
    Regressor,
    Site,
)


class Winners(nn.Module):
    """Keep the largest values of a feature map, in place of its activation.

    Args:
        share: Share of the values that is kept, at least one.
        over: ``volume`` competes over channels and positions, ``channel`` over the positions of
            each channel.
        activation: What stood here; only a surrogate uses it.
    """

    def __init__(self, share: float, over: str, activation: nn.Module) -> None:
        super().__init__()
        self.share = share
        self.over = over
        self.activation = activation
        self.open = False

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` to the same shape."""
        if self.open:
            out: Tensor = self.activation(features)
            return out
        start = 1 if self.over == "volume" else 2
        flat = features.detach().flatten(start)
        count = max(1, int(self.share * flat.shape[-1]))
        least = flat.topk(count, dim=-1, sorted=False).values.amin(-1)
        least = least.reshape(*least.shape, *([1] * (features.dim() - least.dim())))
        return features * (features >= least)


class KWTANet(Pooled):
    """Backbone with k-WTA activations, average pooling, one linear unit, sigmoid.

    Args:
        backbone: Changed in place.
        sites: Where activations are replaced.
        share: See ``Winners``.
        over: See ``Winners``.
    """

    def __init__(
        self, backbone: Backbone, sites: tuple[Site, ...], share: float, over: str
    ) -> None:
        for site in sites:
            backbone.replace_activation(site, partial(Winners, share, over))
        super().__init__(backbone)

    def surrogates(self) -> dict[str, Regressor]:
        """Return the network with its old activations: a gradient without the jumps."""
        return {"unmasked": Unmasked(self)}


class Unmasked(Regressor):
    """A k-WTA network with the activations that it replaced; its weights are the network's own."""

    def __init__(self, net: KWTANet) -> None:
        super().__init__()
        self.net = net

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        winners = [m for m in self.net.modules() if isinstance(m, Winners)]
        for module in winners:
            module.open = True
        try:
            return self.net.logit(images, noise)
        finally:
            for module in winners:
                module.open = False


@dataclass(frozen=True, kw_only=True)
class KWTA(Defense):
    """Only the k largest activations pass (Xiao, Zhong, Zheng 2020, Eq 1).

    The function jumps wherever two activations change places, so its gradient describes a
    vanishingly small piece; Tramer et al. 2020, section 5, removed the claimed robustness with
    gradients estimated over the whole budget. Here it is the reference case of a masked gradient.

    Attributes:
        share: Share of the values that is kept (the paper's gamma).
        over: ``volume``, the paper's choice: all channels and positions compete; or ``channel``.
        sites: Which activations: of the ``last`` stage, of the last two (``late``), or ``all``.
    """

    summary = "only the k largest activations pass"
    paper = "https://arxiv.org/abs/1905.10510"
    year = 2020

    share: float = 0.1
    over: Literal["volume", "channel"] = "volume"
    sites: Literal["last", "late", "all"] = "all"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1], got {self.share}")

    def build(self, backbone: Backbone) -> Regressor:
        """See ``Defense.build``."""
        stages = len(backbone.channels)
        first = {"last": stages - 1, "late": stages - 2, "all": 0}[self.sites]
        sites = tuple(s for s in backbone.sites if s.stage >= first)
        if not sites:
            raise IncompatibleError(
                f"kwta:sites={self.sites}: {backbone.name} has no such activation; take all"
            )
        return KWTANet(backbone, sites, self.share, self.over)
