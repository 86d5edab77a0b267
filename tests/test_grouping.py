"""Radii are computed together where that saves much, or where little is at stake."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from planned_runs import cells, execute, fgsm, plan_of
from support import Workplace
from torch import Tensor

from iqabench.api import Attack, Noise, Regressor
from iqabench.grouping import AT_STAKE, groups
from iqabench.planning import attack

ALONE, TOGETHER = [(1.0,), (2.0,), (4.0,)], [(1.0, 2.0, 4.0)]
FEW, MANY = 10, AT_STAKE


@pytest.mark.parametrize(
    ("spec", "images", "expected"),
    [
        ("fgsm", FEW, TOGETHER),
        ("fgsm", MANY, TOGETHER),
        ("score_reflection", MANY, TOGETHER),
        ("pgd:steps=10", FEW, TOGETHER),
        ("pgd:steps=10", MANY, ALONE),
        ("pgd:steps=11", FEW, ALONE),
        ("pgd:steps=5,restarts=2", FEW, ALONE),
        ("mifgsm", FEW, TOGETHER),
        ("square", FEW, ALONE),
        ("uap", FEW, ALONE),
    ],
)
def test_groups(spec: str, images: int, expected: list[tuple[float, ...]]) -> None:
    assert groups(attack(spec).component, [1.0, 2.0, 4.0], images) == expected


def test_a_single_radius_or_none() -> None:
    one = attack("fgsm").component
    assert groups(one, [2.0], FEW) == [(2.0,)]
    assert groups(one, [], FEW) == []


@dataclass(frozen=True, kw_only=True)
class Fragile(Attack):
    """Computes its radii together, and does something wrong at two grey levels."""

    summary = "fragile"
    wrong: Callable[[Tensor], object]

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        if round(eps * 255) == 2:
            self.wrong(images)
        return (images + eps).clamp(0, 1)

    def sweep(
        self,
        regressor: Regressor,
        images: Tensor,
        mos: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        yield from super().sweep(regressor, images, mos, eps_list, noise)


def broken(images: Tensor) -> None:
    raise RuntimeError("boom")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (broken, "boom"),
        (lambda images: images.add_(0.1), "in place"),
        (lambda _: torch.manual_seed(1), "random state"),
    ],
)
def test_of_radii_computed_together_only_the_broken_one_fails(
    tmp_path: Path, wrong: Callable[[Tensor], object], said: str
) -> None:
    place = Workplace(tmp_path / "place")
    plan = plan_of(place, [Fragile(wrong=wrong), fgsm()], eps=[1, 2, 4])
    assert groups(plan.attacks[0].component, [1.0, 2.0, 4.0], FEW) == TOGETHER
    [line] = execute(place, plan, tmp_path / "run").failures
    assert "fragile" in line
    assert "2/255" in line
    assert said in line
    statuses = {key: record.status for key, (record, _) in cells(tmp_path / "run").items()}
    assert len(statuses) == 7
    failed = [eps for (*_, eps), status in statuses.items() if status == "failed"]
    assert failed == [2.0]
