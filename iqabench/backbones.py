"""The backbones: torchvision's networks and the demo net, cut into stages with activation sites.

torchvision reuses one in-place ReLU several times in a residual block. Here every activation is a
module of its own and not in place, so that a defense can replace one of them; weights are loaded
before the cut, through torchvision's own names.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from iqabench.contracts.backbone import Backbone, Role, Site
from iqabench.contracts.weights import fill, load_state, no_pickles
from iqabench.demo_net import demo_stages
from iqabench.errors import UnknownNameError, WeightsError
from iqabench.files import hash_file

IMAGENET = "imagenet"
NO_WEIGHTS = "none"
_HEADS = ("fc.", "classifier.")
"""Where torchvision keeps what is cut off; such entries of a weights file are not needed."""


@dataclass(frozen=True)
class Family:
    """How one network is made and cut.

    Attributes:
        make: Gives the network in its own form, with random weights.
        cut: Gives the stages of such a network.
        weights: torchvision's name of the ImageNet weights, None where there are none.
    """

    make: Callable[[], nn.Module]
    cut: Callable[[Any], list[nn.Module]]
    weights: str | None = None


class _Residual(nn.Module):
    """torchvision's BasicBlock or Bottleneck with an activation module for each use."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.count = 3 if hasattr(block, "conv3") else 2
        for number in range(1, self.count + 1):
            self.add_module(f"conv{number}", getattr(block, f"conv{number}"))
            self.add_module(f"bn{number}", getattr(block, f"bn{number}"))
        self.downsample = block.downsample
        for number in range(1, self.count):
            self.add_module(f"act{number}", nn.ReLU())
        self.post = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        for number in range(1, self.count + 1):
            features = getattr(self, f"conv{number}")(features)
            features = getattr(self, f"bn{number}")(features)
            if number < self.count:
                features = getattr(self, f"act{number}")(features)
        out: Tensor = self.post(features + shortcut)
        return out


def _torchvision(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from torchvision import models  # seconds to import: only who builds a network pays

        net: nn.Module = models.get_model(name, weights=None)
        return net

    return make


def _cut_resnet(net: Any) -> list[nn.Module]:
    stem = nn.Sequential()
    for name, module in (("conv", net.conv1), ("bn", net.bn1), ("act", nn.ReLU())):
        stem.add_module(name, module)
    stem.add_module("pool", net.maxpool)
    layers = (net.layer1, net.layer2, net.layer3, net.layer4)
    return [stem, *(nn.Sequential(*(_Residual(block) for block in layer)) for layer in layers)]


def _cut_features(*bounds: int) -> Callable[[Any], list[nn.Module]]:
    """Cut ``net.features`` at these indices; what lies beyond the last one is left out."""

    def cut(net: Any) -> list[nn.Module]:
        pairs = pairwise(bounds)
        stages: list[nn.Module] = [nn.Sequential(*net.features[a:b]) for a, b in pairs]
        for stage in stages:
            for module in stage.modules():
                if isinstance(module, nn.ReLU | nn.ReLU6 | nn.SiLU):
                    module.inplace = False
        return stages

    return cut


# Stages follow the resolution, so that stage 3 is at 1/16 and stage 4 at 1/32 of the image in every
# family but VGG, whose last pooling is left out (1/16 in stage 4), as DBCNN and its like do.
BACKBONES: dict[str, Family] = {
    "demo_net": Family(lambda: nn.ModuleList(demo_stages()), list),
    "resnet18": Family(_torchvision("resnet18"), _cut_resnet, "ResNet18_Weights.IMAGENET1K_V1"),
    "resnet34": Family(_torchvision("resnet34"), _cut_resnet, "ResNet34_Weights.IMAGENET1K_V1"),
    "resnet50": Family(_torchvision("resnet50"), _cut_resnet, "ResNet50_Weights.IMAGENET1K_V1"),
    "vgg16": Family(
        _torchvision("vgg16"), _cut_features(0, 4, 9, 16, 23, 30), "VGG16_Weights.IMAGENET1K_V1"
    ),
    "mobilenet_v2": Family(
        _torchvision("mobilenet_v2"),
        _cut_features(0, 1, 4, 7, 14, 19),
        "MobileNet_V2_Weights.IMAGENET1K_V1",
    ),
    "efficientnet_b0": Family(
        _torchvision("efficientnet_b0"),
        _cut_features(0, 1, 3, 4, 6, 9),
        "EfficientNet_B0_Weights.IMAGENET1K_V1",
    ),
}


@dataclass(frozen=True)
class BackboneSpec:
    """Which backbone, and what it starts from.

    Attributes:
        name: One of ``BACKBONES``.
        weights: ``imagenet``, ``none``, or the path of a ``.pth`` or ``.safetensors`` file.
        imagenet_norm: Normalise images with the ImageNet statistics.
    """

    name: str
    weights: str = IMAGENET
    imagenet_norm: bool = True

    def __post_init__(self) -> None:
        if self.name not in BACKBONES:
            raise UnknownNameError.of("backbone", self.name, BACKBONES)
        if self.weights == IMAGENET and BACKBONES[self.name].weights is None:
            raise WeightsError(
                f"{self.name} has no ImageNet weights: use --backbone-weights none or a file"
            )

    @property
    def from_file(self) -> bool:
        """Whether the weights are a file that the user names."""
        return self.weights not in (IMAGENET, NO_WEIGHTS)

    def provenance(self) -> dict[str, Any]:
        """Return what goes into a recipe key: names, and the hash of the weights.

        Of torchvision's files that is the part of the SHA-256 in their name, against which
        torchvision checks a download.

        Raises:
            WeightsError: The file is missing or cannot be read.
        """
        weights: Any = self.weights
        if weights == IMAGENET:
            stem = Path(self._published().url).stem
            weights = {
                "torchvision": BACKBONES[self.name].weights,
                "sha256_begins": stem.rpartition("-")[2],
            }
        elif weights != NO_WEIGHTS:
            weights = {"sha256": _hash(Path(weights))}
        return {"name": self.name, "weights": weights, "imagenet_norm": self.imagenet_norm}

    def build(self, *, with_weights: bool = True) -> Backbone:
        """Return the backbone; what no weights fill is initialised by torch's RNG.

        Args:
            with_weights: False for a look at the architecture alone.

        Raises:
            WeightsError: The weights are missing, damaged, or of another network.
        """
        family = BACKBONES[self.name]
        net = family.make()
        if with_weights and self.weights != NO_WEIGHTS:
            fill(net, self._state(), _kept(net), f"weights {self.weights} for {self.name}")
        stages = family.cut(net)
        sites, channels = _survey(stages)
        return Backbone(self.name, stages, sites, channels, imagenet_norm=self.imagenet_norm)

    def _state(self) -> Mapping[str, Tensor]:
        if self.weights != IMAGENET:
            return load_state(Path(self.weights))
        try:
            with no_pickles():
                state: Mapping[str, Tensor] = self._published().get_state_dict(
                    progress=False, check_hash=True
                )
        except (OSError, RuntimeError) as e:
            raise WeightsError(
                f"ImageNet weights of {self.name} are not on this machine and could not be"
                f" downloaded ({e}): give --backbone-weights FILE, or 'none' to train from nothing"
            ) from e
        except pickle.UnpicklingError as e:
            raise WeightsError(
                f"what torchvision keeps as ImageNet weights of {self.name} holds more than tensors"
                " and is not opened (pickles can run code): remove the file"
            ) from e
        return state

    def _published(self) -> Any:
        """Return torchvision's entry of the ImageNet weights; nothing is downloaded."""
        from torchvision import models

        return models.get_weight(str(BACKBONES[self.name].weights))


def _kept(net: nn.Module) -> set[str]:
    """Return the tensors of a network that are needed: all but its head's and counters."""
    own = net.state_dict()
    return {k for k in own if not k.startswith(_HEADS) and not k.endswith("num_batches_tracked")}


def _survey(stages: Sequence[nn.Module]) -> tuple[list[Site], list[int]]:
    """Find every activation with its channels, and each stage's channels, by one small pass."""
    sites: list[Site] = []
    widths: dict[nn.Module, int] = {}

    def note(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        widths[module] = out.shape[1]

    modules = [m for stage in stages for m in stage.modules()]
    handles = [m.register_forward_hook(note) for m in modules]
    training = [m.training for m in modules]
    with torch.no_grad():
        features = torch.zeros(1, 3, 64, 64)
        for stage in stages:
            features = stage.eval()(features)
    for module, was in zip(modules, training, strict=True):
        module.training = was
    for handle in handles:
        handle.remove()
    for number, stage in enumerate(stages):
        for path, module in stage.named_modules():
            if isinstance(module, nn.ReLU | nn.ReLU6 | nn.SiLU):
                role = _role(stage, path, number, last=number == len(stages) - 1)
                if role is not None:
                    sites.append(Site(f"stages.{number}.{path}", number, role, widths[module]))
    return sites, [widths[stage] for stage in stages]


def _role(stage: nn.Module, path: str, number: int, *, last: bool) -> Role | None:
    parent_path, _, name = path.rpartition(".")
    parent = stage.get_submodule(parent_path)
    if type(parent).__name__ == "SqueezeExcitation":  # a gate on channels, not an activation map
        return None
    if name == "post":
        return "post-add"
    first = next(iter(parent.children()))
    if type(parent).__name__ != "Conv2dNormActivation" or not isinstance(first, nn.Conv2d):
        return "stem" if number == 0 and name == "act" else "inner"
    if path.count(".") == 1:  # a convolution of its own, not one inside a block
        return "head" if last else "stem"
    return "inner" if first.groups > 1 else "expand"


def _hash(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as e:
        raise WeightsError(
            f"weights file {path} cannot be read: {e.strerror or e} (give a .pth or .safetensors"
            f" file, '{IMAGENET}' or '{NO_WEIGHTS}')"
        ) from e
