from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support import grid_images, noise_for, write_biq2021
from torch import Tensor

from iqabench.api import (
    NETWORK,
    Batch,
    Noise,
    Regressor,
    RegressorWrapper,
    Step,
    TrainState,
)
from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.cli import main
from iqabench.data import DataHome, OpenDataset, dataset
from iqabench.defenses.adversarial_training import AdversarialTraining
from iqabench.errors import ParamError
from iqabench.progress import Silent
from iqabench.recipes import Recipe
from iqabench.results import find_cells, read_cell
from iqabench.sides import Geometry
from iqabench.testing import SmoothRegressor, check_defense
from iqabench.testing.rules import one_thread
from iqabench.training import Training, find_or_train

CPU = torch.device("cpu")
RECIPE = Recipe(resize=32, crop=24, batch_size=8, epochs=2, lr=1e-3, flip=True)
MOS = torch.linspace(0.1, 0.9, 8)
STATE = TrainState(0, 0, 2, 4)


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> OpenDataset:
    root = tmp_path_factory.mktemp("data")
    write_biq2021(root)
    home = DataHome(root, root / "store", Silent())
    return home.open(dataset("biq2021"), Geometry(32, 24), split=None, split_seed=0)


def weights(data: OpenDataset, store: Path, spec: str) -> dict[str, Tensor]:
    training = Training(Chain.parse(spec), BackboneSpec("demo_net", "none"), RECIPE, data, 0)
    return find_or_train(training, store, CPU, Silent()).load()


def some_batch() -> Batch:
    images = grid_images(8, 12)
    return Batch(images, MOS, noise_for(images))


def handed_on(text: str, regressor: Regressor, batch: Batch, state: TrainState = STATE) -> Tensor:
    """The images that what is wrapped is asked to train on."""
    seen: list[Batch] = []

    def inner(given: Batch, _: TrainState) -> Step:
        seen.append(given)
        yield regressor(given.images, given.noise).sum(), NETWORK

    part = Chain.parse(f"{text}+resnet").wrappers[0].component
    assert [name for _, name in part.train_step(inner, regressor, batch, state)] == [NETWORK]
    assert torch.equal(seen[0].mos, batch.mos)
    assert seen[0].noise == batch.noise
    return seen[0].images


VARIANTS: list[dict[str, Any]] = [
    {},
    {"steps": 1, "mix": 1.0},
    {"steps": 2, "objective": "alternate", "random_start": False},
]


@pytest.mark.parametrize("parameters", VARIANTS)
def test_it_keeps_the_contract(parameters: dict[str, Any]) -> None:
    check_defense(AdversarialTraining(**parameters))


@pytest.mark.parametrize("base", ["resnet:dropout=0.3", "cprl"])
def test_radius_zero_is_plain_training_exactly(
    data: OpenDataset, tmp_path: Path, base: str
) -> None:
    plain = weights(data, tmp_path, base)
    zero = weights(data, tmp_path, f"at:eps_255=0,steps=1+{base}")
    two = weights(data, tmp_path, f"at:eps_255=2,steps=1+{base}")
    assert len(list((tmp_path / "checkpoints").iterdir())) == 3
    assert all(torch.equal(plain[k], zero[k]) for k in plain)
    assert not all(torch.equal(plain[k], two[k]) for k in plain)


def test_images_are_moved_inside_the_ball_and_the_loss_rises() -> None:
    regressor, batch = SmoothRegressor().eval(), some_batch()
    for text in ("at:mix=1", "at:mix=1,steps=1", "at:mix=1,random_start=false"):
        moved = handed_on(text, regressor, batch)
        assert float((moved - batch.images).abs().max()) <= 2 / 255 + 1e-6
        with torch.no_grad():
            before, after = ((regressor(x) - MOS) ** 2 for x in (batch.images, moved))
        assert (after > before).all(), text


def test_alternate_raises_and_lowers_by_turns() -> None:
    regressor, batch = SmoothRegressor().eval(), some_batch()
    with torch.no_grad():
        clean = regressor.logit(batch.images)
        for step, sign in ((0, 1), (1, -1), (2, 1)):
            state = replace(STATE, step=step)
            with torch.enable_grad():
                moved = handed_on("at:mix=1,objective=alternate", regressor, batch, state)
            assert ((regressor.logit(moved) - clean) * sign > 0).all()


def test_mix_is_the_share_of_moved_images() -> None:
    regressor, images = SmoothRegressor(), grid_images(1, 12).expand(200, -1, -1, -1)
    batch = Batch(images, MOS[:1].expand(200), noise_for(images))
    moved = (handed_on("at:mix=0.25,steps=1", regressor, batch) != images).flatten(1).any(1)
    assert 30 <= int(moved.sum()) <= 70
    one = torch.equal(handed_on("at:mix=0.0001", regressor, some_batch()), some_batch().images)
    assert one, "an image moved although none was chosen"


def test_what_an_image_becomes_depends_on_that_image_alone() -> None:
    regressor, batch = SmoothRegressor().eval(), some_batch()
    together = handed_on("at:steps=2", regressor, batch)
    order = [5, 2, 7, 0]
    part = Batch(batch.images[order], batch.mos[order], batch.noise.select(order))
    torch.testing.assert_close(handed_on("at:steps=2", regressor, part), together[order])


class Modes(RegressorWrapper):
    """Notes the images that it is asked about, and in which modes."""

    def __init__(self, inner: Regressor) -> None:
        super().__init__(inner)
        self.seen: list[tuple[bool, bool]] = []
        self.images: list[Tensor] = []

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        weights = next(self.inner.parameters())
        self.seen.append((self.training, weights.requires_grad))
        self.images.append(images.detach())
        return self.inner.logit(images, noise)


def test_it_attacks_in_eval_mode_with_frozen_weights_and_trains_in_training_mode() -> None:
    regressor, batch = Modes(SmoothRegressor()).train(), some_batch()
    kept = batch.images.clone()
    handed_on("at:steps=2,mix=1", regressor, batch)
    assert regressor.seen == [(False, False)] * 3 + [(True, True)]
    assert all(float((x - kept).abs().max()) <= 2 / 255 + 1e-6 for x in regressor.images)
    assert torch.equal(batch.images, kept)


@pytest.mark.parametrize("bad", ["steps=0", "eps_255=-1", "step=-0.5", "mix=0", "mix=1.5"])
def test_a_value_that_makes_no_sense_is_refused(bad: str) -> None:
    with pytest.raises(ParamError, match=f"^defense 'at'.*{bad.partition('=')[0]}"):
        Chain.parse(f"at:{bad}+resnet")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_makes_the_demo_net_more_robust(tmp_path: Path) -> None:
    attack = "pgd:objective=reflect,threshold=median"
    flags = ["--dataset", "demo", "--attack", attack, "--eps", "2", "--device", "cpu"]
    places = ["--out", str(tmp_path / "run"), "--store", str(tmp_path / "store")]
    assert main(["run", "--defense", "at:steps=1+resnet", *flags, *places]) == 0
    found: dict[tuple[str, float], float] = {}
    for path in find_cells(tmp_path / "run"):
        record = read_cell(path)
        assert record.metrics is not None
        about, eps = record.about, record.cell["eps_255"]
        found[about["defense"], eps] = record.metrics["srocc"]["value"]
    assert found["at:steps=1+resnet", 2.0] > found["resnet", 2.0] + 0.3
    assert found["at:steps=1+resnet", 0.0] > 0.6
