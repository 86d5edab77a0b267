"""What every defense and every wrapper has to keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from iqabench.backbones import NO_WEIGHTS, BackboneSpec
from iqabench.contracts.defense import Batch, Defense, Player, Step, TrainState, TrainStep, Wrapper
from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Regressor
from iqabench.seeding import lent_rng, seed_torch
from iqabench.testing.components import check_component
from iqabench.testing.fixtures import NoisyRegressor, PlainDefense, tiny_images, tiny_mos
from iqabench.testing.regressors import SIZE, check_regressor
from iqabench.testing.rules import (
    BrokenRuleError,
    asking,
    one_thread,
    require,
    scrambled,
    untouched,
)

DEMO_NET = BackboneSpec("demo_net", NO_WEIGHTS)
STATES = (TrainState(0, 0, 2, 4), TrainState(1, 3, 2, 4))
_RATE = 1e-3


@one_thread()
def check_defense(
    defense: type[Defense | Wrapper] | Defense | Wrapper,
    *,
    backbone: BackboneSpec = DEMO_NET,
    size: int = SIZE,
) -> None:
    """Check a defense, or a wrapper around an undefended network, against its contract.

    It is built, scored, trained for two steps as the harness trains, and scored again; one that is
    not trained is built and scored.

    Args:
        defense: A class, which is checked with its defaults, or an instance of one.
        backbone: What it is built on; the demo net unless it needs another.
        size: Side of the square images, in pixels.

    Raises:
        BrokenRuleError: It breaks a rule; the message says which.
    """
    __tracebackhide__ = True
    component = check_component(defense)
    who = type(component).__name__
    if isinstance(component, Wrapper):
        _check_wrapper(component, who, backbone, size)
    elif isinstance(component, Defense):
        _check_base(component, who, backbone, size)
    else:
        raise BrokenRuleError(f"{who} is neither a Defense nor a Wrapper")


def _check_base(defense: Defense, who: str, backbone: BackboneSpec, size: int) -> None:
    def make(seed: int) -> _Course:
        regressor = _build(defense, who, backbone, seed)
        with asking(who, "players"):
            players = defense.players(regressor)
        return _Course(who, regressor, players, lambda b, s: defense.train_step(regressor, b, s))

    first = make(0)
    if not defense.trains:
        other = make(1)
        rule = "is not trained and builds other weights from another seed of torch's generator"
        _check_equal_builds(first, other, rule)
        check_regressor(first.regressor, who=who, size=size)
        _check_saved(first, other, size)
        return
    _check_equal_builds(
        first, make(0), "builds other weights from the same seed of torch's generator"
    )
    _check_players(first)
    check_regressor(first.regressor, who=who, size=size)
    _check_training(make, size)


def _check_wrapper(wrapper: Wrapper, who: str, backbone: BackboneSpec, size: int) -> None:
    base = PlainDefense()
    asked: list[int] = []

    def make(seed: int) -> _Course:
        inner = _build(base, who, backbone, seed)
        wrapped = _wrap(wrapper, who, inner)

        def inside(batch: Batch, state: TrainState) -> Step:
            asked.append(state.step)
            return base.train_step(inner, batch, state)

        def step(batch: Batch, state: TrainState) -> Step:
            return wrapper.train_step(inside, wrapped, batch, state)

        return _Course(who, wrapped, wrapper.players(base.players(inner), wrapped), step)

    inner = _build(base, who, backbone, 0)
    wrapped = _wrap(wrapper, who, inner)
    _check_shared(who, inner, wrapped)
    _check_own_parameters(wrapper, who, base.players(inner), wrapped)
    check_regressor(wrapped, who=who, size=size)
    check_regressor(_wrap(wrapper, who, NoisyRegressor(inner)), who=who, size=size)
    overrides = type(wrapper).train_step is not Wrapper.train_step
    honest = wrapper.changes_training or not overrides
    require(honest, who, "overrides train_step but does not declare changes_training")
    _check_training(make, size)
    require(bool(asked), who, "never asks the training step of what it wraps")


@dataclass
class _Course:
    """A freshly built regressor and how it is trained."""

    who: str
    regressor: Regressor
    players: Mapping[str, Player]
    step: TrainStep


def _build(defense: Defense, who: str, backbone: BackboneSpec, seed: int) -> Regressor:
    with untouched(who, "build"), lent_rng():
        seed_torch("contract", seed)
        given = backbone.build()
        with asking(who, f"build on {backbone.name}"):
            regressor = defense.build(given)
    require(isinstance(regressor, Regressor), who, "builds no Regressor")
    return regressor


def _wrap(wrapper: Wrapper, who: str, inner: Regressor) -> Regressor:
    with untouched(who, "wrap", inner), asking(who, "wrap"):
        wrapped = wrapper.wrap(inner)
    require(isinstance(wrapped, Regressor), who, "wraps into no Regressor")
    return wrapped


def _check_shared(who: str, inner: Regressor, wrapped: Regressor) -> None:
    own = {id(p) for p in wrapped.parameters()}
    shared = {id(p) for p in inner.parameters()}
    require(shared <= own, who, "copies the weights of what it wraps, or drops some of them")


def _check_own_parameters(
    wrapper: Wrapper, who: str, inner: Mapping[str, Player], wrapped: Regressor
) -> None:
    players = wrapper.players(inner, wrapped)
    require(set(inner) <= set(players), who, "drops a player of what it wraps")
    played = {id(p) for player in players.values() for p in player.parameters}
    extra = [n for n, p in wrapped.named_parameters() if id(p) not in played and p.requires_grad]
    require(not extra, who, f"has parameters of its own that no player trains: {extra[:3]}")
    added = set(players) > set(inner)
    honest = wrapper.changes_training or not added
    require(honest, who, "adds a player but does not declare changes_training")


def _check_equal_builds(first: _Course, second: _Course, rule: str) -> None:
    one, other = first.regressor.state_dict(), second.regressor.state_dict()
    plain = all(isinstance(v, Tensor) for v in one.values())
    require(plain, first.who, "keeps something else than tensors in its state_dict")
    same = one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
    require(same, first.who, rule)


def _check_players(course: _Course) -> None:
    who, players = course.who, course.players
    named = isinstance(players, dict) and all(isinstance(k, str) and k for k in players)
    require(bool(named and players), who, "has no players, or one without a name")
    names = {id(p): n for n, p in course.regressor.named_parameters()}
    owner: dict[int, str] = {}
    for player, group in players.items():
        require(isinstance(group, Player), who, f"has {player!r}, which is no Player")
        require(
            any(p.requires_grad for p in group.parameters),
            who,
            f"has the player {player!r} with nothing to train",
        )
        for parameter in group.parameters:
            key = id(parameter)
            require(key in names, who, f"gives {player!r} a parameter that it does not have itself")
            before = owner.get(key)
            once = f"gives parameter {names[key]} to the players {before!r} and {player!r}"
            require(before is None, who, once)
            owner[key] = player
    free = [n for n, p in course.regressor.named_parameters() if id(p) not in owner]
    free = [n for n in free if course.regressor.get_parameter(n).requires_grad]
    require(not free, who, f"has parameters of no player: {', '.join(free[:3])}")


def _check_training(make: Callable[[int], _Course], size: int) -> None:
    first = make(0)
    losses = _train(first, size, seed=1)
    again = _train(make(0), size, seed=2)
    same = losses == again
    require(
        same,
        first.who,
        "trains differently from the same seed: randomness comes from batch.noise, or from torch's"
        " global generator, which the harness seeds for each step",
    )
    check_regressor(first.regressor, who=first.who, size=size)
    _check_saved(first, make(3), size)


def _train(course: _Course, size: int, *, seed: int) -> list[float]:
    """Make the steps of two batches as the harness does; return the losses."""
    who, regressor = course.who, course.regressor.train()
    optimizers: dict[str, Optimizer] = {
        name: AdamW([p for p in player.parameters if p.requires_grad], lr=_RATE)
        for name, player in course.players.items()
    }
    losses: list[float] = []
    for number, state in enumerate(STATES):
        images = tiny_images(8, size, size, seed=number)
        ids = tuple(f"train-{i}" for i in range(len(images)))
        batch = Batch(images, tiny_mos(), Noise(0, ids, state.step, "train"))
        kept = images.clone()
        modes = _modes(regressor)
        with scrambled(seed), untouched(who, "train_step"), lent_rng():
            seed_torch("step", number)
            losses += _step(course, optimizers, course.step(batch, state))
        require(torch.equal(images, kept), who, "changes the training images in place")
        require(_modes(regressor) == modes, who, "leaves another training mode or requires_grad")
    return losses


def _step(course: _Course, optimizers: dict[str, Optimizer], pairs: Step) -> Iterator[float]:
    who, count = course.who, 0
    values = _values(course.regressor)
    while True:
        with asking(who, "train_step"):
            pair = next(pairs, None)
        changed = _changed(course.regressor, values)
        alone = f"changes {', '.join(changed[:3])} in train_step; the harness makes every step"
        require(not changed, who, alone)
        if pair is None:
            require(count > 0, who, "yields no loss in train_step")
            return
        loss, name = _checked(course, pair)
        _improve(course, loss, name, optimizers[name])
        own = {id(p) for p in course.players[name].parameters}
        named = dict(course.regressor.named_parameters())
        others = [n for n in _changed(course.regressor, values) if id(named[n]) not in own]
        require(not others, who, f"lets a step of the player {name!r} change {others[:3]}")
        values = _values(course.regressor)
        count += 1
        yield float(loss.detach())


def _checked(course: _Course, pair: object) -> tuple[Tensor, str]:
    who = course.who
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise BrokenRuleError(f"{who} yields {type(pair).__name__}, no pair (loss, player)")
    loss, name = pair
    known = ", ".join(map(repr, course.players))
    require(name in course.players, who, f"yields the unknown player {name!r}; it has {known}")
    scalar = isinstance(loss, Tensor) and loss.ndim == 0
    require(scalar, who, f"yields a loss for {name!r} that is no scalar tensor")
    value = float(loss.detach())
    require(math.isfinite(value), who, f"yields a loss of {value} for the player {name!r}")
    require(loss.requires_grad, who, f"yields a loss for {name!r} that has no gradient")
    return loss, str(name)


def _improve(course: _Course, loss: Tensor, name: str, optimizer: Optimizer) -> None:
    parameters = [p for p in course.players[name].parameters if p.requires_grad]
    with asking(course.who, f"the gradient of the loss for the player {name!r}"):
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    useful = any(g is not None for g in gradients)
    require(useful, course.who, f"yields a loss that no parameter of {name!r} has a part in")
    finite = all(g is None or bool(g.isfinite().all()) for g in gradients)
    require(finite, course.who, f"yields a loss with a NaN or infinite gradient for {name!r}")
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _check_saved(trained: _Course, fresh: _Course, size: int) -> None:
    who = trained.who
    with asking(who, "load_state_dict into a regressor that was built anew"):
        fresh.regressor.load_state_dict(trained.regressor.state_dict())
    images = tiny_images(8, size, size)
    noise = Noise(0, tuple(f"saved-{i}" for i in range(len(images))))
    with torch.no_grad():
        before = trained.regressor.eval().logit(images, noise)
        after = fresh.regressor.eval().logit(images, noise)
    same = torch.equal(before, after)
    require(same, who, "scores differently after its state_dict is loaded into a new regressor")


def _values(network: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in network.named_parameters()}


def _changed(network: nn.Module, values: dict[str, Tensor]) -> list[str]:
    return [n for n, p in network.named_parameters() if not torch.equal(p, values[n])]


def _modes(network: nn.Module) -> list[bool]:
    return [m.training for m in network.modules()] + [p.requires_grad for p in network.parameters()]
