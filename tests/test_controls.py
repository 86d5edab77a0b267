"""The controls are what they are said to be: masks hide a gradient and change little else."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from support import Linear, grid_images, noise_for
from torch import Tensor

from iqabench.api import Noise, Regressor, pixel_gradient
from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.registry import DEFENSES
from iqabench.testing import check_defense

IMAGES = grid_images(12, 16)
NOISE = noise_for(IMAGES)


def logit(model: Regressor, images: Tensor, noise: Noise) -> Tensor:
    return model.logit(images, noise)


def wrapped(text: str, inner: Regressor | None = None) -> Regressor:
    chain = Chain.parse(f"{text}+resnet")
    return chain.wrap_trained(inner or Linear(16)).eval()


def agreement(text: str) -> float:
    """Mean over images of the share of pixels whose gradient has the right sign."""
    inner = Linear(16)
    _, own = pixel_gradient(logit, wrapped(text, inner), IMAGES, NOISE)
    return float((own.sign() == inner.weight.sign()).float().mean())


@pytest.mark.parametrize("name", ["average", "spectral_head", "kwta"])
def test_controls_that_keep_the_contract_keep_it(name: str) -> None:
    check_defense(DEFENSES.get(name))


def test_controls_are_found_and_not_listed() -> None:
    assert "batch_score" not in DEFENSES.names()
    assert Chain.parse("batch_score:weight=0.5+resnet").label == "batch_score:weight=0.5+resnet"


@pytest.mark.parametrize(
    "text",
    ["quantised_input", "jpeg_input", "step_head", "false_gradient:how=clipped", "detached"],
)
def test_some_masks_have_no_gradient(text: str) -> None:
    _, gradient = pixel_gradient(logit, wrapped(text), IMAGES, NOISE)
    assert not gradient.any()


def test_some_masks_have_a_wrong_gradient() -> None:
    assert agreement("false_gradient:how=flipped") == 0
    assert 0.4 < agreement("false_gradient:how=scrambled") < 0.6
    assert 0.4 < agreement("detached:share=0.1") < 0.75
    inner = Linear(16)

    def opposed(model: Regressor, images: Tensor, noise: Noise) -> Tensor:
        return torch.where(torch.arange(12) < 7, 1.0, -1.0) * model.logit(images, noise)

    _, gradient = pixel_gradient(opposed, wrapped("batch_score", inner), IMAGES, NOISE)
    assert (gradient.sign() == inner.weight.sign()).all()  # also where it should be the other one


def test_a_saturated_logit_has_no_gradient_where_it_is_not_near_zero() -> None:
    inner = Linear(16)
    masked = wrapped("saturated_head:gain=50", inner)
    _, gradient = pixel_gradient(logit, masked, IMAGES, NOISE)
    far = inner.logit(IMAGES).abs() > 0.2
    assert far.sum() > 4
    assert not gradient[far].any()
    assert gradient[~far].any()


@pytest.mark.parametrize(
    "text",
    [
        "quantised_input:levels=64",
        "step_head:width=0.02",
        "saturated_head",
        "false_gradient",
        "detached:share=0.02",
    ],
)
def test_masks_hardly_change_the_score(text: str) -> None:
    inner = Linear(16)
    before, after = inner.logit(IMAGES), wrapped(text, inner).logit(IMAGES, NOISE)
    assert float((after - before).abs().mean()) < 0.35 * float(before.std())
    assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.9


def test_jpeg_is_what_a_file_would_give() -> None:
    image = Image.fromarray((IMAGES[0] * 255).round().byte().permute(1, 2, 0).numpy())
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    read = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1) / 255
    inner = Linear(16)
    found = wrapped("jpeg_input:quality=85", inner).logit(IMAGES[:1])
    torch.testing.assert_close(found, inner.logit(read[None]))


def test_undeclared_randomness_differs_from_call_to_call_until_it_is_declared() -> None:
    for how in ("noise", "resize,strength=0.3"):
        raw = wrapped(f"random_input:how={how}")
        assert not raw.stochastic
        before = raw.logit(IMAGES, NOISE)  # two sizes may be rounded alike, thirty may not
        assert any(not torch.equal(before, raw.logit(IMAGES, NOISE)) for _ in range(30))
        lawful = wrapped(f"declared+random_input:how={how}")
        assert lawful.stochastic
        state = torch.get_rng_state()
        first = lawful.logit(IMAGES, NOISE)
        assert torch.equal(state, torch.get_rng_state())
        assert torch.equal(first, lawful.logit(IMAGES, NOISE))
        part = lawful.logit(IMAGES[3:5], NOISE.select([3, 4]))
        torch.testing.assert_close(part, first[3:5])
        assert not torch.equal(first, lawful.logit(IMAGES, NOISE.for_draw(1)))


def test_a_score_that_depends_on_the_batch_does_not_one_by_one() -> None:
    raw, lawful = wrapped("batch_score"), wrapped("one_by_one+batch_score")
    assert not torch.allclose(raw.logit(IMAGES)[:3], raw.logit(IMAGES[:3]))
    assert torch.equal(lawful.logit(IMAGES)[:3], lawful.logit(IMAGES[:3]))


def test_every_control_of_the_list_can_be_built_and_the_counts_are_right() -> None:
    from importlib import resources

    text = resources.files("iqabench.audit").joinpath("controls.yaml").read_text()
    counts = {"masked": 0, "honest": 0, "useless": 0}
    for kind in yaml.safe_load(text):
        for spec in kind["specs"]:
            backbone = BackboneSpec("demo_net", "none").build()
            assert isinstance(Chain.parse(spec).build(backbone), Regressor)
            counts[kind["truth"]] += len(kind.get("seeds", [0]))
    assert counts == {"masked": 30, "honest": 24, "useless": 1}
