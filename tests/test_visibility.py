"""Learned distances as columns: torchmetrics' numbers, image by image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import Workplace, grid_images
from torch import Tensor, nn
from torchmetrics.functional.image import dists
from torchmetrics.functional.image import lpips as of_torchmetrics
from torchvision import models

from iqabench import visibility
from iqabench.cli import main
from iqabench.errors import WeightsError
from iqabench.results import find_cells, read_cell, read_columns
from iqabench.visibility import METRICS, Visibility

CPU = torch.device("cpu")
FLAGS = ("--defense", "resnet", "--dataset", "biq2021", "--eps", "4", "--attack", "fgsm")


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision make its networks without the weights, which are not to be had here."""
    monkeypatch.setattr(models, "alexnet", _without_weights(models.alexnet))
    monkeypatch.setattr(dists, "vgg16", _without_weights(models.vgg16))


def _without_weights(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def made(*args: Any, **kwargs: Any) -> nn.Module:
        return make(weights=None)

    return made


def noisy(images: Tensor, amount: float) -> Tensor:
    moves = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    return (images + amount * moves).clamp(0, 1)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("name", METRICS)
def test_distances_are_per_image_zero_without_a_move_and_grow_with_it(name: str) -> None:
    measure = Visibility([name], CPU)
    images = grid_images(count=3, size=64)
    still = measure(images, images)[name]
    near, far = (measure(images, noisy(images, amount))[name] for amount in (0.02, 0.2))
    assert still.shape == (3,)
    torch.testing.assert_close(still, torch.zeros(3), atol=1e-5, rtol=0)
    assert (near > still).all()
    assert (far > near).all()
    alone = torch.cat([measure(images[[i]], noisy(images, 0.2)[[i]])[name] for i in range(3)])
    torch.testing.assert_close(alone, far, atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("untrained")
def test_lpips_is_that_of_torchmetrics_on_images_from_0_to_1() -> None:
    measure = Visibility(["lpips"], CPU)
    images = grid_images(count=2, size=64)
    moved = noisy(images, 0.1)
    net: Any = measure.metrics["lpips"].metric.net  # type: ignore[union-attr]
    expected = of_torchmetrics._lpips_update(moved * 2 - 1, images * 2 - 1, net, normalize=False)
    torch.testing.assert_close(measure(images, moved)["lpips"], expected.reshape(-1))


class Mean(nn.Module):
    """Stands in for a learned metric."""

    def forward(self, clean: Tensor, attacked: Tensor) -> Tensor:
        return (attacked - clean).abs().mean((1, 2, 3))


def test_a_run_has_them_as_columns_and_computes_cells_without_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(visibility, "METRICS", {"lpips": Mean})
    place = Workplace(tmp_path)
    assert place.run(*FLAGS) == 0
    capsys.readouterr()
    assert place.run(*FLAGS, "--visibility", "lpips") == 0
    assert "1 cells computed" in capsys.readouterr().err
    assert place.run(*FLAGS, "--visibility", "lpips") == 0
    assert "0 cells computed" in capsys.readouterr().err
    (path,) = (p for p in find_cells(place.out) if read_cell(p).cell["eps_255"] == 4)
    record = read_cell(path)
    column = read_columns(path, record)["lpips"]
    assert all(0 < value <= 4 / 255 + 1e-6 for value in column)
    assert record.distance is not None
    assert record.distance["lpips_mean"] == pytest.approx(sum(column) / len(column))


def test_missing_weights_and_unknown_names_are_one_line_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> nn.Module:
        raise OSError("no route to host")

    monkeypatch.setattr(visibility, "METRICS", {"lpips": missing})
    with pytest.raises(WeightsError, match=r"lpips: .*no route to host"):
        Visibility(["lpips"], CPU)
    place = Workplace(tmp_path)
    for name, said in (("lpips", "not on this machine"), ("psnr", "visibility")):
        assert (
            main(["run", *place.places(), "--out", str(place.out), *FLAGS, "--visibility", name])
            == 2
        )
        line = capsys.readouterr().err
        assert said in line
        assert line.count("\n") == 1
        assert not place.out.exists()
