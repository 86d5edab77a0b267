"""CPRL's equations, and what METHODS sections 9.4 and 10 say tells right from wrong."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from iqabench.api import NETWORK, Batch, Noise, Regressor, Site, TrainState
from iqabench.backbones import BackboneSpec
from iqabench.defenses.cprl import (
    CPRL,
    INTERVENTION,
    ChannelActivation,
    CPRLNet,
    Switch,
    at_rank,
    soft_ranks,
)
from iqabench.defenses.resnet import ResNet
from iqabench.errors import IncompatibleError
from iqabench.testing import check_defense

READINGS = ("descending", "ascending", "magnitude", "indices")


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ranks(values: Tensor, rank: Any) -> Tensor:
    """A table that holds each rank at its place."""
    return at_rank(torch.arange(values.shape[1]).to(values), values, rank)


def module(channels: int, activation: nn.Module | None = None, **members: Any) -> ChannelActivation:
    method = CPRL(**members)
    site = Site("stages.0.act", 0, "inner", channels)
    torch.manual_seed(0)
    return ChannelActivation(method, site, activation or nn.ReLU(), Switch()).eval()


def net(name: str = "demo_net", *, seed: int = 0, **members: Any) -> CPRLNet:
    torch.manual_seed(seed)
    built = CPRL(**members).build(BackboneSpec(name, "none").build())
    assert isinstance(built, CPRLNet)
    return built.eval()


def images(count: int = 4, size: int = 32) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(5))


def batch(count: int = 6) -> Batch:
    mos = torch.linspace(0.1, 0.9, count)
    return Batch(images(count), mos, Noise(0, tuple(map(str, range(count)))))


@pytest.mark.parametrize("rank", ["descending", "ascending", "magnitude"])
def test_one_sort_gives_the_ranks_that_two_sorts_give(rank: Any) -> None:
    values = features(3, 50, 4, 5)
    sign = -1 if rank == "descending" else 1
    key = values.abs() if rank == "magnitude" else sign * values
    assert torch.equal(ranks(values, rank), key.argsort(1).argsort(1).float())


def test_indices_are_what_argsort_returns() -> None:
    values = features(2, 9, 3, 3)
    assert torch.equal(ranks(values, "indices"), values.argsort(1).float())


def test_equal_values_are_ranked_in_the_order_of_their_channels() -> None:
    assert ranks(torch.zeros(1, 5, 1, 1), "descending").flatten().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("rank", READINGS)
@pytest.mark.parametrize("axis", ["position", "image"])
@pytest.mark.parametrize("b", [0.0, 0.2, 0.4, 0.5])
@pytest.mark.parametrize("channels", [8, 64])
def test_the_mean_of_the_mask_is_the_sum_of_eq_7(
    rank: Any, axis: Any, b: float, channels: int
) -> None:
    mask = module(channels, rank=rank, axis=axis, b=b).mask(features(2, channels, 5, 5))
    steps = torch.arange(channels)
    exact = torch.sigmoid(steps - channels / 2 + b * channels).mean()
    torch.testing.assert_close(mask.mean((1,)), exact.expand(mask.mean((1,)).shape))
    assert mask.shape[2:] == ((5, 5) if axis == "position" else (1, 1))


def test_descending_ranks_drop_the_largest_and_ascending_ones_the_smallest() -> None:
    values = torch.linspace(-3, 3, 64).view(1, 64, 1, 1)
    down = module(64, rank="descending", b=0.2).mask(values).flatten()
    assert float(down[0]) > 0.99 > 0.01 > float(down[-1])
    up = module(64, rank="ascending", b=0.2).mask(values).flatten()
    torch.testing.assert_close(up, down.flip(0))


def test_ascending_ranks_before_a_relu_do_nothing_at_b_04() -> None:
    values = features(2, 256, 6, 6)
    changed = module(256, rank="ascending")(values) - values.relu()
    assert float(changed.abs().max()) < 1e-3


def test_descending_ranks_before_a_relu_leave_nothing_at_b_0() -> None:
    values = features(2, 256, 6, 6)
    left = module(256, b=0.0)(values).norm() / values.relu().norm()
    assert float(left) < 0.05  # METHODS 9.2: relative change 1.000


def test_the_mask_may_take_the_place_of_the_activation() -> None:
    values = features(1, 16, 2, 2)
    replaced = module(16, replace_relu=True)
    torch.testing.assert_close(replaced(values), values * replaced.mask(values))
    assert bool((replaced(values) < 0).any())


def test_the_gradient_of_the_features_is_the_mask() -> None:
    values = features(1, 32, 3, 3).requires_grad_()
    unit = module(32, nn.Identity())
    (gradient,) = torch.autograd.grad(unit(values).sum(), values)
    assert torch.equal(gradient, unit.mask(values))


@pytest.mark.parametrize("rank", ["descending", "ascending", "magnitude"])
def test_channels_may_be_permuted_and_positions_do_not_meet(rank: Any) -> None:
    values, unit = features(1, 24, 4, 4), module(24, rank=rank)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    assert torch.equal(unit(values[:, order]), unit(values)[:, order])
    other = values.clone()
    other[:, :, 0, 0] += 5 * features(1, 24, seed=2)
    assert torch.equal(unit(other)[:, :, 1:], unit(values)[:, :, 1:])


def test_without_a_mask_it_is_the_plain_network() -> None:
    plain = ResNet().build(BackboneSpec("demo_net", "none").build()).eval()
    own = net(mask="none", pns=False)
    own.load_state_dict(
        {
            key: plain.state_dict()[key.replace(".act.activation", ".act")]
            for key in own.state_dict()
        }
    )
    assert torch.equal(own(images()), plain(images()))


def test_the_sites_are_those_of_the_method() -> None:
    counts = {}
    backbone = BackboneSpec("resnet50", "none").build()
    choices: tuple[Any, ...] = ("last", "late", "post-add", "all")
    for sites in choices:
        counts[sites] = len(CPRL(sites=sites).places(backbone))
    assert counts == {"last": 3, "late": 9, "post-add": 16, "all": 49}
    mobile = BackboneSpec("mobilenet_v2", "none").build()
    assert {s.stage for s in CPRL(sites="late").places(mobile)} == {3, 4}
    with pytest.raises(IncompatibleError, match="has no such activation"):
        CPRL(sites="post-add").places(mobile)


@pytest.mark.parametrize("members", [{"b": -0.1}, {"b": 0.51}, {"weight": -1.0}])
def test_parameters_outside_their_range_are_refused(members: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        CPRL(**members)  # type: ignore[arg-type]


class Nothing(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return torch.zeros_like(values)


def zeroed(unit: ChannelActivation) -> ChannelActivation:
    """The spectral norm scales any weight but zero to norm one, so the FCs are replaced."""
    unit.phi = unit.xi = Nothing()  # type: ignore[assignment]
    return unit


def test_eq_13_with_interventions_that_give_nothing() -> None:
    values = features(2, 16, 3, 3)
    unit = zeroed(module(16, nn.Identity()))
    mask = unit.mask(values)
    with unit.switch.set(part="sufficient"):
        torch.testing.assert_close(unit(values), values * mask)
    with unit.switch.set(part="necessary"):
        torch.testing.assert_close(unit(values), values * (1 - mask))
    literal = zeroed(module(16, nn.Identity(), eq13="literal"))
    with literal.switch.set(part="necessary"):  # so xi's worst case is to do nothing
        torch.testing.assert_close(literal(values), values * mask)


def test_sufficiency_leaves_the_kept_part_and_necessity_the_rest() -> None:
    values = features(2, 64, 3, 3)
    unit = module(64, nn.Identity(), b=0.2)
    mask = unit.mask(values)
    with unit.switch.set(part="sufficient"):
        same = torch.isclose(unit(values), values, atol=1e-4)
    assert bool(same[mask > 0.9999].all())
    with unit.switch.set(part="necessary"):
        same = torch.isclose(unit(values), values, atol=1e-4)
    assert bool(same[mask < 1e-5].all())


class Game:
    """A network with its players and their optimizers, stepped as the harness steps."""

    def __init__(self, **members: Any) -> None:
        self.method = CPRL(**members)
        self.net = net(**members)
        self.net.train()
        self.players = self.method.players(self.net)
        self.optimizers = {
            name: torch.optim.Adam(player.parameters, lr=1e-3)
            for name, player in self.players.items()
        }

    def steps(self, number: int) -> Iterator[tuple[str, Tensor]]:
        for loss, name in self.method.train_step(self.net, batch(), TrainState(0, number, 1, 9)):
            parameters = list(self.players[name].parameters)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            self.optimizers[name].step()
            yield name, loss.detach()

    def frozen(self, name: str) -> list[Tensor]:
        return [p.detach().clone() for p in self.players[name].parameters]


@pytest.mark.parametrize(("turn", "moves"), [(0, 1), (1, 3), (2, 3)])
def test_each_step_moves_its_own_player_alone(turn: int, moves: int) -> None:
    game, made = Game(), []
    other = {NETWORK: INTERVENTION, INTERVENTION: NETWORK}
    before = {name: game.frozen(name) for name in game.players}
    for name, _ in game.steps(turn):
        made.append(name)
        after = {n: game.frozen(n) for n in game.players}
        assert all(map(torch.equal, before[other[name]], after[other[name]]))
        assert not all(map(torch.equal, before[name], after[name]))
        before = after
    assert made == [NETWORK, INTERVENTION, NETWORK][:moves]


def test_without_the_game_there_is_one_player_and_one_step() -> None:
    game = Game(pns=False)
    assert [name for name, _ in game.steps(1)] == [NETWORK]
    assert list(game.players) == [NETWORK]
    assert game.net.interventions() == []


@pytest.mark.parametrize(("turn", "part", "sign"), [(1, "sufficient", 1), (2, "necessary", -1)])
def test_the_intervention_makes_its_term_worse_and_the_network_makes_it_better(
    turn: int, part: Any, sign: int
) -> None:
    game = Game(weight=100.0, b=0.2)
    for norm in (m for m in game.net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 0.0  # its statistics follow the images, not the steps
    with torch.no_grad():
        game.net.head.weight.mul_(20)

    def term() -> float:
        with torch.no_grad(), game.net.settled():
            plain = game.net(batch().images)
            with game.net.switch.set(part=part):
                return sign * float((game.net(batch().images) - plain).square().mean())

    values = []
    for name, _ in game.steps(turn):
        values.append((name, term()))
    (_, start), (_, attacked), (_, defended) = values
    assert attacked > start
    assert defended < attacked


def test_the_spectral_norm_of_every_intervention_stays_below_one() -> None:
    game = Game()
    for number in range(12):
        list(game.steps(number))
    for intervention in game.net.interventions():
        weight = torch.empty(0)
        for _ in range(30):
            with intervention.iterating():
                weight = intervention.conv.weight.detach().flatten(1)
        assert float(torch.linalg.matrix_norm(weight, 2)) <= 1.01


def test_intervened_passes_leave_the_running_statistics_alone() -> None:
    game = Game()
    list(game.steps(0))
    norms = [m for m in game.net.modules() if isinstance(m, nn.BatchNorm2d)]
    counted = [int(m.num_batches_tracked) for m in norms]  # type: ignore[arg-type]
    list(game.steps(1))
    assert [int(m.num_batches_tracked) - c for m, c in zip(norms, counted, strict=True)] == (  # type: ignore[arg-type]
        [2] * len(norms)  # the base step and line 6, not the intervened passes
    )
    assert all(m.training for m in norms)


def test_b_is_learnt_on_request_and_stays_in_its_range() -> None:
    learning = module(32, learn_b=True)
    (gradient,) = torch.autograd.grad(learning(features(1, 32, 4, 4)).sum(), learning.b)
    assert float(gradient) != 0
    with torch.no_grad():
        learning.b.fill_(7.0)
    at_most = module(32, b=0.5)
    values = features(1, 32, 2, 2)
    assert torch.equal(learning.mask(values), at_most.mask(values))
    assert [n for n, _ in module(32).named_parameters() if n == "b"] == []


def test_a_random_mask_differs_between_draws_and_needs_noise() -> None:
    random = net(mask="random")
    assert random.stochastic
    noise = Noise(0, tuple("abcd"))
    assert torch.equal(random(images(), noise), random(images(), noise))
    assert not torch.equal(random(images(), noise), random(images(), noise.for_draw(1)))
    with pytest.raises(ValueError, match="needs noise"):
        random(images())


def test_a_frozen_mask_does_not_depend_on_the_image() -> None:
    unit = module(16, mask="frozen").train()
    for number in range(40):
        unit(features(4, 16, 3, 3, seed=number) + torch.arange(16).view(1, 16, 1, 1))
    unit.eval()
    masks = [unit.mask(features(1, 16, 3, 3, seed=s)) for s in (50, 51)]
    assert torch.equal(*masks)
    expected = module(16).mask(torch.arange(16.0).view(1, 16, 1, 1))
    assert torch.equal(masks[0], expected)


def gradient(regressor: Regressor, pixels: Tensor, noise: Noise) -> Tensor:
    pixels = pixels.clone().requires_grad_()
    (found,) = torch.autograd.grad(regressor.logit(pixels, noise).sum(), pixels)
    return found


def test_surrogates_share_the_weights_and_leave_the_network_as_it_was() -> None:
    own, noise = net(sites="all"), Noise(0, tuple("abcd"))
    before = own(images())
    routes = own.surrogates()
    assert set(routes) == {"mask_frozen", "mask_removed", "soft_rank"}
    gradients = {name: gradient(route, images(), noise) for name, route in routes.items()}
    assert torch.equal(own(images()), before)
    assert torch.equal(gradients["mask_frozen"], gradient(own, images(), noise))
    assert not torch.equal(gradients["mask_removed"], gradients["mask_frozen"])
    assert not torch.equal(gradients["soft_rank"], gradients["mask_frozen"])
    with torch.no_grad():
        own.head.bias.add_(1)
    moved = routes["mask_removed"].logit(images(), noise)
    plain = copy.deepcopy(own)
    with plain.switch.set(masking="removed"):
        assert torch.equal(moved, plain.logit(images()))


def test_a_frozen_route_keeps_the_mask_of_the_first_look_until_other_images_come() -> None:
    own = net(sites="all")
    route = own.surrogates()["mask_frozen"]
    first, noise = images(), Noise(0, tuple("abcd"))
    other = (first + 0.2).clamp(0, 1)
    at_first = route.logit(first, noise)
    assert torch.equal(at_first, own.logit(first))
    assert not torch.equal(route.logit(other, noise), own.logit(other))
    assert torch.equal(route.logit(first, noise), at_first)
    again = Noise(0, tuple("efgh"))
    assert torch.equal(route.logit(other, again), own.logit(other))


@pytest.mark.parametrize("rank", ["descending", "ascending", "magnitude"])
def test_soft_ranks_rise_and_fall_with_the_ranks(rank: Any) -> None:
    values = features(1, 200, 1, 1)
    hard, soft = ranks(values, rank).flatten(), soft_ranks(values, rank).flatten()
    order = hard.argsort()
    assert bool((soft[order].diff() >= 0).all())
    assert float((hard - soft).abs().max()) < 20
    values.requires_grad_()
    (slope,) = torch.autograd.grad(soft_ranks(values, rank)[0, 0].sum(), values)
    assert float(slope[0, 0].abs()) > 0


@pytest.mark.parametrize(
    "members",
    [{}, {"pns": False, "mask": "random"}, {"mask": "frozen"}, {"learn_b": True, "pns": False}],
    ids=str,
)
def test_it_keeps_the_contract(members: dict[str, Any]) -> None:
    check_defense(CPRL(**members))
