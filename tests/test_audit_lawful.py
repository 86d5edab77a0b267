"""What the audit finds out about how a defense scores the same image again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest
import torch
from support import Linear, grid_images, side_of
from torch import Tensor

from iqabench.api import Noise, Regressor
from iqabench.audit.lawful import DECLARED, ONE_BY_ONE, Conduct, look

CPU = torch.device("cpu")


class Drawn(Regressor):
    """Adds to each call's logits the next of a row of numbers, as an undeclared draw would."""

    def __init__(self, draws: Sequence[float]) -> None:
        super().__init__()
        self.inner = Linear()
        self.draws: Iterator[float] = itertools.cycle(draws)

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        return self.inner.logit(images, noise) + next(self.draws)


class OfTheBatch(Linear):
    """Adds the mean of the batch."""

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        logits = super().logit(images, noise)
        return logits + logits.mean()


class Summed(Linear):
    """A last bit that depends on the size of the batch, made visible."""

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        return super().logit(images, noise) + 0.01 * (len(images) == 1)


def conduct(regressor: Regressor, *, count: int = 8) -> Conduct:
    return look(regressor.eval(), side_of(grid_images(count=count)), 0, CPU)


def test_a_function_of_the_image_needs_nothing() -> None:
    found = conduct(Linear())
    assert (found.wrappers, found.found) == ((), None)


def test_rounding_that_depends_on_the_size_of_a_batch_accuses_nobody() -> None:
    assert conduct(Summed()).wrappers == ()


def test_one_image_has_no_others_to_depend_on() -> None:
    assert conduct(OfTheBatch(), count=1) == Conduct(0.0, 0.0)


@pytest.mark.parametrize("count", [2, 7, 8])
def test_a_score_that_depends_on_the_batch_is_shown_one_image_at_a_time(count: int) -> None:
    found = conduct(OfTheBatch(), count=count)
    assert found.wrappers == (ONE_BY_ONE,)
    assert "other images of a batch" in (found.found or "")


@pytest.mark.parametrize(
    "draws",
    [
        (0.0, 0.5),  # differs from batch to batch
        (0.25, 0.25, *(0.1 * n for n in range(16))),  # the same for both batches, by chance
    ],
    ids=["every call", "alike in both batches"],
)
def test_draws_that_are_not_declared_are_randomness_and_not_the_batch(
    draws: tuple[float, ...],
) -> None:
    found = conduct(Drawn(draws))
    assert found.wrappers == (DECLARED,)
    assert "randomness" in (found.found or "")
