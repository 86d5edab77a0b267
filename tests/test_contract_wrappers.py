"""The contract suite over wrappers with one fault each."""

# The mutants have the signatures of the methods that they take the place of.
# mypy: allow-untyped-defs

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.api import (
    NETWORK,
    Noise,
    Player,
    Regressor,
    RegressorWrapper,
    Wrapper,
    evaluation_mode,
    pixel_gradient,
    project,
)
from iqabench.testing import check_defense

DOC = "A wrapper for a test.\n\nIt has one fault at most."


class Dimmed(RegressorWrapper):
    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        return self.inner.logit(0.8 * images, noise)


class Silent(RegressorWrapper):
    """Does not hand the noise on."""

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        return self.inner.logit(images)


class Gained(RegressorWrapper):
    """Has a parameter of its own."""

    def __init__(self, inner: Regressor) -> None:
        super().__init__(inner)
        self.gain = nn.Parameter(torch.ones(()))

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        return self.gain * self.inner.logit(images, noise)


class Quiet(RegressorWrapper):
    """Forgets that what is inside is stochastic."""

    def __init__(self, inner: Regressor) -> None:
        super().__init__(inner)
        self.stochastic = False


def wrapper(kind: type[Regressor] = Dimmed, **members: Any) -> type[Wrapper]:
    def wrap(self: Any, inner: Regressor) -> Regressor:
        return kind(inner)

    members = {"__doc__": DOC, "__module__": __name__, "summary": "x", "wrap": wrap, **members}
    return dataclass(frozen=True, kw_only=True)(type("Mutant", (Wrapper,), members))


def wraps_a_copy(self, inner):
    return Dimmed(copy.deepcopy(inner))


def wraps_with_a_draw(self, inner):
    torch.rand(())
    return Dimmed(inner)


def changes_what_it_wraps(self, inner):
    with torch.no_grad():
        next(inner.parameters()).mul_(2)
    return Dimmed(inner)


def passes_by(self, inner, net, batch, state):
    yield F.mse_loss(net(batch.images, batch.noise), batch.mos), NETWORK


def hands_on(self, inner, net, batch, state):
    yield from inner(batch, state)


def adds_a_gain(self, inner, net):
    return {**inner, "gain": Player([net.gain])}


def takes_over(self, inner, net):
    return {"gain": Player(list(net.parameters()))}


def trains_the_gain(self, inner, net, batch, state):
    yield from inner(batch, state)
    yield F.mse_loss(net(batch.images, batch.noise), batch.mos), "gain"


WRAPPERS: list[tuple[dict[str, Any], str]] = [
    ({"wrap": wraps_a_copy}, r"copies the weights of what it wraps"),
    ({"wrap": wraps_with_a_draw}, r"changes torch's global random state in wrap"),
    ({"wrap": changes_what_it_wraps}, r"changes the parameter backbone.* in wrap"),
    ({"wrap": lambda self, inner: inner.state_dict()}, r"wraps into no Regressor"),
    ({"kind": Gained}, r"has parameters of its own that no player trains: \['gain'\]"),
    ({"kind": Gained, "players": takes_over}, r"drops a player of what it wraps"),
    ({"kind": Gained, "players": adds_a_gain}, r"adds a player but does not declare changes_tr"),
    ({"kind": Silent}, r"raised ValueError in forward in eval mode"),
    ({"kind": Quiet}, r"depends on noise but does not say it is stochastic"),
    ({"train_step": hands_on}, r"overrides train_step but does not declare changes_training"),
    ({"train_step": passes_by, "changes_training": True}, r"never asks the training step"),
]


@pytest.mark.parametrize(("members", "message"), WRAPPERS)
def test_a_broken_wrapper_is_caught(members: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=rf"^Mutant .*{message}"):
        check_defense(wrapper(**members))


def test_the_wrapper_that_the_mutants_are_made_of_keeps_the_contract() -> None:
    check_defense(wrapper())


def test_a_wrapper_with_a_player_of_its_own_passes() -> None:
    members = {"players": adds_a_gain, "train_step": trains_the_gain, "changes_training": True}
    check_defense(wrapper(Gained, **members))


def trains_on_adversarial_images(self, inner, net, batch, state):
    with evaluation_mode(net):
        _, gradient = pixel_gradient(lambda m, x, n: m.logit(x, n), net, batch.images, batch.noise)
    moved = project(batch.images + 2 / 255 * gradient.sign(), batch.images, 2 / 255)
    yield from inner(replace(batch, images=moved), state)


def forgets_to_train_again(self, inner, net, batch, state):
    net.eval()
    yield from inner(batch, state)


def test_adversarial_training_passes() -> None:
    check_defense(wrapper(train_step=trains_on_adversarial_images, changes_training=True))


def test_a_training_time_wrapper_that_leaves_eval_mode_on_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"^Mutant leaves another training mode"):
        check_defense(wrapper(train_step=forgets_to_train_again, changes_training=True))
