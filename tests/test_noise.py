from __future__ import annotations

import pytest
import torch

from iqabench.api import Noise

IDS = ("a", "b", "c", "d")


def test_an_image_draws_the_same_whatever_its_batch() -> None:
    together = Noise(1, IDS).normal("x", (2, 3))
    assert torch.equal(together[2], Noise(1, ("c",)).normal("x", (2, 3))[0])
    turned = Noise(1, IDS[::-1]).normal("x", (2, 3))
    assert torch.equal(together.flip(0), turned)
    assert torch.equal(together[[3, 1]], Noise(1, IDS).select([3, 1]).normal("x", (2, 3)))


@pytest.mark.parametrize(
    "other",
    [
        Noise(2, IDS),
        Noise(1, IDS).for_draw(1),
        Noise(1, IDS).for_purpose("attack"),
        Noise(1, ("e", "f", "g", "h")),
    ],
    ids=["seed", "draw", "scope", "image"],
)
def test_seed_image_draw_and_purpose_each_give_another_stream(other: Noise) -> None:
    assert not torch.equal(Noise(1, IDS).uniform("x", (4,)), other.uniform("x", (4,)))


def test_asking_again_gives_the_same_and_another_purpose_does_not() -> None:
    noise = Noise(1, IDS)
    assert torch.equal(noise.normal("x", (4,)), noise.normal("x", (4,)))
    assert not torch.equal(noise.normal("x", (4,)), noise.normal("y", (4,)))


def test_no_global_random_state_is_read_or_changed() -> None:
    state = torch.random.get_rng_state()
    first = Noise(1, IDS).normal("x", (4,))
    assert torch.equal(state, torch.random.get_rng_state())
    torch.rand(5)
    assert torch.equal(first, Noise(1, IDS).normal("x", (4,)))


def test_uniform_keeps_its_bounds_and_normal_its_moments() -> None:
    values = Noise(1, IDS).uniform("x", (5000,), low=-2.0, high=3.0)
    assert values.min() >= -2
    assert values.max() < 3
    assert float(values.mean()) == pytest.approx(0.5, abs=0.05)
    normal = Noise(1, IDS).normal("x", (5000,))
    assert float(normal.mean()) == pytest.approx(0, abs=0.03)
    assert float(normal.std()) == pytest.approx(1, abs=0.03)


def test_one_number_per_image_can_be_drawn() -> None:
    values = Noise(1, IDS).normal("x", ())
    assert values.shape == (4,)
    assert len(set(values.tolist())) == 4


def test_the_streams_are_pinned() -> None:
    """A change here changes every number that rests on noise."""
    values = Noise(0, ("image",)).uniform("pinned", (3,))[0].tolist()
    assert values == pytest.approx(PINNED, abs=1e-7)


PINNED = [0.5162387490272522, 0.2514026165008545, 0.6364428997039795]
