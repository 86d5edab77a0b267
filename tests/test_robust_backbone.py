"""A backbone from a weights file of somebody's adversarial training, frozen or trained further."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import write_biq2021
from torch import nn

from iqabench.backbones import BACKBONES, BackboneSpec
from iqabench.chains import Chain
from iqabench.data import DataHome, OpenDataset, dataset
from iqabench.errors import WeightsError
from iqabench.progress import Silent
from iqabench.recipes import Recipe
from iqabench.seeding import lent_rng, seed_torch
from iqabench.sides import Geometry
from iqabench.training import Training, find_or_train

CPU = torch.device("cpu")
RECIPE = Recipe(resize=32, crop=24, batch_size=8, epochs=2, lr=1e-2, frozen_backbone=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> OpenDataset:
    root = tmp_path_factory.mktemp("data")
    write_biq2021(root)
    home = DataHome(root, root / "store", Silent())
    return home.open(dataset("biq2021"), Geometry(32, 24), split=None, split_seed=0)


def network() -> nn.Module:
    torch.manual_seed(5)
    net = BACKBONES["demo_net"].make()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            assert module.running_mean is not None
            module.running_mean.uniform_(-0.1, 0.1)
    return net


def start(path: Path) -> BackboneSpec:
    """Weights as RobustBench and others publish them: wrapped, with what the wrapper holds."""
    state = {f"model.{name}": value for name, value in network().state_dict().items()}
    torch.save({"state_dict": state | {"normalize.mean": torch.zeros(3)}}, path)
    return BackboneSpec("demo_net", str(path))


@pytest.mark.parametrize("wrapped", ["", "module.", "model.", "module.model.", "net.0."])
def test_names_under_any_one_prefix_are_found(tmp_path: Path, wrapped: str) -> None:
    own = network().state_dict()
    state = {f"{wrapped}{name}": value for name, value in own.items()}
    state |= {f"copy.model.{name}": torch.zeros_like(value) for name, value in own.items()}
    torch.save({"model": state}, path := tmp_path / "weights.pth")
    found = BackboneSpec("demo_net", str(path)).build().stages.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in found.items())


def test_names_under_different_prefixes_are_another_network(tmp_path: Path) -> None:
    state = {f"{at % 2}.{k}": v for at, (k, v) in enumerate(network().state_dict().items())}
    torch.save(state, path := tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="is it another network"):
        BackboneSpec("demo_net", str(path)).build()


@pytest.mark.parametrize("spec", ["resnet", "kwta:share=0.5", "denoise", "at:steps=1+resnet"])
def test_a_frozen_backbone_stays_as_it_came_and_the_rest_is_trained(
    spec: str, data: OpenDataset, tmp_path: Path
) -> None:
    training = Training(Chain.parse(spec), start(tmp_path / "w.pth"), RECIPE, data, 0)
    with lent_rng():
        seed_torch("build", 0)
        before = training.chain.build(training.backbone.build()).state_dict()
    after = find_or_train(training, tmp_path, CPU, Silent()).load()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    came = set(training.backbone.build().stages.state_dict())
    assert not {name for name in changed if name.partition("stages.")[2] in came}
    assert any("head" in name for name in changed)
    put_in = {name for name in changed if "head" not in name}
    assert bool(put_in) == (spec == "denoise")


def test_it_is_another_checkpoint_and_old_ones_keep_their_keys(
    data: OpenDataset, tmp_path: Path
) -> None:
    frozen = Training(Chain.parse("resnet"), BackboneSpec("demo_net", "none"), RECIPE, data, 0)
    free = replace(frozen, recipe=RECIPE.model_copy(update={"frozen_backbone": False}))
    keys = {t.checkpoint(tmp_path).recipe_key for t in (frozen, free)}
    assert len(keys) == 2
    assert "frozen_backbone" not in free.description()["recipe"]
