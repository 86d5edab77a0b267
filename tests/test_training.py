from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support import write_biq2021
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench import checkpoints
from iqabench.api import (
    NETWORK,
    Backbone,
    Batch,
    Defense,
    Noise,
    Player,
    Regressor,
    RegressorWrapper,
    Step,
    TrainState,
    TrainStep,
    Wrapper,
    global_average,
)
from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.checkpoints import hash_tensors
from iqabench.data import DataHome, Geometry, OpenDataset, dataset
from iqabench.errors import CellError, IncompatibleError, WeightsError
from iqabench.progress import Silent
from iqabench.recipes import Recipe
from iqabench.registry import Named
from iqabench.training import Training, find_or_train

CPU = torch.device("cpu")
RECIPE = Recipe(resize=32, crop=24, batch_size=8, epochs=3, lr=1e-3, flip=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> OpenDataset:
    root = tmp_path_factory.mktemp("data")
    write_biq2021(root)
    home = DataHome(root, root / "store", Silent())
    return home.open(dataset("biq2021"), Geometry(32, 24), split=None, split_seed=0)


def plain(data: OpenDataset, **changes: object) -> Training:
    made = Training(
        Chain.parse("resnet:dropout=0.3"), BackboneSpec("demo_net", "none"), RECIPE, data, 0
    )
    return replace(made, **changes)  # type: ignore[arg-type]


class Killed(BaseException):
    """Stands in for SIGKILL: nothing catches it."""


def test_a_training_is_found_again_by_what_made_it(data: OpenDataset, tmp_path: Path) -> None:
    first = find_or_train(plain(data), tmp_path, CPU, Silent())
    before = (first.folder / "card.json").stat().st_mtime_ns
    assert find_or_train(plain(data), tmp_path, CPU, Silent()) == first
    assert (first.folder / "card.json").stat().st_mtime_ns == before
    card = first.card()
    assert card["description"]["recipe"]["epochs"] == 3
    assert len(card["losses"]) == 3
    assert not first.training_file.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"recipe": RECIPE.model_copy(update={"lr": 2e-3})},
        {"chain": Chain.parse("resnet")},
        {"backbone": BackboneSpec("demo_net", "none", imagenet_norm=False)},
    ],
    ids=["seed", "recipe", "defense", "backbone"],
)
def test_whatever_changes_the_weights_changes_the_recipe_key(
    data: OpenDataset, tmp_path: Path, change: dict[str, object]
) -> None:
    keys = {t.checkpoint(tmp_path).recipe_key for t in (plain(data), plain(data, **change))}
    assert len(keys) == 2


@pytest.mark.parametrize("after", [1, 2])
def test_a_killed_training_ends_with_the_weights_of_an_uninterrupted_one(
    data: OpenDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    whole = find_or_train(plain(data), tmp_path / "whole", CPU, Silent()).load()
    save_tensors = checkpoints.save_tensors
    saves = 0

    def save_then_die(*args: object, **kwargs: object) -> None:
        nonlocal saves
        save_tensors(*args, **kwargs)  # type: ignore[arg-type]
        saves += 1
        if saves == after:
            raise Killed

    monkeypatch.setattr("iqabench.training.save_tensors", save_then_die)
    with pytest.raises(Killed):
        find_or_train(plain(data), tmp_path / "killed", CPU, Silent())
    monkeypatch.undo()
    torch.rand(7)  # another process would have another global state
    resumed = find_or_train(plain(data), tmp_path / "killed", CPU, Silent())
    assert len(resumed.card()["losses"]) == 3
    for name, value in resumed.load().items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=1e-6)


def test_training_neither_reads_nor_changes_global_random_state(
    data: OpenDataset, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = find_or_train(plain(data), tmp_path / "a", CPU, Silent()).load()
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(2)
    second = find_or_train(plain(data), tmp_path / "b", CPU, Silent()).load()
    assert hash_tensors(first) == hash_tensors(second)


def test_a_built_checkpoint_is_frozen_in_eval_mode_and_gives_the_trained_scores(
    data: OpenDataset, tmp_path: Path
) -> None:
    training = plain(data)
    regressor = training.build(find_or_train(training, tmp_path, CPU, Silent()))
    assert not regressor.training
    assert not any(p.requires_grad for p in regressor.parameters())
    images, _, _ = next(data.test.batches(4))
    assert torch.equal(regressor(images), regressor(images))


def _edit_card(folder: Path) -> None:
    path = folder / "card.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | {"weights_sha256": "0" * 64}))


def _truncate(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:500])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_edit_card, "not those of the card"),
        (_truncate, "is damaged"),
        (lambda folder: (folder / "card.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "card.json").write_text('{"schema": 9}'), "is damaged"),
    ],
    ids=["edited card", "truncated weights", "truncated card", "other schema"],
)
def test_a_damaged_checkpoint_is_refused(
    data: OpenDataset, tmp_path: Path, damage: object, message: str
) -> None:
    training = plain(data)
    checkpoint = find_or_train(training, tmp_path, CPU, Silent())
    damage(checkpoint.folder)  # type: ignore[operator]
    with pytest.raises(WeightsError, match=message):
        training.build(checkpoint)


def test_long_names_do_not_cut_the_key_off(data: OpenDataset, tmp_path: Path) -> None:
    base = Chain.parse("resnet").base
    long = Named(base.component, "a-distribution-with-a-long-name/" + "x" * 60, "tests/x@1")
    folders = {
        plain(data, chain=Chain((), long), seed=s).checkpoint(tmp_path).folder for s in (0, 1)
    }
    assert len(folders) == 2


def test_a_checkpoint_of_another_training_is_refused(data: OpenDataset, tmp_path: Path) -> None:
    found = find_or_train(plain(data), tmp_path, CPU, Silent())
    other = plain(data, seed=1).checkpoint(tmp_path)
    found.folder.rename(other.folder)
    with pytest.raises(WeightsError, match=f"its card is of recipe key {found.recipe_key}"):
        find_or_train(plain(data, seed=1), tmp_path, CPU, Silent())


def test_a_damaged_training_state_is_started_over(data: OpenDataset, tmp_path: Path) -> None:
    checkpoint = plain(data).checkpoint(tmp_path)
    checkpoint.folder.mkdir(parents=True)
    checkpoint.training_file.write_bytes(b"half a file")
    find_or_train(plain(data), tmp_path, CPU, Silent())
    assert checkpoint.exists


class Duel(Regressor):
    """A network and an opponent that disturbs its features."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.out_channels, 1)
        self.opponent = nn.Linear(backbone.out_channels, backbone.out_channels)

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        logits: Tensor = self.head(global_average(self.backbone(images))).squeeze(1)
        return logits


@dataclass(frozen=True, kw_only=True)
class MinMax(Defense):
    """Two players that move in turn, as in CPRL's Algorithm 1."""

    summary = "two players"

    def build(self, backbone: Backbone) -> Duel:
        return Duel(backbone)

    def players(self, regressor: Regressor) -> dict[str, Player]:
        assert isinstance(regressor, Duel)
        own = [*regressor.backbone.parameters(), *regressor.head.parameters()]
        return {
            NETWORK: Player(own),
            "opponent": Player(list(regressor.opponent.parameters()), lr_scale=10),
        }

    def train_step(self, regressor: Regressor, batch: Batch, state: TrainState) -> Step:
        assert isinstance(regressor, Duel)
        yield from super().train_step(regressor, batch, state)
        before = snapshot(regressor)
        features = global_average(regressor.backbone(batch.images))
        yield -(regressor.opponent(features) - features).square().mean(), "opponent"
        after = snapshot(regressor)
        SEEN.append({name for name in before if not torch.equal(before[name], after[name])})


SEEN: list[set[str]] = []


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def named(component: Defense | Wrapper, name: str) -> Named[Any]:
    return Named(component, name, f"tests/{name}@1")


def chain(*parts: Named[Any]) -> Chain:
    return Chain(parts[:-1], parts[-1])


def test_players_move_in_turn_and_one_at_a_time(data: OpenDataset, tmp_path: Path) -> None:
    SEEN.clear()
    training = plain(data, chain=chain(named(MinMax(), "minmax")))
    find_or_train(training, tmp_path, CPU, Silent())
    assert len(SEEN) == 9  # 3 epochs of 3 batches
    assert all(moved == {"opponent.weight", "opponent.bias"} for moved in SEEN)


@dataclass(frozen=True, kw_only=True)
class Diverging(MinMax):
    """Its loss becomes infinite."""

    def train_step(self, regressor: Regressor, batch: Batch, state: TrainState) -> Step:
        scores = regressor(batch.images, batch.noise)
        yield F.mse_loss(scores, batch.mos) * (torch.inf if state.step == 4 else 1.0), NETWORK


@dataclass(frozen=True, kw_only=True)
class Untrainable(Defense):
    """Fails in training, in a way of choice."""

    summary = "untrainable"
    how: str = "player"

    def build(self, backbone: Backbone) -> Regressor:
        chain = Chain.parse("resnet")
        return chain.base.component.build(backbone)

    def train_step(self, regressor: Regressor, batch: Batch, state: TrainState) -> Step:
        if self.how == "file":
            Path("/nowhere/prior.npy").read_bytes()
        yield regressor(batch.images).mean(), "critic"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("player", "yielded a loss for the player 'critic'; its players are network"),
        ("file", "training untrainable:how=file failed: FileNotFoundError"),
    ],
)
def test_what_a_method_does_wrong_in_training_is_its_own_failure(
    data: OpenDataset, tmp_path: Path, how: str, message: str
) -> None:
    chain = Chain((), Named(Untrainable(how=how), "untrainable", "tests/untrainable@1"))
    with pytest.raises(CellError, match=message):
        find_or_train(plain(data, chain=chain), tmp_path, CPU, Silent())


class Tinted(RegressorWrapper):
    """A learnt offset in front."""

    def __init__(self, inner: Regressor) -> None:
        super().__init__(inner)
        self.tint = nn.Parameter(torch.zeros(3, 1, 1))

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        return self.inner.logit(images + self.tint, noise)


@dataclass(frozen=True, kw_only=True)
class Tint(Wrapper):
    """Trains its offset with the network."""

    summary = "a learnt offset"
    changes_training = True

    def wrap(self, regressor: Regressor) -> Regressor:
        return Tinted(regressor)

    def players(self, inner: Mapping[str, Player], regressor: Regressor) -> Mapping[str, Player]:
        assert isinstance(regressor, Tinted)
        return {**inner, "tint": Player([regressor.tint])}

    def train_step(
        self, inner: TrainStep, regressor: Regressor, batch: Batch, state: TrainState
    ) -> Step:
        yield from inner(batch, state)
        yield F.mse_loss(regressor(batch.images, batch.noise), batch.mos), "tint"


def test_a_wrapper_may_bring_a_player_of_its_own(data: OpenDataset, tmp_path: Path) -> None:
    base = Chain.parse("resnet").base
    training = plain(data, chain=Chain((Named(Tint(), "tint", "tests/tint@1"),), base))
    weights = find_or_train(training, tmp_path, CPU, Silent()).load()
    assert float(weights["tint"].abs().min()) > 0


def test_a_loss_that_is_not_finite_says_where(data: OpenDataset, tmp_path: Path) -> None:
    training = plain(data, chain=chain(named(Diverging(), "diverging")))
    with pytest.raises(CellError, match="diverged: the loss of player 'network' is inf in epoch 2"):
        find_or_train(training, tmp_path, CPU, Silent())


class Halved(RegressorWrapper):
    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        return self.inner.logit(images * 0.5, noise)


@dataclass(frozen=True, kw_only=True)
class Dim(Wrapper):
    """A test-time purifier."""

    summary = "dims"

    def wrap(self, regressor: Regressor) -> Regressor:
        return Halved(regressor)


@dataclass(frozen=True, kw_only=True)
class Inverted(Wrapper):
    """A training-time wrapper: trains on negatives as well."""

    summary = "negatives"
    changes_training = True

    def train_step(
        self, inner: TrainStep, regressor: Regressor, batch: Batch, state: TrainState
    ) -> Step:
        yield from inner(batch, state)
        yield from inner(replace(batch, images=1 - batch.images), state)


def test_a_test_time_wrapper_shares_the_checkpoint_and_a_training_time_one_does_not(
    data: OpenDataset, tmp_path: Path
) -> None:
    base = Chain.parse("resnet").base
    dim, inverted = named(Dim(), "dim"), named(Inverted(), "inverted")
    chains = {
        "base": chain(base),
        "dim": chain(dim, base),
        "at": chain(inverted, base),
        "dim+at": chain(dim, inverted, base),
        "at+dim": chain(inverted, dim, base),
    }
    keys: dict[str, str] = {}
    for name, whole in chains.items():
        keys[name] = plain(data, chain=whole.trained).checkpoint(tmp_path).recipe_key
    assert keys["base"] == keys["dim"]
    assert keys["at"] == keys["dim+at"]
    assert len({keys["base"], keys["at"], keys["at+dim"]}) == 3
    training = plain(data, chain=chains["dim+at"].trained)
    trained = training.build(find_or_train(training, tmp_path, CPU, Silent()))
    images, _, _ = next(data.test.batches(4))
    assert torch.equal(chains["dim+at"].wrap_trained(trained)(images), trained(images * 0.5))


@pytest.mark.parametrize(
    ("text", "message"), [("resnet+resnet", "'resnet' wraps nothing, so it must be the last part")]
)
def test_a_chain_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(IncompatibleError, match=message):
        Chain.parse(text)


def test_crops_and_flips_differ_between_epochs_and_repeat_with_the_seed(
    data: OpenDataset, tmp_path: Path
) -> None:
    def batches(seed: int) -> list[Tensor]:
        seen: list[Tensor] = []

        @dataclass(frozen=True, kw_only=True)
        class Watch(MinMax):
            summary = "watches"

            def train_step(
                self, regressor: Regressor, batch: Batch, state: TrainState
            ) -> Iterator[tuple[Tensor, str]]:
                seen.append(batch.images)
                assert (batch.images.shape[2], state.steps) == (24, 9)
                yield F.mse_loss(regressor(batch.images), batch.mos), NETWORK

        training = plain(data, chain=chain(named(Watch(), "watch")), seed=seed)
        find_or_train(training, tmp_path / f"{seed}-{len(list(tmp_path.iterdir()))}", CPU, Silent())
        return seen

    first, again, other = batches(0), batches(0), batches(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    epochs = [torch.cat(first[i : i + 3]) for i in (0, 3)]
    assert not torch.equal(epochs[0].sort(0).values, epochs[1].sort(0).values)
