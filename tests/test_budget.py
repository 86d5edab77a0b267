from __future__ import annotations

import math

import pytest
import torch
from support import grid_images

from iqabench.budget import check, round_to_8bit
from iqabench.errors import BudgetError

CLEAN = grid_images(3, margin=0)


def test_what_is_inside_the_ball_passes_untouched() -> None:
    moved = (CLEAN + 1 / 255).clamp(0, 1)
    assert torch.equal(check(CLEAN, moved, eps=1 / 255), moved)


@pytest.mark.parametrize(
    ("moved", "message"),
    [
        (CLEAN[:2], r"returned \(2, 3, 8, 8\)"),
        (CLEAN.double(), "float64"),
        (CLEAN.numpy(), "ndarray, not a tensor"),
        (CLEAN.masked_fill(CLEAN > 0.9, torch.nan), "NaN"),
        (CLEAN - 1e-3, "outside"),
        ((CLEAN * 0.5 + 0.25), "more than eps"),
        ((CLEAN - 1.5 / 255).clamp(0, 1), r"1.5\d*/255, more than eps = 1/255"),
    ],
    ids=["shape", "dtype", "type", "nan", "range", "ball", "below"],
)
def test_what_breaks_a_rule_fails(moved: object, message: str) -> None:
    with pytest.raises(BudgetError, match=message):
        check(CLEAN, moved, eps=1 / 255)


@pytest.mark.parametrize("eps_255", [0.3, 0.5, 0.6, 1.0, 1.5, 2.0, 3.7])
def test_rounding_stays_within_the_next_whole_grey_level(eps_255: float) -> None:
    generator = torch.Generator().manual_seed(1)
    away = torch.rand(CLEAN.shape, generator=generator).mul(2).sub(1).sign()
    moved = check(CLEAN, (CLEAN + away * eps_255 / 255).clamp(0, 1), eps=eps_255 / 255)
    levels = (round_to_8bit(moved) - CLEAN).abs().max() * 255
    assert round(float(levels), 3) <= math.ceil(eps_255)


def test_other_threat_models_are_held_to_the_pixel_range_alone() -> None:
    check(CLEAN, 1 - CLEAN, eps=0.0, threat_model="other")
    with pytest.raises(BudgetError, match="outside"):
        check(CLEAN, CLEAN + 1, eps=0.0, threat_model="other")
