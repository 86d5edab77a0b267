"""A defense: a network with smooth activations, trained by two optimizers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.api import (
    NETWORK,
    Backbone,
    Batch,
    Defense,
    Noise,
    Player,
    Regressor,
    Step,
    TrainState,
    global_average,
)

HEAD = "head"


class SoftplusRegressor(Regressor):
    """Backbone, global average pooling, one linear unit; the base class adds the sigmoid.

    Args:
        backbone: Gives features ``(N, C, h, w)`` and normalises the images itself.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.out_channels, 1)

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``; ``noise`` is unused, because nothing here is random."""
        logits: Tensor = self.head(global_average(self.backbone(images))).squeeze(1)
        return logits


@dataclass(frozen=True, kw_only=True)
class SoftplusNet(Defense):
    """Every activation becomes a softplus, and the head is trained by an optimizer of its own.

    Smooth activations give smoother gradients (after Xie et al. 2020, section 4, without their
    adversarial training). The head is fitted by absolute errors, the network by squared ones: two
    players, as an example of a method with more than one loss.

    Attributes:
        beta: Sharpness of the softplus; large values come close to a ReLU.
        head_lr_scale: Learning rate of the head over the recipe's.
    """

    summary = "softplus activations, head with an optimizer of its own"
    paper = "https://arxiv.org/abs/2006.14536"
    year = 2020

    beta: float = 10.0
    head_lr_scale: float = 3.0

    def __post_init__(self) -> None:
        # A ValueError here becomes one line on the command line, with exit code 2.
        if self.beta <= 0 or self.head_lr_scale <= 0:
            raise ValueError("beta and head_lr_scale must be positive")

    def build(self, backbone: Backbone) -> Regressor:
        """See ``Defense.build``."""
        for site in backbone.find_sites():
            backbone.replace_activation(site, lambda _: nn.Softplus(beta=self.beta))
        return SoftplusRegressor(backbone)

    def players(self, regressor: Regressor) -> dict[str, Player]:
        """Return two groups; every trainable parameter is in exactly one of them."""
        head = list(regressor.get_submodule("head").parameters())
        network = list(regressor.get_submodule("backbone").parameters())
        return {NETWORK: Player(network), HEAD: Player(head, lr_scale=self.head_lr_scale)}

    def train_step(self, regressor: Regressor, batch: Batch, state: TrainState) -> Step:
        """Yield one loss per player; the harness makes the optimizer steps between them.

        The second loss is computed after the network's step, so it sees the updated network.
        """
        yield F.mse_loss(regressor(batch.images, batch.noise), batch.mos), NETWORK
        yield F.l1_loss(regressor(batch.images, batch.noise), batch.mos), HEAD
