"""CNNIQA of the example plugin, against an independent implementation and its published weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import signal
from support import grid_images
from torch import Tensor, nn

from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.datasets.demo_images import PHOTOGRAPHS

EXAMPLE = Path(__file__).parent / "plugin_example"
WEIGHTS = Path(__file__).parents[2] / "shared" / "weights" / "CNNIQA-LIVE.pth"
Floats = NDArray[np.float64]


@pytest.fixture
def cnniqa(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], nn.Module]]:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    from iqabench_example.cnniqa import CNNIQA  # type: ignore[import-not-found]

    yield lambda: CNNIQA().eval()
    for name in [n for n in sys.modules if n.startswith("iqabench_example")]:
        del sys.modules[name]


def by_hand(state: dict[str, Tensor], image: Floats) -> float:
    """The score of one ``(H, W, 3)`` image in float64, by scipy's convolutions."""
    w = {name: value.double().numpy() for name, value in state.items()}
    luma = image @ np.array([0.299, 0.587, 0.114])
    box = np.full((3, 3), 1 / 9)
    scores = []
    for top in range(0, luma.shape[0] - 31, 32):
        for left in range(0, luma.shape[1] - 31, 32):
            patch = luma[top : top + 32, left : left + 32]
            mean = signal.convolve2d(patch, box, boundary="symm", mode="same")
            power = signal.convolve2d(patch**2, box, boundary="symm", mode="same")
            patch = (patch - mean) / (np.sqrt(np.maximum(power - mean**2, 0)) + 1)
            maps = [
                signal.correlate2d(patch, kernel[0], mode="valid") + bias
                for kernel, bias in zip(w["conv1.weight"], w["conv1.bias"], strict=True)
            ]
            h = np.array([m.max() for m in maps] + [m.min() for m in maps])
            for layer in ("fc1", "fc2"):
                h = np.maximum(w[f"{layer}.weight"] @ h + w[f"{layer}.bias"], 0)
            scores.append(float((w["fc3.weight"] @ h + w["fc3.bias"])[0]))
    return float(np.mean(scores))


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (70, 40)])
def test_it_scores_as_an_independent_implementation(
    cnniqa: Callable[[], nn.Module], size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    metric = cnniqa()
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    found = metric(images)
    for score, image in zip(found, images, strict=True):
        expected = by_hand(metric.state_dict(), image.permute(1, 2, 0).double().numpy())
        assert score.item() == pytest.approx(expected, abs=1e-5)


def test_a_flat_image_has_a_finite_gradient(cnniqa: Callable[[], nn.Module]) -> None:
    images = torch.full((1, 3, 32, 32), 0.5).requires_grad_()
    cnniqa()(images).sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()


def blurred(image: Any, radius: float) -> Any:
    return image.filter(ImageFilter.GaussianBlur(radius))


def compressed(image: Any, quality: int) -> Any:
    data = BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


@pytest.mark.shared
@pytest.mark.skipif(not WEIGHTS.exists(), reason=f"needs the published weights at {WEIGHTS}")
def test_with_the_published_weights_worse_is_higher_and_the_chain_turns_it_round(
    cnniqa: Callable[[], nn.Module],
) -> None:
    spec = f"module:iqabench_example.cnniqa:CNNIQA,weights={WEIGHTS},worst=100,best=0"
    chain = Chain.parse(spec)
    assert chain.label.startswith("module:iqabench_example.cnniqa:CNNIQA,best=0,")
    regressor = chain.build(BackboneSpec("demo_net", "none").build()).eval().requires_grad_(False)
    for photograph in PHOTOGRAPHS[:3]:
        image = photograph.load().crop((0, 0, 256, 256))
        for worse in (
            [blurred(image, radius) for radius in (1, 2, 4)],
            [compressed(image, quality) for quality in (30, 15, 5)],
        ):
            pixels = np.stack([np.asarray(one) for one in (image, *worse)])
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
            scores = regressor(images)
            assert (scores.diff() < 0).all(), scores
    assert regressor(grid_images(size=32)).shape == (6,)
