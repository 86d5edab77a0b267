"""k-WTA, the gradient-norm penalty, TRADES, and training on noisy images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support import Linear, grid_images, noise_for
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.api import NETWORK, Batch, Noise, Regressor, Step, TrainState, pixel_gradient
from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.defenses.kwta import KWTA, Winners
from iqabench.defenses.noise_augmentation import NoiseAugmentation
from iqabench.defenses.nt import NormTraining
from iqabench.defenses.trades import TRADES
from iqabench.errors import ParamError

IMAGES = grid_images()
MOS = torch.tensor([0.9, 0.1, 0.7, 0.5, 0.2, 0.8])
BATCH = Batch(IMAGES, MOS, noise_for(IMAGES))
STATE = TrainState(0, 0, 1, 1)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 1.0])
def test_exactly_k_values_survive(share: float) -> None:
    features = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    volume = Winners(share, "volume", nn.ReLU())(features)
    assert ((volume != 0).flatten(1).sum(1) == int(share * 120)).all()
    channel = Winners(share, "channel", nn.ReLU())(features)
    assert ((channel != 0).flatten(2).sum(2) == max(1, int(share * 30))).all()
    kept = volume[0][volume[0] != 0]
    lost = features[0][volume[0] == 0]
    assert not len(lost) or kept.min() > lost.max()
    assert torch.equal(kept, features[0][volume[0] != 0])


def test_the_surrogate_of_kwta_is_the_network_with_its_old_activations() -> None:
    torch.manual_seed(0)
    plain = Chain.parse("resnet").build(BackboneSpec("demo_net", "none").build()).eval()
    masked = KWTA(share=0.1).build(BackboneSpec("demo_net", "none").build()).eval()
    masked.load_state_dict(plain.state_dict())
    images = grid_images(size=32)
    assert not torch.allclose(masked.logit(images), plain.logit(images))
    [through] = masked.surrogates().values()
    assert torch.equal(through.logit(images), plain.logit(images))
    assert not torch.allclose(masked.logit(images), plain.logit(images))  # closed again


def test_the_places_of_kwta() -> None:
    def count(sites: Any) -> int:
        net = KWTA(sites=sites).build(BackboneSpec("mobilenet_v2", "none").build())
        return sum(isinstance(m, Winners) for m in net.modules())

    assert 0 < count("last") < count("late") < count("all") == 35


def inner(batch: Batch, state: TrainState) -> Iterator[tuple[Tensor, str]]:
    yield (batch.images.mean() + batch.mos.mean()).requires_grad_(), NETWORK
    yield torch.tensor(5.0, requires_grad=True), "other"


def losses(step: Step) -> dict[str, float]:
    return {player: float(loss.detach()) for loss, player in step}


class Scored(Linear):
    def squash(self, logits: Tensor) -> Tensor:
        return logits


def test_the_penalty_is_half_the_squared_l1_norm_of_a_linear_score() -> None:
    regressor: Regressor = Scored()
    before = losses(inner(BATCH, STATE))
    found = losses(NormTraining(weight=0.3).train_step(inner, regressor, BATCH, STATE))
    norm = float(Linear().weight.abs().sum())
    assert found[NETWORK] - before[NETWORK] == pytest.approx(0.3 * norm**2 / 2, rel=1e-3)
    assert found["other"] == before["other"]


def test_descending_the_penalty_shrinks_the_gradient() -> None:
    torch.manual_seed(0)
    regressor = Chain.parse("resnet").build(BackboneSpec("demo_net", "none").build()).eval()
    images = grid_images(size=32)
    batch = Batch(images, MOS, noise_for(images))

    def nothing(batch: Batch, state: TrainState) -> Step:
        yield F.mse_loss(regressor(batch.images), batch.mos) * 0, NETWORK

    def norm() -> float:
        _, gradient = pixel_gradient(score, regressor, images, batch.noise)
        return float(gradient.abs().sum())

    def score(model: Regressor, x: Tensor, n: Noise) -> Tensor:
        return model(x, n)  # type: ignore[no-any-return]

    before = norm()
    optimizer = torch.optim.Adam(regressor.parameters(), lr=1e-3)
    for _ in range(5):
        for loss, _ in NormTraining(weight=1.0).train_step(nothing, regressor, batch, STATE):
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    assert norm() < 0.98 * before


def test_trades_adds_what_the_score_moves_at_most() -> None:
    before = losses(inner(BATCH, STATE))
    method = TRADES(beta=2.0, eps_255=4, steps=3, step=1.0)
    found = losses(method.train_step(inner, Linear(), BATCH, STATE))
    regressor = Linear()
    reach = 4 / 255 * float(regressor.weight.abs().sum())
    logits = regressor.logit(IMAGES)
    # The inner steps climb the logit: up or down alike on a linear one, wherever the start leads.
    moved = torch.stack([(logits + s * reach).sigmoid() - logits.sigmoid() for s in (1, -1)])
    low, high = (float(x.mean()) for x in (moved.square().amin(0), moved.square().amax(0)))
    assert 2 * low - 1e-6 <= found[NETWORK] - before[NETWORK] <= 2 * high + 1e-6
    assert found["other"] == before["other"]


def test_trades_makes_scores_stay() -> None:
    torch.manual_seed(0)
    regressor = Chain.parse("resnet").build(BackboneSpec("demo_net", "none").build()).eval()
    images = grid_images(size=32)
    batch = Batch(images, MOS, noise_for(images))
    method = TRADES(beta=1.0, eps_255=8, steps=2)

    def nothing(batch: Batch, state: TrainState) -> Step:
        yield F.mse_loss(regressor(batch.images), batch.mos) * 0, NETWORK

    optimizer = torch.optim.Adam(regressor.parameters(), lr=1e-3)
    seen = []
    for _ in range(6):
        for loss, _ in method.train_step(nothing, regressor, batch, STATE):
            seen.append(float(loss.detach()))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    assert seen[-1] < 0.9 * seen[0]


def test_noise_augmentation_shows_noisy_images_and_the_same_ones_again() -> None:
    seen: list[Batch] = []

    def watch(batch: Batch, state: TrainState) -> Step:
        seen.append(batch)
        yield batch.mos.sum(), NETWORK

    for sigma in (4.0, 4.0, 0.0):
        list(NoiseAugmentation(sigma_255=sigma).train_step(watch, Linear(), BATCH, STATE))
    assert torch.equal(seen[0].images, seen[1].images)
    assert torch.equal(seen[2].images, IMAGES)
    assert float((seen[0].images - IMAGES).std()) * 255 == pytest.approx(4, rel=0.1)
    assert torch.equal(seen[0].mos, MOS)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("kwta:share=0", "share"),
        ("kwta:share=2", "share"),
        ("trades:beta=-1+resnet", "beta"),
        ("trades:steps=0+resnet", "steps"),
        ("nt:weight=-1+resnet", "weight"),
        ("nt:h_255=0+resnet", "h_255"),
        ("noise_augmentation:sigma_255=-1+resnet", "sigma_255"),
    ],
)
def test_wrong_parameters_are_named(text: str, word: str) -> None:
    with pytest.raises(ParamError, match=word):
        Chain.parse(text)
