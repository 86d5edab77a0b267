"""Methods with a training of their own: players, wrappers, and what they do wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name
from trainings import CPU, open_data, plain

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
from iqabench.chains import Chain
from iqabench.data import OpenDataset
from iqabench.errors import CellError, IncompatibleError
from iqabench.progress import Silent
from iqabench.registry import Named
from iqabench.training import find_or_train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> OpenDataset:
    return open_data(tmp_path_factory.mktemp("data"))


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
