"""Metrics of pyiqa, with a stand-in: the package is large, and its weights are downloaded."""

from __future__ import annotations

import json
from importlib import metadata

import pytest
import torch
from conftest import InstallPlugin
from support import Workplace, grid_images

from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.defenses.pyiqa_bridge import OFFERED, PyIQA
from iqabench.errors import IncompatibleError, MissingExtraError, ParamError
from iqabench.results import find_cells, read_cell
from iqabench.seeding import lent_rng
from iqabench.testing import check_defense

STAND_IN = '''
"""What create_metric gives: values on the metric's own scale, gradients only with as_loss."""

import torch

SCALES = {"musiq": 100.0, "nima": 10.0, "paq2piq": 100.0}


class Metric(torch.nn.Module):
    def __init__(self, name, as_loss, loss_reduction):
        super().__init__()
        self.scale = SCALES.get(name, 1.0)
        self.as_loss = as_loss
        self.reduction = loss_reduction
        weight = torch.sin(torch.arange(27.0)).reshape(1, 3, 3, 3)
        self.weight = torch.nn.Parameter(weight)

    def forward(self, images):
        with torch.set_grad_enabled(self.as_loss):
            features = torch.nn.functional.conv2d(images, self.weight).tanh()
            values = self.scale * torch.sigmoid(features.mean((2, 3)))
        return values.mean() if self.as_loss and self.reduction == "mean" else values


def create_metric(name, as_loss=False, loss_reduction="mean", device=None):
    assert device is not None, "it would choose a GPU"
    return Metric(name, as_loss, loss_reduction)
'''


@pytest.fixture
def _stand_in(install_plugin: InstallPlugin) -> None:
    install_plugin("pyiqa", {}, {"pyiqa": STAND_IN}, version="0.1.16")


@pytest.mark.usefixtures("_stand_in")
@pytest.mark.parametrize("metric", ["dbcnn", "musiq"])
def test_a_metric_keeps_the_contract_untrained(metric: str) -> None:
    check_defense(PyIQA(metric=metric))


@pytest.mark.usefixtures("_stand_in")
@pytest.mark.parametrize("metric", OFFERED)
def test_values_are_mapped_to_0_1_whatever_their_scale(metric: str) -> None:
    images = grid_images(4, 16)
    with lent_rng():
        backbone = BackboneSpec("demo_net", "none").build()
        scores, expected = (
            PyIQA(metric=name).build(backbone)(images).detach() for name in (metric, "dbcnn")
        )
    assert scores.shape == (4,)
    torch.testing.assert_close(scores, expected)
    assert ((scores > 0) & (scores < 1)).all()


@pytest.mark.usefixtures("_stand_in")
def test_it_runs_without_training_and_the_card_says_so(
    tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    work = Workplace(tmp_path)  # type: ignore[arg-type]
    flags = ("--defense", "pyiqa:musiq", "--attack", "fgsm:objective=reflect", "--eps", "4")
    assert work.run(*flags) == 0
    assert work.run(*flags, "--seed", "1") == 0
    (folder,) = (work.store / "checkpoints").glob("pyiqa-*")  # one for all data, recipes and seeds
    card = json.loads((folder / "card.json").read_text())
    assert (card["epochs"], card["images"], card["losses"]) == (0, 0, [])
    assert set(card["description"]) == {"version", "defense"}
    cells = [read_cell(path) for path in find_cells(work.out)]
    ours = [c for c in cells if c.about["defense"] == "pyiqa:musiq"]
    assert len(ours) == 4  # clean and attacked, two seeds
    for cell in ours:
        assert cell.status == "done"
        assert (cell.about["backbone"], cell.about["recipe"]) == ("its own", "none")
        assert cell.about["backbone_weights"] == "pretrained"
        assert cell.about["recipe_settings"]["epochs"] == 0


@pytest.mark.usefixtures("_stand_in")
def test_it_cannot_be_trained() -> None:
    with pytest.raises(
        IncompatibleError, match="'at' changes training, and 'pyiqa' is not trained"
    ):
        Chain.parse("at:steps=1+pyiqa:dbcnn")


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("niqe", "niqe is not offered: it has no gradient"),
        ("fid", "fid is not offered: it compares sets of images"),
        ("lpips", "lpips is not offered: it needs a reference image"),
        ("dbcn", "'dbcn' is not verified for scalar scores. Did you mean 'dbcnn'?"),
    ],
)
def test_what_cannot_be_attacked_or_was_not_checked_is_refused(metric: str, reason: str) -> None:
    with pytest.raises(ParamError, match=f"^defense 'pyiqa': pyiqa's .*{reason}"):
        Chain.parse(f"pyiqa:{metric}")


def test_without_the_package_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(MissingExtraError) as caught:
        Chain.parse("pyiqa:dbcnn")
    told = "defense 'pyiqa:dbcnn' needs pyiqa: pip install 'iqabench[pyiqa]'"
    assert str(caught.value) == told
