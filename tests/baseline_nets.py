"""Networks of the paper's baselines, and a batch to show them."""

from __future__ import annotations

import torch
from support import grid_images, noise_for
from torch import Tensor

from iqabench.api import Batch, Regressor, TrainState
from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain

IMAGES = grid_images(size=32)
MOS = torch.tensor([0.9, 0.1, 0.7, 0.5, 0.2, 0.8])
BATCH = Batch(IMAGES, MOS, noise_for(IMAGES))
STATE = TrainState(0, 0, 1, 1)


def net(spec: str, backbone: str = "demo_net") -> Regressor:
    torch.manual_seed(0)
    return Chain.parse(spec).build(BackboneSpec(backbone, "none").build()).eval()


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
