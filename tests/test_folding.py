"""Folded and compiled networks give the same scores, or stay as they are."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from support import Workplace, grid_images, noise_for, write_config
from torch import Tensor, nn

from iqabench.api import Noise, Regressor
from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.folding import quicken
from iqabench.results import find_cells, read_cell, read_columns
from iqabench.seeding import lent_rng, seed_torch
from iqabench.subpixel import SubpixelConv, suits


def network(defense: str, backbone: str) -> Regressor:
    """An untrained regressor whose batch norms do something."""
    with lent_rng():
        seed_torch("folding")
        built = Chain.parse(defense).build(BackboneSpec(backbone, "none").build())
        for module in built.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                nn.init.uniform_(module.running_mean, -0.3, 0.3)
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.3)
    return built.eval().requires_grad_(False)


def norms(regressor: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in regressor.modules())


@pytest.mark.parametrize(
    ("defense", "backbone"), [("resnet", "resnet18"), ("cprl", "mobilenet_v2"), ("sat", "demo_net")]
)
def test_folding_leaves_no_norm_and_the_scores_and_gradients(defense: str, backbone: str) -> None:
    plain = network(defense, backbone)
    folded = copy.deepcopy(plain)
    assert norms(plain)
    assert quicken(folded, "folded", 64) is None
    assert norms(folded) == 0
    images = grid_images(2, 64)
    scores, gradients = [], []
    for regressor in (plain, folded):
        pixels = images.clone().requires_grad_()
        values = regressor(pixels, noise_for(images))
        scores.append(values.detach())
        gradients.append(torch.autograd.grad(values.sum(), pixels)[0])
    assert torch.allclose(scores[0], scores[1], rtol=0, atol=1e-5)
    near = 1e-4 * float(gradients[0].abs().max())
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-2, atol=near)
    assert not any(p.requires_grad for p in folded.parameters())


class Shortcut(nn.Module):
    """Three activations: the input of the second is needed again, behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.first = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
        self.again, self.second, self.third = nn.Conv2d(4, 4, 1), nn.ReLU(), nn.ReLU6()

    def forward(self, images: Tensor) -> Tensor:
        early = self.again(self.first(self.norm(self.conv(images))))
        out: Tensor = self.third(self.second(early) + early)
        return out


class Overwriting(Regressor):
    def __init__(self) -> None:
        super().__init__()
        self.features = Shortcut()

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        out: Tensor = self.features(images).mean((1, 2, 3))
        return out


def test_an_activation_overwrites_only_what_nobody_else_needs() -> None:
    with lent_rng():
        seed_torch("overwriting")
        plain = Overwriting().eval().requires_grad_(False)
    quick = copy.deepcopy(plain)
    assert quicken(quick, "folded", 16) is None
    flags = [getattr(quick.features, name).inplace for name in ("first", "second", "third")]
    assert flags == [True, False, True]
    images = grid_images(2, 16)
    gradients = []
    for regressor in (plain, quick):
        pixels = images.clone().requires_grad_()
        gradients.append(torch.autograd.grad(regressor(pixels).sum(), pixels)[0])
    assert torch.allclose(plain(images), quick(images), rtol=0, atol=1e-6)
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-7)
    assert bool(gradients[0].any())


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [
        (7, 2, 3, (64, 64)),
        (3, 2, 1, (33, 40)),
        (3, 2, 0, (34, 33)),
        (2, 4, 0, (31, 30)),
        (5, 3, 2, 16),
    ],
)
def test_the_gradient_between_strides_is_the_usual_one(
    kernel: int, stride: int, padding: int, size: int | tuple[int, int]
) -> None:
    with lent_rng():
        seed_torch("subpixel")
        conv = nn.Conv2d(3, 5, kernel, stride, padding).requires_grad_(False).double()
        height, width = (size, size) if isinstance(size, int) else size
        images = torch.rand(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    assert suits(conv)
    quick = SubpixelConv(conv)
    assert torch.equal(conv(images), quick(images))
    upstream = torch.sin(torch.arange(conv(images).numel(), dtype=torch.float64))
    usual, found = (
        torch.autograd.grad(c(images), images, upstream.view_as(conv(images)))[0]
        for c in (conv, quick)
    )
    assert torch.allclose(usual, found, rtol=0, atol=1e-12)


class Forked(Regressor):
    """The output of a convolution goes to its norm and past it."""

    def __init__(self, *, hidden: bool) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.block = nn.Sequential(self.conv, self.norm) if hidden else None
        nn.init.constant_(self.norm.bias, 1.0)
        nn.init.normal_(self.conv.weight, generator=torch.Generator().manual_seed(0))

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        before = self.conv(images)
        after = self.norm(before) if self.block is None else self.block(images)
        return (before * after).mean((1, 2, 3))  # type: ignore[no-any-return]


@pytest.mark.parametrize("hidden", [False, True])
def test_a_convolution_that_others_see_is_not_folded(hidden: bool) -> None:
    regressor = Forked(hidden=hidden).eval().requires_grad_(False)
    images = grid_images(2, 16)
    before, state = regressor(images), {k: v.clone() for k, v in regressor.state_dict().items()}
    quicken(regressor, "folded", 16)
    assert norms(regressor) == 1
    assert torch.equal(regressor(images), before)
    assert all(torch.equal(v, state[k]) for k, v in regressor.state_dict().items())


class Tender(Regressor):
    """It reads its norm's weights, as a bound on its slope would."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        weight = self.block[1].get_parameter("weight")
        out: Tensor = self.block(images).mean((1, 2, 3)) * weight.sum()
        return out


def test_a_regressor_that_needs_its_norms_keeps_them() -> None:
    regressor = Tender().eval().requires_grad_(False)
    before = regressor(grid_images(2, 16))
    said = quicken(regressor, "folded", 16)
    assert said is not None
    assert "not" in said
    assert norms(regressor) == 1
    assert not regressor.block[2].inplace
    assert torch.equal(regressor(grid_images(2, 16)), before)


def test_exact_changes_nothing() -> None:
    regressor = network("resnet", "demo_net")
    count = norms(regressor)
    assert quicken(regressor, "exact", 64) is None
    assert norms(regressor) == count


@pytest.mark.slow
def test_compiled_scores_are_the_same() -> None:
    plain = network("resnet", "resnet18")
    compiled = copy.deepcopy(plain)
    assert quicken(compiled, "compiled", 64) is None
    images = grid_images(3, 64)
    pixels = images.clone().requires_grad_()
    scores = compiled(pixels)
    assert torch.allclose(scores, plain(images), rtol=0, atol=1e-5)
    (gradient,) = torch.autograd.grad(scores.sum(), pixels)
    assert bool(gradient.abs().sum() > 0)


def test_the_speed_is_part_of_a_key_only_where_it_is_not_exact(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    keys: list[set[str]] = []
    records, clean = [], []
    for speed in ("exact", "folded"):
        changes = {} if speed == "exact" else {"speed": speed}
        write_config(place.config, attacks=["fgsm:objective=reflect"], eps=[1], **changes)
        place.out = tmp_path / speed
        assert place.run("--defense", "resnet") == 0
        found = {path: read_cell(path) for path in find_cells(place.out)}
        keys.append({record.key for record in found.values()})
        records += list(found.values())
        clean += [read_columns(p, r)["score"] for p, r in found.items() if not r.cell["eps_255"]]
    assert [r.cell["defense"].get("speed") for r in records] == [None, None, "folded", "folded"]
    assert not keys[0] & keys[1]
    assert clean[0] == pytest.approx(clean[1], abs=1e-5)
