"""Filters of the input, and how attacks go through them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from support import Linear, grid_images, noise_for
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.api import Regressor, Routed, as_jpeg, smooth_jpeg
from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.errors import ParamError
from iqabench.testing import check_defense

IMAGES = grid_images(size=32)
SPECS = ("jpeg", "bitdepth", "blur", "median", "resize", "noise")


def around(spec: str, inner: Regressor | None = None) -> Regressor:
    [part] = Chain.parse(f"{spec}+resnet").wrappers
    return part.component.wrap(inner or Linear(32)).eval().requires_grad_(False)


def smooth_images() -> Tensor:
    """Images like photographs: most of what is in them is coarse."""
    small = grid_images(4, 6, seed=3)
    return F.interpolate(small, (37, 50), mode="bicubic").clamp(0, 1)


def gradient(regressor: Regressor, images: Tensor = IMAGES) -> Tensor:
    moved = images.clone().requires_grad_()
    values = regressor.logit(moved, noise_for(images)).sum()
    if not values.requires_grad:
        return torch.zeros_like(images)
    (found,) = torch.autograd.grad(values, moved)
    return found


@pytest.mark.parametrize("spec", SPECS)
def test_the_contract_is_kept(spec: str) -> None:
    [part] = Chain.parse(f"{spec}+resnet").wrappers
    check_defense(part.component)


@pytest.mark.parametrize("spec", SPECS)
def test_the_checkpoint_is_that_of_what_is_wrapped(spec: str) -> None:
    chain = Chain.parse(f"{spec}+resnet")
    assert chain.trained.canonical == Chain.parse("resnet").canonical
    assert set(chain.build(BackboneSpec("demo_net", "none").build()).state_dict())


@pytest.mark.parametrize("quality", [10, 50, 75, 95])
def test_the_jpeg_with_a_gradient_is_the_jpeg_without(quality: int) -> None:
    images = smooth_images()
    real, ours = as_jpeg(images, quality), smooth_jpeg(images, quality)
    lost = float((images - real).square().mean())
    assert float((ours - real).square().mean()) < max(0.2 * lost, 4e-6)
    assert ours.min() >= 0
    assert ours.max() <= 1


def test_a_jpeg_is_what_a_library_stores() -> None:
    image = smooth_images()[:1]
    file = io.BytesIO()
    pixels = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(file, "JPEG", quality=30)
    read = np.asarray(Image.open(file)).transpose(2, 0, 1) / 255
    assert np.allclose(as_jpeg(image, 30)[0].numpy(), read, atol=1e-6)


@pytest.mark.parametrize("spec", ["jpeg", "bitdepth"])
def test_rounding_has_no_gradient_and_its_ways_around_have_one(spec: str) -> None:
    defended = around(spec)
    assert not gradient(defended).any()
    routes = defended.surrogates()
    assert set(routes) == ({"identity", "smooth_jpeg"} if spec == "jpeg" else {"identity"})
    undefended = gradient(Linear(32))
    assert torch.equal(gradient(routes["identity"]), undefended)
    assert torch.allclose(routes["identity"].logit(IMAGES), defended.logit(IMAGES), atol=1e-5)
    for route in routes.values():
        found = gradient(Routed(defended, route))
        assert F.cosine_similarity(found.flatten(), undefended.flatten(), dim=0) > 0.3


@pytest.mark.parametrize("spec", ["blur", "resize"])
def test_a_linear_filter_has_its_gradient_and_needs_no_way_around(spec: str) -> None:
    defended = around(spec)
    assert defended.surrogates() == {}
    moved = IMAGES + 1e-3 * torch.randn(IMAGES.shape, generator=torch.Generator().manual_seed(0))
    change = defended.logit(moved) - defended.logit(IMAGES)
    expected = (gradient(defended) * (moved - IMAGES)).sum((1, 2, 3))
    assert torch.allclose(change, expected, atol=1e-4)


class Winding(Linear):
    def surrogates(self) -> dict[str, Regressor]:
        return {"around": Linear(32)}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("jpeg", {"identity", "identity+around", "smooth_jpeg", "smooth_jpeg+around"}),
        ("median", {"median+around", "blur", "blur+around"}),
        ("blur", {"around"}),
        ("noise", {"around"}),
    ],
)
def test_ways_around_the_filter_meet_ways_around_what_is_inside(
    spec: str, expected: set[str]
) -> None:
    routes = around(spec, Winding(32)).surrogates()
    assert set(routes) == expected
    for route in routes.values():
        assert gradient(route).any()


def test_noise_is_fresh_at_every_look_and_gone_at_zero() -> None:
    defended, noise = around("noise:sigma=0.1"), noise_for(IMAGES)
    assert defended.stochastic
    assert torch.equal(defended.logit(IMAGES, noise), defended.logit(IMAGES, noise))
    other = defended.logit(IMAGES, noise.for_draw(1))
    assert not torch.equal(defended.logit(IMAGES, noise), other)
    assert torch.equal(around("noise:sigma=0").logit(IMAGES, noise), Linear(32).logit(IMAGES))


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("jpeg:quality=0", "from 1 to 95"),
        ("bitdepth:levels=1", "from 2 to 256"),
        ("blur:sigma=0", "above 0"),
        ("resize:factor=1", "below 1"),
        ("noise:sigma=-1", "not be negative"),
    ],
)
def test_a_wrong_strength_is_refused(spec: str, why: str) -> None:
    with pytest.raises(ParamError, match=why):
        Chain.parse(f"{spec}+resnet")
