"""The paper's baselines that change layers: LWTA, feature denoising, smooth activations."""

from __future__ import annotations

import math

import pytest
import torch
from baseline_nets import BATCH, IMAGES, STATE, features, net
from support import noise_for
from torch import Tensor, nn

from iqabench.api import NETWORK, Defense, LocalFilter, local_filter
from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.defenses import denoise
from iqabench.defenses.denoise import Denoise, Denoising, NonLocal, attend, dot_product
from iqabench.defenses.lwta import LWTA, LWTANet, Race, WinnerTakesAll
from iqabench.defenses.sat import SAT, Smooth
from iqabench.errors import IncompatibleError, ParamError
from iqabench.testing import check_defense


@pytest.mark.parametrize(
    "method",
    [
        LWTA(),
        LWTA(rule="averaged", samples=2),
        Denoise(),
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
