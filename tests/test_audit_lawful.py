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


def conduct(regressor: Regressor) -> Conduct:
    return look(regressor.eval(), side_of(grid_images(count=8)), 0, CPU)


def test_a_function_of_the_image_needs_nothing() -> None:
    found = conduct(Linear())
    assert (found.wrappers, found.found) == ((), None)


def test_a_score_that_depends_on_the_batch_is_shown_one_image_at_a_time() -> None:
    found = conduct(OfTheBatch())
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
