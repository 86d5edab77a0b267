"""DBCNN: two branches, one for synthetic distortions, pooled bilinearly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.api import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    NETWORK,
    SCNN_CHANNELS,
    Backbone,
    Batch,
    Defense,
    Noise,
    Regressor,
    Step,
    TrainState,
    load_weights,
    scnn_features,
)

TINY = 1e-8
"""Below the root of the bilinear features, which has no slope at 0."""


def bilinear(first: Tensor, second: Tensor) -> Tensor:
    """Return the paper's Eq 2 to 4: mean outer product, signed root, unit length.

    Args:
        first: ``(N, C, h, w)``.
        second: ``(N, D, h', w')``; resized to (h, w), corners aligned, where it differs.

    Returns:
        ``(N, C * D)``.
    """
    if first.shape[2:] != second.shape[2:]:
        second = F.interpolate(second, first.shape[2:], mode="bilinear", align_corners=True)
    u, v = first.flatten(2), second.flatten(2)
    product = (u @ v.transpose(1, 2) / u.shape[2]).flatten(1)
    rooted = torch.where(product < 0, -1.0, 1.0) * (product.abs() + TINY).sqrt()
    return F.normalize(rooted, dim=1)


class DBCNNNet(Regressor):
    """Backbone and S-CNN, bilinear pooling, one linear unit; no sigmoid.

    Args:
        backbone: Gives features ``(N, C, h, w)``.
        scnn: The second branch.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, scnn: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.scnn = scnn
        self.head = nn.Linear(backbone.out_channels * SCNN_CHANNELS, 1)
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``; ``noise`` is unused."""
        logits: Tensor = self.head(self.features(images)).squeeze(1)
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Return what the linear unit sees, ``(N, C * 128)``, each row of unit length."""
        second = self.scnn((images - self.mean) / self.std)
        return bilinear(self.backbone(images), second)

    def squash(self, logits: Tensor) -> Tensor:
        """See ``Regressor.squash``; the published head has none, so ``[0, 1]`` is nominal."""
        return logits


@dataclass(frozen=True, kw_only=True)
class DBCNN(Defense):
    """Deep bilinear CNN (Zhang, Ma, Yan, Deng, Wang 2020).

    One branch is a backbone trained on ImageNet, the paper's VGG-16 without its last pooling (set
    ``backbones: {dbcnn: vgg16}``); the other one, S-CNN, was trained to name synthetic distortions
    and their levels. Without ``scnn`` the second branch starts from nothing: then the model is
    **not** DBCNN, and its label says ``scnn=none``. Without the authors' weights, make such a file
    from pristine photographs: ``iqabench pretrain-scnn --images DIR --out scnn.safetensors``, then
    ``--defense dbcnn:scnn=scnn.safetensors`` (docs/pretraining.md).

    Deviations: stages share the recipe's epochs, optimizer and rate (AdamW in place of SGD, then
    Adam); crops of the recipe in place of whole images; the last weights count, where the published
    script keeps those that were best on the test set.

    Attributes:
        scnn: File of S-CNN's weights: what ``iqabench pretrain-scnn`` wrote, or the authors'
            ``scnn.pkl``; none starts from nothing.
        training: ``two_stage`` trains the linear unit alone in the first half of the epochs, then
            everything (the paper); ``single_stage`` trains everything from the start (as the code
            of CPRL's authors).
    """

    summary = "two branches, one for synthetic distortions, pooled bilinearly"
    paper = "https://arxiv.org/abs/1907.02665"
    year = 2020

    scnn: str | None = None
    training: Literal["two_stage", "single_stage"] = "two_stage"

    def contents(self) -> Mapping[str, Path]:
        """See ``Component.contents``."""
        return {} if self.scnn is None else {"scnn": Path(self.scnn)}

    def build(self, backbone: Backbone) -> Regressor:
        """See ``Defense.build``.

        Raises:
            WeightsError: The file of S-CNN is missing, damaged, or of another network.
        """
        scnn = scnn_features()
        if self.scnn is not None:
            load_weights(scnn, Path(self.scnn), within="features", shown="S-CNN")
        return DBCNNNet(backbone, scnn)

    def train_step(self, regressor: Regressor, batch: Batch, state: TrainState) -> Step:
        """See ``Defense.train_step``."""
        if self.training == "two_stage" and state.epoch < state.epochs // 2:
            net = next(m for m in regressor.modules() if isinstance(m, DBCNNNet))
            with torch.no_grad():
                features = net.features(batch.images)
            scores = net.squash(net.head(features).squeeze(1))
        else:
            scores = regressor(batch.images, batch.noise)
        yield F.mse_loss(scores, batch.mos), NETWORK
