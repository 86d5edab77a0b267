"""Distances against another library and against the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support import grid_images
from torchmetrics.functional.image import structural_similarity_index_measure

from iqabench.budget import largest_move, round_to_8bit
from iqabench.contracts.ascent import project
from iqabench.distances import SSIM_WINDOW, Distances, Ruler

WEIGHTS = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(1, 3, 1, 1)


@pytest.mark.parametrize(("size", "eps_255"), [(40, 4.0), (64, 16.0), (SSIM_WINDOW, 1.0)])
def test_ssim_is_torchmetrics_in_float64(size: int, eps_255: float) -> None:
    clean = grid_images(3, size)
    move = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1)).sign()
    attacked = clean + eps_255 / 255 * move
    first, second = ((x.double() * WEIGHTS).sum(1, keepdim=True) for x in (attacked, clean))
    wanted = structural_similarity_index_measure(first, second, data_range=1.0, reduction="none")
    assert isinstance(wanted, torch.Tensor)
    found = Ruler(clean)(attacked, None).ssim.double()
    assert torch.allclose(found, wanted.reshape(-1), rtol=0, atol=1e-5)


def test_a_ruler_measures_one_version_after_the_other() -> None:
    clean = grid_images(2, 32)
    ruler = Ruler(clean)
    for eps_255 in (8.0, 0.0, 4.0):
        moved = clean + eps_255 / 255
        found = ruler(moved, round_to_8bit(moved))
        assert torch.allclose(found.linf_255, torch.full((2,), eps_255), atol=1e-3)
        assert torch.equal(found.linf_8bit_255, torch.full((2,), eps_255))
        norm = eps_255 / 255 * np.sqrt(3 * 32 * 32)
        assert torch.allclose(found.l2, torch.full((2,), float(norm)), rtol=1e-4)
        assert torch.equal(found.ssim, Ruler(clean)(moved, None).ssim)


def test_images_smaller_than_the_window_have_no_ssim() -> None:
    clean = grid_images(2, SSIM_WINDOW - 1)
    assert Ruler(clean)(clean, None).ssim.isnan().all()


@pytest.mark.parametrize("size", [SSIM_WINDOW - 1, 32])
def test_what_did_not_move_need_not_be_measured(size: int) -> None:
    clean = grid_images(3, size)
    measured, known = Ruler(clean)(clean, clean), Distances.of_unmoved(clean)
    for name, values in vars(known).items():
        assert torch.allclose(values, getattr(measured, name), atol=1e-5, equal_nan=True), name


def test_the_largest_move_may_be_upwards_or_downwards() -> None:
    clean = torch.full((2, 3, 4, 4), 0.5)
    for step in (0.25, -0.25):
        moved = clean.clone()
        moved[1, 2, 3, 0] += step
        moved[0, 0, 0, 0] -= step / 2
        assert largest_move(clean, moved) == 0.25


@pytest.mark.parametrize("eps_255", [0.0, 0.5, 1.0, 3.3, 16.0, 255.0])
def test_one_signed_step_needs_no_ball(eps_255: float) -> None:
    clean = grid_images(3, 16, margin=0)
    direction = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).sign()
    direction[0, 0, :4] = 0
    eps = eps_255 / 255
    stepped = torch.add(clean, direction, alpha=eps).clamp_(0, 1)
    assert torch.equal(stepped, project(clean + eps * direction, clean, eps))


def test_a_batch_of_many_is_measured_as_each_of_its_images_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(3)
    clean = round_to_8bit(torch.rand(5, 3, 20, 24, generator=generator))
    moved = (clean + 0.02 * torch.randn(clean.shape, generator=generator)).clamp(0, 1)
    monkeypatch.setattr("iqabench.tiling.TILE", 2 * 20 * 24)
    whole = Ruler(clean)(moved, round_to_8bit(moved))
    for number, image in enumerate(clean):
        one = Ruler(image[None])(moved[[number]], round_to_8bit(moved[[number]]))
        for name, values in vars(one).items():
            assert torch.equal(values[0], getattr(whole, name)[number]), name
