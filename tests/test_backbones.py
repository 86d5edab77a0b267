from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_weight

from iqabench.api import Backbone, Site
from iqabench.backbones import BACKBONES, BackboneSpec
from iqabench.contracts.backbone import IMAGENET_MEAN, IMAGENET_STD
from iqabench.errors import UnknownNameError, WeightsError

SMALL = ["demo_net", "resnet18", "mobilenet_v2"]
FULL = ["resnet34", "resnet50", "vgg16", "efficientnet_b0"]


def normalised(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (images - mean) / std


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", [*SMALL, *FULL])
def test_sites_name_every_activation_once_with_its_channels(
    name: str, images: torch.Tensor
) -> None:
    backbone = BackboneSpec(name, weights="none").build().eval()
    seen: dict[str, int] = {}
    calls: list[str] = []
    for site in backbone.sites:

        def note(module: nn.Module, args: object, out: torch.Tensor, path: str = site.path) -> None:
            seen[path] = out.shape[1]
            calls.append(path)

        backbone.get_submodule(site.path).register_forward_hook(note)
    with torch.no_grad():
        features = backbone(images)
    assert features.shape[1] == backbone.out_channels
    assert seen == {site.path: site.channels for site in backbone.sites}
    assert len(calls) == len(set(calls)), "an activation module is used twice"
    assert not any(getattr(m, "inplace", False) for m in backbone.modules())


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0"])
def test_the_cut_network_computes_what_torchvisions_does(name: str, images: torch.Tensor) -> None:
    from torchvision import models

    torch.manual_seed(0)
    net = models.get_model(name, weights=None).eval()
    torch.manual_seed(0)
    backbone = BackboneSpec(name, weights="none").build().eval()
    whole = nn.Sequential(*list(net.children())[:-2]) if name.startswith("resnet") else net.features
    with torch.no_grad():
        assert torch.equal(backbone(images), whole(normalised(images)))


def test_roles_and_stages_follow_the_architecture() -> None:
    def count(name: str, role: str) -> list[int]:
        sites = BackboneSpec(name, weights="none").build().sites
        return [sum(s.role == role and s.stage == n for s in sites) for n in range(5)]

    assert count("resnet50", "post-add") == [0, 3, 4, 6, 3]
    assert count("resnet50", "inner") == [0, 6, 8, 12, 6]
    assert count("mobilenet_v2", "post-add") == [0] * 5  # it has no activation after its addition
    assert count("mobilenet_v2", "expand") == [0, 2, 3, 7, 4]
    assert count("mobilenet_v2", "head") == [0, 0, 0, 0, 1]
    assert count("vgg16", "inner") == [2, 2, 3, 3, 3]


@pytest.mark.parametrize("name", SMALL)
def test_replacing_one_site_changes_that_activation_alone(name: str, images: torch.Tensor) -> None:
    backbone = BackboneSpec(name, weights="none").build().eval()
    site = backbone.find_sites(roles=["inner"])[0]
    others = {s.path: backbone.get_submodule(s.path) for s in backbone.sites if s != site}
    with torch.no_grad():
        before = backbone(images)
        backbone.replace_activation(site, lambda old: nn.Sequential(old, nn.Identity()))
        assert torch.equal(backbone(images), before)
        backbone.replace_activation(site, lambda old: nn.Tanh())
        assert not torch.equal(backbone(images), before)
    assert all(backbone.get_submodule(path) is module for path, module in others.items())


def test_a_module_can_follow_a_stage_once(images: torch.Tensor) -> None:
    backbone = BackboneSpec("demo_net", weights="none").build().eval()
    seen: list[int] = []
    probe = nn.Identity()
    probe.register_forward_hook(lambda m, a, out: seen.append(out.shape[1]))
    backbone.insert_after_stage(1, probe)
    backbone(images)
    assert seen == [backbone.channels[1]]
    for stage in (1, 99):
        with pytest.raises(ValueError, match="does not exist or is taken"):
            backbone.insert_after_stage(stage, nn.Identity())


def test_normalisation_is_inside_and_can_be_switched_off(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    normal = BackboneSpec("demo_net", weights="none").build().eval()
    torch.manual_seed(0)
    raw = BackboneSpec("demo_net", weights="none", imagenet_norm=False).build().eval()
    with torch.no_grad():
        torch.testing.assert_close(raw(normalised(images)), normal(images))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_come_from_a_file_and_are_recorded_by_hash(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(1)
    state = BACKBONES["demo_net"].make().state_dict()
    path = tmp_path / f"weights{suffix}"
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path) if (
        suffix == ".pth"
    ) else save_file(state, path)
    spec = BackboneSpec("demo_net", weights=str(path))
    loaded = spec.build().stages.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in state.items())
    assert len(spec.provenance()["weights"]["sha256"]) == 64


def _pickle(path: Path) -> None:
    torch.save(nn.Linear(2, 2), path)


def _other(path: Path) -> None:
    torch.save({"x": torch.zeros(2)}, path)


def _reshaped(path: Path) -> None:
    state = BACKBONES["demo_net"].make().state_dict()
    torch.save(state | {next(iter(state)): torch.zeros(1)}, path)


def _truncated(path: Path) -> None:
    torch.save(BACKBONES["demo_net"].make().state_dict(), path)
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "No such file"),
        (_pickle, "holds more than tensors"),
        (_other, "tensors are missing"),
        (_reshaped, "has shape"),
        (_truncated, "cannot be read"),
        (lambda path: path.write_text("not weights"), "weights file"),
        (lambda path: torch.save([1, 2], path), "no state dict"),
    ],
    ids=["missing", "pickle", "other network", "shape", "truncated", "text", "list"],
)
def test_a_bad_weights_file_is_refused_in_one_line(
    tmp_path: Path, write: object, message: str
) -> None:
    path = tmp_path / "weights.pth"
    write(path)  # type: ignore[operator]
    with pytest.raises(WeightsError, match=message) as caught:
        BackboneSpec("demo_net", weights=str(path)).build()
    assert "\n" not in str(caught.value)


def test_an_unknown_backbone_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'resnet50'\?"):
        BackboneSpec("resnet5O")
    with pytest.raises(WeightsError, match="no ImageNet weights"):
        BackboneSpec("demo_net", weights="imagenet")


def test_sites_can_be_chosen_by_role_and_stage() -> None:
    backbone: Backbone = BackboneSpec("resnet18", weights="none").build()
    chosen: tuple[Site, ...] = backbone.find_sites(roles=["post-add"], stages=[3, 4])
    assert [s.stage for s in chosen] == [3, 3, 4, 4]


def test_kept_imagenet_weights_with_a_pickle_in_them_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = str(get_weight(str(BACKBONES["mobilenet_v2"].weights)).url).rpartition("/")[2]
    kept = tmp_path / "hub" / "checkpoints" / name
    kept.parent.mkdir(parents=True)
    torch.save({"features": nn.Linear(1, 1)}, kept)
    with pytest.raises(WeightsError, match="holds more than tensors and is not opened"):
        BackboneSpec("mobilenet_v2", "imagenet").build()
