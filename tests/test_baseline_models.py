"""The paper's baselines that are IQA models of their own: DBCNN and NIMA."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from baseline_nets import BATCH, IMAGES, MOS, STATE, features, net
from support import grid_images, noise_for
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.api import NETWORK, Batch, Defense, TrainState, scnn_features
from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.defenses.dbcnn import DBCNN, DBCNNNet, bilinear
from iqabench.defenses.nima import NIMA, NIMANet, centres, emd, maximum_entropy
from iqabench.errors import WeightsError
from iqabench.testing import check_defense


@pytest.mark.parametrize(
    "method",
    [
        DBCNN(),
        NIMA(),
        NIMA(head="emd", bins=5),
    ],
    ids=str,
)
def test_the_contract_is_kept(method: Defense) -> None:
    check_defense(method)


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
