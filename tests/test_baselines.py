"""The paper's baselines: DBCNN, NIMA, LWTA, feature denoising, smooth activations."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from support import grid_images, noise_for
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.api import (
    NETWORK,
    Batch,
    Defense,
    LocalFilter,
    Regressor,
    TrainState,
    local_filter,
    scnn_features,
)
from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.defenses import denoise
from iqabench.defenses.dbcnn import DBCNN, DBCNNNet, bilinear
from iqabench.defenses.denoise import Denoise, Denoising, NonLocal, attend, dot_product
from iqabench.defenses.lwta import LWTA, LWTANet, Race, WinnerTakesAll
from iqabench.defenses.nima import NIMA, NIMANet, centres, emd, maximum_entropy
from iqabench.defenses.sat import SAT, Smooth
from iqabench.errors import IncompatibleError, ParamError, WeightsError
from iqabench.testing import check_defense

IMAGES = grid_images(size=32)
MOS = torch.tensor([0.9, 0.1, 0.7, 0.5, 0.2, 0.8])
BATCH = Batch(IMAGES, MOS, noise_for(IMAGES))
STATE = TrainState(0, 0, 1, 1)


def net(spec: str, backbone: str = "demo_net") -> Regressor:
    torch.manual_seed(0)
    return Chain.parse(spec).build(BackboneSpec(backbone, "none").build()).eval()


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "method",
    [
        DBCNN(),
        LWTA(),
        LWTA(rule="averaged", samples=2),
        Denoise(),
        NIMA(),
        NIMA(head="emd", bins=5),
        SAT(),
    ],
    ids=str,
)
def test_the_contract_is_kept(method: Defense) -> None:
    check_defense(method)


class TestSmooth:
    @pytest.mark.parametrize("kind", ["smooth_relu", "softplus"])
    def test_it_becomes_relu(self, kind: str) -> None:
        x = torch.linspace(-3, 3, 601, dtype=torch.float64)
        off = [
            float((Smooth(kind, alpha, learned=False)(x) - x.relu()).abs().max())
            for alpha in (1e2, 1e4, 1e6)
        ]
        assert off[0] > off[1] > off[2]
        assert off[2] < 2e-5

    @pytest.mark.parametrize("kind", ["smooth_relu", "softplus"])
    def test_its_derivative_is_continuous(self, kind: str) -> None:
        x = torch.tensor([-1e-9, 0.0, 1e-9], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(Smooth(kind, 10.0, learned=False)(x).sum(), x)
        assert float(slope.max() - slope.min()) < 1e-6

    def test_smooth_relu_is_the_papers_equation(self) -> None:
        x = torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64)
        expected = [0.0, 0.5 - math.log(6) / 10, 3 - math.log(31) / 10]
        assert Smooth("smooth_relu", 10.0, learned=False)(x).tolist() == pytest.approx(expected)

    def test_a_learned_sharpness_is_trained_and_stays_positive(self) -> None:
        spec = "sat:activation=smooth_relu,learn_alpha=true"
        roots = [n for n, _ in net(spec).named_parameters() if n.endswith("root")]
        assert len(roots) == len(BackboneSpec("demo_net", "none").build().sites)
        assert not [n for n, _ in net("sat:activation=softplus").named_parameters() if "root" in n]

    def test_every_activation_is_replaced(self) -> None:
        for spec, kind in (("sat", nn.SiLU), ("sat:activation=softplus", Smooth)):
            modules = list(net(spec, "mobilenet_v2").modules())
            assert sum(isinstance(m, kind) for m in modules) == 35
            assert not [m for m in modules if isinstance(m, nn.ReLU6)]

    def test_a_sharpness_that_nothing_has_is_refused(self) -> None:
        with pytest.raises(ParamError, match="silu has no alpha"):
            Chain.parse("sat:alpha=3")


class TestDenoise:
    @pytest.mark.parametrize("kind", ["softmax", "dot", "mean", "median", "gauss"])
    def test_a_block_is_the_identity_at_first_and_not_later(self, kind: denoise.Filter) -> None:
        x = features(2, 6, 5, 4)
        block = Denoising(6, kind).eval()
        assert torch.equal(block(x), x)
        nn.init.ones_(block.norm.weight)
        assert not torch.allclose(block(x), x)

    @pytest.mark.parametrize("kind", ["softmax", "dot", "mean", "median", "gauss"])
    def test_a_fresh_network_is_the_undefended_one(self, kind: str) -> None:
        defended, plain = net(f"denoise:filter={kind}"), net("resnet")
        state = defended.state_dict()
        assert set(plain.state_dict()) < set(state)
        plain.load_state_dict({k: state[k] for k in plain.state_dict()})
        assert torch.equal(defended.logit(IMAGES), plain.logit(IMAGES))

    def test_weights_of_the_non_local_block_sum_to_one(self) -> None:
        flat = features(2, 7, 3)
        ones = torch.ones(2, 7, 1)
        assert torch.allclose(attend(flat, flat, ones), ones)
        one = NonLocal(4)
        x = features(1, 4, 3, 3)
        queries = one.theta(x).flatten(2)[0].T
        keys = one.phi(x).flatten(2)[0].T
        weights = torch.softmax(queries @ keys.T / math.sqrt(2), dim=1)
        expected = (weights @ x.flatten(2)[0].T).T.reshape(x.shape)
        assert torch.allclose(one(x), expected, atol=1e-6)

    def test_attention_in_parts_is_the_same_with_its_gradient(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parts = [features(2, 9, 4, seed=s).requires_grad_() for s in range(3)]
        found = []
        for limit in (10**9, 2 * 9 * 2, 1):
            monkeypatch.setattr(denoise, "WEIGHTS", limit)
            out = attend(*parts)
            found.append([out, *torch.autograd.grad(out.square().sum(), parts)])
        for other in found[1:]:
            assert all(
                torch.allclose(a, b, atol=1e-5) for a, b in zip(found[0], other, strict=True)
            )

    @pytest.mark.parametrize("shape", [(2, 3, 5, 4), (2, 30, 2, 3)])
    def test_the_dot_product_is_the_same_in_both_orders(self, shape: tuple[int, ...]) -> None:
        x = features(*shape)
        flat = x.flatten(2)
        pairs = torch.einsum("nci,ncj->nij", flat, flat)
        expected = torch.einsum("nij,ncj->nci", pairs, flat) / flat.shape[2]
        assert torch.allclose(dot_product(x).flatten(2), expected, atol=1e-5)

    @pytest.mark.parametrize("kind", ["mean", "median", "gauss"])
    def test_a_local_filter_keeps_constants_and_looks_one_position_far(
        self, kind: LocalFilter
    ) -> None:
        assert torch.allclose(local_filter(torch.full((1, 2, 5, 5), 3.0), kind), torch.tensor(3.0))
        spike = torch.zeros(1, 1, 7, 7)
        spike[0, 0, 3, 3] = 1.0
        found = local_filter(spike, kind)[0, 0]
        assert (found[:2] == 0).all()
        middle, beside = float(found[3, 3]), float(found[3, 4])
        expected = {"mean": 1 / 9, "median": 0.0, "gauss": middle * math.exp(-1 / (2 * 0.8**2))}
        assert beside == pytest.approx(expected[kind])

    def test_blocks_stand_after_the_last_four_stages(self) -> None:
        count = sum(isinstance(m, Denoising) for m in net("denoise", "mobilenet_v2").modules())
        assert count == 4


class TestDBCNN:
    def test_the_bilinear_vector_is_the_mean_outer_product_rooted_and_of_unit_length(self) -> None:
        u, v = features(2, 5, 4, 3).relu(), features(2, 7, 4, 3, seed=1).relu()
        found = bilinear(u, v)
        product = torch.einsum("ncij,ndij->ncd", u, v) / 12
        assert found.shape == (2, 35)
        assert torch.allclose(found.norm(dim=1), torch.ones(2))
        expected = F.normalize((product + 1e-8).sqrt().flatten(1), dim=1)
        assert torch.allclose(found, expected, atol=1e-6)

    def test_negative_products_keep_their_sign(self) -> None:
        u, v = -torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
        assert float(bilinear(u, v)) == pytest.approx(-1)
        grad = torch.zeros(1, 2, 2, 2, requires_grad=True)
        (slope,) = torch.autograd.grad(bilinear(grad, features(1, 3, 2, 2)).sum(), grad)
        assert slope.isfinite().all()

    def test_on_vgg16_it_has_the_published_size(self) -> None:
        regressor = net("dbcnn", "vgg16")
        assert isinstance(regressor, DBCNNNet)
        assert regressor.head.in_features == 65_536
        images = grid_images(1, 64)
        assert regressor.backbone(images).shape == (1, 512, 4, 4)
        assert regressor.scnn(images).shape == (1, 128, 4, 4)

    @pytest.mark.parametrize(
        ("training", "epoch", "whole"),
        [("two_stage", 1, False), ("two_stage", 2, True), ("single_stage", 0, True)],
    )
    def test_the_linear_unit_learns_first_and_then_everything(
        self, training: Literal["two_stage", "single_stage"], epoch: int, whole: bool
    ) -> None:
        method = DBCNN(training=training)
        regressor = method.build(BackboneSpec("demo_net", "none").build()).train()
        [(loss, player)] = list(method.train_step(regressor, BATCH, TrainState(epoch, epoch, 5, 5)))
        assert player == NETWORK
        names, parameters = zip(*regressor.named_parameters(), strict=True)
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        learn = {name for name, g in zip(names, found, strict=True) if g is not None}
        assert learn == (set(names) if whole else {"head.weight", "head.bias"})
        with torch.no_grad():
            expected = F.mse_loss(regressor(IMAGES), MOS)
        assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-4)

    def test_weights_of_the_second_branch_come_from_a_file(self, tmp_path: Path) -> None:
        torch.manual_seed(5)
        source = scnn_features()
        path = tmp_path / "scnn.pkl"
        published = {f"module.features.{k}": v for k, v in source.state_dict().items()}
        torch.save(published | {"module.classifier.weight": torch.zeros(39, 256)}, path)
        regressor = net(f"dbcnn:scnn={path}")
        assert isinstance(regressor, DBCNNNet)
        for key, value in source.state_dict().items():
            assert torch.equal(regressor.scnn.state_dict()[key], value)
        assert Chain.parse(f"dbcnn:scnn={path}").identities != Chain.parse("dbcnn").identities
        before = Chain.parse(f"dbcnn:scnn={path}").identities
        torch.save(published | {"module.classifier.weight": torch.ones(39, 256)}, path)
        assert Chain.parse(f"dbcnn:scnn={path}").identities != before

    def test_a_file_that_is_not_there_or_of_another_network_is_refused(
        self, tmp_path: Path
    ) -> None:
        with pytest.raises(WeightsError, match="No such file"):
            Chain.parse(f"dbcnn:scnn={tmp_path / 'none.pth'}")
        torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
        with pytest.raises(WeightsError, match="is it another network"):
            net(f"dbcnn:scnn={tmp_path / 'other.pth'}")


class TestNIMA:
    @pytest.mark.parametrize("bins", [5, 10])
    def test_the_target_has_the_mean_and_the_spread_that_were_asked_for(self, bins: int) -> None:
        mean = torch.tensor([0.05, 0.3, 0.5, 0.777, 0.95])
        spread = torch.tensor([0.15, 0.2, 0.25, 0.15, 0.15])
        law = maximum_entropy(mean, spread, bins)
        c = centres(bins)
        assert torch.allclose(law.sum(1), torch.ones(5, dtype=torch.float64))
        assert torch.allclose(law @ c, mean.double(), atol=1e-6)
        variance = law @ c.square() - (law @ c).square()
        assert torch.allclose(variance.sqrt(), spread.double(), atol=1e-5)

    def test_its_entropy_is_the_largest(self) -> None:
        law = maximum_entropy(torch.tensor([0.4]), torch.tensor([0.2]), 5)[0]
        c = centres(5)
        # Moves that keep sum, mean and variance.
        moves = torch.linalg.svd(torch.stack([c**0, c, c**2])).Vh[3:]

        def entropy(p: Tensor) -> float:
            return float(-(p * p.log()).sum())

        for move in moves:
            for size in (1e-3, -1e-3):
                assert entropy(law + size * move) < entropy(law)

    def test_a_spread_that_bins_cannot_have_is_raised_and_an_unknown_one_is_the_sos_rule(
        self,
    ) -> None:
        c, mean = centres(5), torch.tensor([0.375, 0.02, 0.98, 0.6])
        law = maximum_entropy(mean, torch.tensor([0.01, math.nan, math.nan, math.nan]), 5)
        assert torch.allclose(law @ c, mean.double(), atol=1e-6)
        variance = float(law[3] @ c.square() - (law[3] @ c).square())
        assert variance == pytest.approx(0.2 * 0.6 * 0.4, rel=1e-4)
        outside = maximum_entropy(torch.tensor([0.0, 1.0]), torch.full((2,), math.nan), 10)
        assert outside.isfinite().all()

    def test_the_distance_of_a_distribution_and_of_mass_moved_by_a_bin(self) -> None:
        eye = torch.eye(10)
        assert float(emd(eye[:1], eye[:1])) == pytest.approx(0, abs=1e-5)
        assert float(emd(eye[3:4], eye[4:5])) == pytest.approx(math.sqrt(1 / 10))
        assert float(emd(eye[:1], eye[9:])) == pytest.approx(math.sqrt(9 / 10))

    def test_the_score_is_the_mean_of_the_distribution(self) -> None:
        regressor = net("nima:head=emd,bins=5")
        assert isinstance(regressor, NIMANet)
        law = torch.softmax(regressor.outputs(IMAGES), 1)
        assert torch.allclose(regressor(IMAGES), law @ centres(5).float(), atol=1e-6)
        assert {k for k in regressor.state_dict() if k.startswith("head")} == {
            "head.weight",
            "head.bias",
        }

    def test_real_answers_are_the_target_where_the_bins_fit(self) -> None:
        answers = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
        answers = answers / answers.sum(1, keepdim=True)
        batch = replace(BATCH, opinions=answers, spread=torch.full((6,), 0.25))
        assert torch.equal(NIMA(head="emd", bins=5).targets(batch), answers)
        c = centres(10)
        made = NIMA(head="emd", bins=10).targets(batch)
        assert torch.allclose(made @ c, MOS.double(), atol=1e-6)
        variance = made @ c.square() - (made @ c).square()
        assert float(variance[2].sqrt()) == pytest.approx(0.25, abs=1e-4)

    def test_the_loss_of_the_distribution_falls_to_nothing_at_the_target(self) -> None:
        method = NIMA(head="emd", bins=5, dropout=0.0)
        torch.manual_seed(0)
        regressor = method.build(BackboneSpec("demo_net", "none").build())
        assert isinstance(regressor, NIMANet)
        target = method.targets(BATCH)[:1]
        regressor.head.weight.data.zero_()  # type: ignore[operator]
        regressor.head.bias.data.copy_(target[0].log())  # type: ignore[operator]
        one = Batch(IMAGES[:1], MOS[:1], noise_for(IMAGES[:1]))
        [(loss, _)] = list(method.train_step(regressor.train(), one, STATE))
        assert float(loss.detach()) == pytest.approx(0, abs=1e-5)


class TestLWTA:
    def law(self, temperature: float, units: int = 2, draws: int = 4000) -> tuple[Tensor, Tensor]:
        x = features(1, 2 * units, 1, 1)
        race = Race()
        module = WinnerTakesAll(units, "here", race).eval()
        noise = noise_for(x)
        found = []
        for draw in range(draws):
            with race.run(noise.for_draw(draw), temperature):
                found.append(module(x))
        shares = torch.stack(found) / x
        blocks = x.reshape(1, -1, units, 1, 1)
        return shares.flatten(1), torch.softmax(blocks, 2).flatten()

    def test_one_unit_of_a_block_wins_as_the_temperature_falls(self) -> None:
        shares, _ = self.law(1e-6, units=3, draws=50)
        blocks = shares.reshape(len(shares), -1, 3)
        assert torch.allclose(blocks.max(2).values, torch.tensor(1.0), atol=1e-4)
        assert torch.allclose(blocks.sum(2), torch.tensor(1.0), atol=1e-4)

    def test_the_winner_is_drawn_by_the_softmax_of_the_responses(self) -> None:
        shares, law = self.law(0.01)
        assert torch.allclose(shares.mean(0), law, atol=4 * 0.5 / math.sqrt(4000))

    def test_the_winner_passes_its_linear_value_also_a_negative_one(self) -> None:
        x = torch.tensor([-1.0, -30.0]).reshape(1, 2, 1, 1)
        race = Race(noise=noise_for(x), temperature=0.01)
        out = WinnerTakesAll(2, "here", race).eval()(x)
        assert out.flatten().tolist() == pytest.approx([-1.0, 0.0], abs=1e-6)

    @pytest.mark.parametrize(("scale", "expected"), [(0.0, 0.0), (1e3, math.log(2))])
    def test_the_divergence_lies_between_nothing_and_log_u(
        self, scale: float, expected: float
    ) -> None:
        race = Race()
        module = WinnerTakesAll(2, "here", race).train()
        module(scale * features(2, 8, 3, 3))
        assert float(race.divergences[0]) == pytest.approx(expected, abs=1e-2)

    def test_draws_differ_and_the_same_noise_gives_the_same(self) -> None:
        regressor, noise = net("lwta"), noise_for(IMAGES)
        assert regressor.stochastic
        assert torch.equal(regressor.logit(IMAGES, noise), regressor.logit(IMAGES, noise))
        assert not torch.equal(
            regressor.logit(IMAGES, noise), regressor.logit(IMAGES, noise.for_draw(1))
        )
        with pytest.raises(ValueError, match="needs noise"):
            regressor.logit(IMAGES)

    def test_an_average_varies_less_than_a_sample(self) -> None:
        noise = noise_for(IMAGES)

        def spread(spec: str) -> float:
            regressor = net(spec)
            with torch.no_grad():
                draws = [regressor.logit(IMAGES, noise.for_draw(d)) for d in range(24)]
            return float(torch.stack(draws).std(0).mean())

        ratio = spread("lwta") / spread("lwta:rule=averaged,samples=16")
        assert 2.5 < ratio < 6  # sqrt(16) = 4

    def test_the_mean_field_is_deterministic_and_a_route_of_the_others(self) -> None:
        mean = net("lwta:rule=mean_field")
        assert not mean.stochastic
        routes = net("lwta").surrogates()
        assert set(routes) == {"mean_field", "warm"}
        assert torch.equal(routes["mean_field"].logit(IMAGES), mean.logit(IMAGES))
        assert routes["warm"].stochastic
        assert set(mean.surrogates()) == {"mean_field"}

    def test_the_loss_has_the_divergence_in_it(self) -> None:
        found, divergence = {}, 0.0
        for weight in (0.0, 0.5):
            method = LWTA(kl_weight=weight)
            torch.manual_seed(0)
            regressor = method.build(BackboneSpec("demo_net", "none").build()).train()
            assert isinstance(regressor, LWTANet)
            [(loss, player)] = list(method.train_step(regressor, BATCH, STATE))
            assert player == NETWORK
            found[weight] = float(loss.detach())
            divergence = float(torch.stack(regressor.race.divergences).mean().detach())
        assert found[0.5] - found[0.0] == pytest.approx(0.5 * divergence, rel=1e-4)

    def test_blocks_must_fit_the_channels(self) -> None:
        with pytest.raises(IncompatibleError, match="units=7 does not divide"):
            net("lwta:units=7")
