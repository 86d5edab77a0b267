"""The contract suite over every defense, and over defenses and wrappers with one fault each."""

# The mutants have the signatures of the methods that they take the place of.
# mypy: allow-untyped-defs

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.api import (
    NETWORK,
    Backbone,
    Defense,
    IncompatibleError,
    Noise,
    Player,
    Regressor,
    RegressorWrapper,
)
from iqabench.registry import DEFENSES
from iqabench.testing import (
    LinearRegressor,
    NoisyRegressor,
    PlainDefense,
    SmoothRegressor,
    check_defense,
    check_regressor,
)
from iqabench.testing.fixtures import PooledHead

DOC = "A defense for a test.\n\nIt has one fault at most."


# pyiqa is large and its weights are downloaded: test_pyiqa_bridge.py checks it with a stand-in.
# Trained metrics of the user's need a file: test_own_metric.py.
@pytest.mark.parametrize("name", sorted({*DEFENSES.names()} - {"pyiqa", "module", "exported"}))
def test_every_defense_keeps_the_contract(name: str) -> None:
    check_defense(DEFENSES.get(name))


def defense(head: type[Regressor] = PooledHead, **members: Any) -> type[Defense]:
    def build(self: Defense, backbone: Backbone) -> Regressor:
        return head(backbone)

    members = {"__doc__": DOC, "__module__": __name__, "build": build, **members}
    made = type("Mutant", (PlainDefense,), members)
    return dataclass(frozen=True, kw_only=True)(made)


def regressor(**members: Any) -> type[Regressor]:
    return type("Head", (PooledHead,), {"__module__": __name__, **members})


def plain(self: Any, images: Tensor) -> Tensor:
    logits: Tensor = PooledHead.logit(self, images)
    return logits


def column(self, images, noise=None):
    return plain(self, images)[:, None]


def doubles(self, images, noise=None):
    return plain(self, images).double()


def nan(self, images, noise=None):
    return plain(self, images) / 0 * 0


def torch_noise(self, images, noise=None):
    return plain(self, images + 0.1 * torch.randn_like(images))


def numpy_noise(self, images, noise=None):
    return plain(self, images) + np.random.rand()  # noqa: NPY002 - the fault


def python_noise(self, images, noise=None):
    return plain(self, images) + random.random()


def system_noise(self, images, noise=None):
    return plain(self, images) + float(np.random.default_rng().random())


def undeclared_noise(self, images, noise=None):
    return plain(self, images) + (noise.normal("x", ()) if noise is not None else 0)


def batch_statistics(self, images, noise=None):
    return plain(self, (images - images.mean()) / (images.std() + 0.1))


def batch_minimum(self, images, noise=None):
    logits = plain(self, images)
    return logits - 0.01 * logits.min()


def in_place(self, images, noise=None):
    return plain(self, images.mul_(0.9))


def counting(self, images, noise=None):
    with torch.no_grad():
        self.head.bias.add_(0.01)
    return plain(self, images)


def rounded(self, images, noise=None):
    return plain(self, (images * 255).round() / 255)


def detached(self, images, noise=None):
    return plain(self, images).detach()


def other_forward(self, images, noise=None):
    return torch.sigmoid(2 * self.logit(images, noise))


def upside_down(self, logits):
    return torch.sigmoid(-logits)


def into_percent(self, logits):
    return 100 * torch.sigmoid(logits)


REGRESSORS: list[tuple[dict[str, Any], str]] = [
    ({"logit": column}, r"returns \(4, 1\) from forward, not \(4,\)"),
    ({"logit": doubles}, r"returns torch.float64 from forward"),
    ({"logit": nan}, r"returns NaN or infinity from forward"),
    ({"logit": torch_noise}, r"changes torch's global random state in forward in eval mode"),
    ({"logit": numpy_noise}, r"changes numpy's global random state in forward"),
    ({"logit": python_noise}, r"changes python's global random state in forward"),
    # By chance two draws may be close enough for the first of the checks that it fails.
    ({"logit": system_noise}, r"(forward that is not squash\(logit\)|.*asked again)"),
    ({"logit": undeclared_noise}, r"depends on noise but does not say it is stochastic"),
    ({"logit": batch_statistics}, r"scores an image differently alone"),
    ({"logit": batch_minimum}, r"scores an image differently alone"),
    ({"logit": in_place}, r"changes its input images in forward"),
    ({"logit": counting}, r"changes the parameter head.bias in forward in eval mode"),
    ({"logit": rounded}, r"gradient of zero everywhere .* offers no surrogates"),
    ({"logit": detached}, r"gives no gradient .* offers no surrogates"),
    ({"forward": other_forward}, r"has a forward that is not squash\(logit\)"),
    ({"squash": upside_down}, r"squash that is not monotone"),
    ({"squash": into_percent}, r"squashes into \[0.247, 99.8\], not \[0, 1\]"),
    ({"stochastic": True}, r"is stochastic but gives the same scores for every draw"),
    ({"stochastic": True, "logit": undeclared_noise}, r"raises no ValueError without noise"),
    ({"surrogates": lambda self: {"twin": copy.deepcopy(self)}}, r"'twin' that does not share"),
]


@pytest.mark.parametrize(("members", "message"), REGRESSORS)
def test_a_broken_regressor_is_caught(members: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=rf"^Mutant .*{message}"):
        check_defense(defense(regressor(**members)))


def test_the_defense_that_the_mutants_are_made_of_keeps_the_contract() -> None:
    check_defense(PlainDefense)
    check_defense(PlainDefense())
    check_defense(defense())


def test_the_tiny_regressors_keep_the_contract() -> None:
    for tiny in (LinearRegressor(), SmoothRegressor(), NoisyRegressor(SmoothRegressor())):
        check_regressor(tiny, size=12)


def test_one_stream_for_the_whole_batch_is_caught() -> None:
    def logit(self: Any, images: Tensor, noise: Noise | None = None) -> Tensor:
        if noise is None:
            raise ValueError("needs noise")
        return plain(self, images) + noise.normal("x", ())[0]

    with pytest.raises(AssertionError, match="scores an image differently in another order"):
        check_defense(defense(regressor(stochastic=True, logit=logit)))


def test_a_surrogate_stands_in_for_a_missing_gradient() -> None:
    def surrogates(self: Any) -> dict[str, Regressor]:
        class Straight(RegressorWrapper):
            def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
                return plain(self.inner, images)

        return {"straight": Straight(self)}

    check_defense(defense(regressor(logit=rounded, surrogates=surrogates)))


class Scaled(PooledHead):
    """One parameter more than the plain regressor, and a buffer that training fills."""

    seen: Tensor
    keeps = True

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("seen", torch.zeros(()), persistent=self.keeps)

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        if self.training:
            self.seen = self.seen + 0.1
        logits = plain(self, images) * self.scale
        return logits + self.seen


class Forgetful(Scaled):
    """Its buffer is not saved."""

    keeps = False


def mse(self: Any, net: Regressor, batch: Any) -> Tensor:
    return F.mse_loss(net(batch.images, batch.noise), batch.mos)


def players(*names: str) -> Callable[[Any, Any], dict[str, Player]]:
    def give(self: Any, net: Any) -> dict[str, Player]:
        return {n: Player(list(getattr(net, n.rstrip("_")).parameters())) for n in names}

    return give


def unknown_player(self, net, batch, state):
    yield mse(self, net, batch), "intervention"


def no_pair(self, net, batch, state):
    yield mse(self, net, batch)


def nothing(self, net, batch, state):
    yield from ()


def a_loss_per_image(self, net, batch, state):
    yield (net(batch.images) - batch.mos) ** 2, NETWORK


def infinite_loss(self, net, batch, state):
    yield mse(self, net, batch) * float("inf"), NETWORK


def loss_without_gradient(self, net, batch, state):
    yield mse(self, net, batch).detach(), NETWORK


def steps_itself(self, net, batch, state):
    loss = mse(self, net, batch)
    with torch.no_grad():
        net.head.bias.sub_(0.1)
    yield loss, NETWORK


def draws_from_numpy(self, net, batch, state):
    yield mse(self, net, batch) * np.random.default_rng().random(), NETWORK


def uses_global_numpy(self, net, batch, state):
    yield mse(self, net, batch) * np.random.rand(), NETWORK  # noqa: NPY002 - the fault


def stays_in_eval_mode(self, net, batch, state):
    yield mse(self, net.eval(), batch), NETWORK


def freezes(self, net, batch, state):
    yield mse(self, net, batch), NETWORK
    net.head.requires_grad_(False)


def darkens_the_batch(self, net, batch, state):
    batch.images.mul_(0.9)
    yield mse(self, net, batch), NETWORK


def refuses(self, backbone):
    raise IncompatibleError("needs another backbone")


def draws_weights_from_numpy(self, backbone):
    head = PooledHead(backbone)
    drawn = np.random.default_rng().random(tuple(head.head.weight.shape), np.float32)
    head.head.weight.data = torch.from_numpy(drawn)
    return head


def tied_elsewhere(self, net):
    other = nn.Linear(2, 2)
    return {NETWORK: Player([*net.parameters(), *other.parameters()])}


DEFENSE: list[tuple[dict[str, Any], str]] = [
    ({"build": refuses}, r"raised IncompatibleError in build on demo_net"),
    ({"build": lambda self, backbone: backbone}, r"builds no Regressor"),
    ({"build": draws_weights_from_numpy}, r"builds other weights from the same seed"),
    ({"players": lambda self, net: {}}, r"has no players"),
    ({"players": players("backbone", "backbone_")}, r"to the players 'backbone' and 'backbone_'"),
    ({"players": players("backbone")}, r"parameters of no player: head.weight, head.bias"),
    ({"players": tied_elsewhere}, r"gives 'network' a parameter that it does not have"),
    ({"train_step": unknown_player}, r"unknown player 'intervention'; it has 'network'"),
    ({"train_step": no_pair}, r"yields Tensor, no pair"),
    ({"train_step": nothing}, r"yields no loss in train_step"),
    ({"train_step": a_loss_per_image}, r"loss for 'network' that is no scalar"),
    ({"train_step": infinite_loss}, r"loss of inf for the player 'network'"),
    ({"train_step": loss_without_gradient}, r"loss for 'network' that has no gradient"),
    ({"train_step": steps_itself}, r"changes head.bias in train_step; the harness"),
    ({"train_step": draws_from_numpy}, r"trains differently from the same seed"),
    ({"train_step": uses_global_numpy}, r"changes numpy's global random state in train_step"),
    ({"train_step": stays_in_eval_mode}, r"leaves another training mode"),
    ({"train_step": freezes}, r"leaves another training mode or requires_grad"),
    ({"train_step": darkens_the_batch}, r"changes the training images in place"),
    ({"head": Forgetful}, r"scores differently after its state_dict is loaded"),
]


@pytest.mark.parametrize(("members", "message"), DEFENSE)
def test_a_broken_defense_is_caught(members: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=rf"^Mutant .*{message}"):
        check_defense(defense(**members))


def test_two_players_that_share_nothing_pass() -> None:
    def train_step(self: Any, net: Any, batch: Any, state: Any) -> Iterator[tuple[Tensor, str]]:
        yield mse(self, net, batch), "backbone"
        yield mse(self, net, batch), "head"

    check_defense(defense(players=players("backbone", "head"), train_step=train_step))
    check_defense(defense(Scaled))
