"""A backbone: stages that turn images into features, and the activations inside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Role = Literal["stem", "inner", "expand", "post-add", "head"]
"""Where an activation stands: in the stem, inside a block, after a block's expansion, after its
residual addition, or on the last convolution before pooling."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Site:
    """One activation of a backbone.

    Attributes:
        path: Dotted path of the module inside the backbone; unique.
        stage: Number of the stage it is in; 0 is the stem.
        role: Where in its block it stands.
        channels: Channels of the feature map it acts on.
    """

    path: str
    stage: int
    role: Role
    channels: int


class Backbone(nn.Module):
    """Stages applied in sequence, with named activation sites.

    Args:
        name: Registered name of the backbone.
        stages: The stages, stage 0 being the stem.
        sites: Every activation in them.
        channels: Output channels of each stage.
        imagenet_norm: Normalise with the ImageNet mean and standard deviation first, as the
            weights expect; without it the stages see raw ``[0, 1]``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        stages: Sequence[nn.Module],
        sites: Sequence[Site],
        channels: Sequence[int],
        *,
        imagenet_norm: bool = True,
    ) -> None:
        super().__init__()
        self.name = name
        self.stages = nn.ModuleList(stages)
        self.sites = tuple(sites)
        self.channels = tuple(channels)
        self.after = nn.ModuleDict()
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if imagenet_norm else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def out_channels(self) -> int:
        """Channels of the last feature map."""
        return self.channels[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Return the last feature map ``(N, out_channels, h, w)`` of images in ``[0, 1]``."""
        features = (images - self.mean) / self.std
        for number, stage in enumerate(self.stages):
            features = stage(features)
            if str(number) in self.after:
                features = self.after[str(number)](features)
        return features

    def find_sites(
        self, *, roles: Sequence[Role] | None = None, stages: Sequence[int] | None = None
    ) -> tuple[Site, ...]:
        """Return the sites with one of the roles in one of the stages; None means any."""
        return tuple(
            s
            for s in self.sites
            if (roles is None or s.role in roles) and (stages is None or s.stage in stages)
        )

    def replace_activation(self, site: Site, make: Callable[[nn.Module], nn.Module]) -> None:
        """Put ``make(present activation)`` in the place of the activation at ``site``."""
        parent_path, _, name = site.path.rpartition(".")
        parent = self.get_submodule(parent_path)
        setattr(parent, name, make(self.get_submodule(site.path)))

    def insert_after_stage(self, stage: int, module: nn.Module) -> None:
        """Apply ``module`` to the output of ``stage`` before the next stage sees it."""
        if not 0 <= stage < len(self.stages) or str(stage) in self.after:
            raise ValueError(f"stage {stage} of {self.name} does not exist or is taken")
        self.after[str(stage)] = module
