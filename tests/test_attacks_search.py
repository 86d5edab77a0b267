"""What is particular to single attacks: schedules, shapes, sources, fits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support import Linear, grid_images, noise_for
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from iqabench.api import (
    AttackBatch,
    Diverse,
    Facts,
    Noise,
    Probed,
    Regressor,
    Smoothed,
    make_goal,
    pixel_gradient,
)
from iqabench.attacks.apgd import _checkpoints
from iqabench.attacks.square import Square
from iqabench.planning import attack

EPS = 4 / 255
IMAGES = grid_images()
MOS = torch.tensor([0.9, 0.1, 0.7, 0.5, 0.2, 0.8])
NOISE = noise_for(IMAGES)


def climb(text: str, regressor: Regressor, images: Tensor = IMAGES, **sources: Regressor) -> Tensor:
    noise = noise_for(images)
    mos = MOS[: len(images)]
    with torch.no_grad():
        logits = regressor.logit(images, noise).tolist()
    ready: Any = attack(text).component
    ready = ready.prepare(Facts(noise.image_ids, mos.tolist(), logits, sources))
    moved: Tensor = ready.perturb(regressor, images, mos, EPS, noise)
    assert float((moved - images).abs().max()) <= EPS + 1e-6
    return moved


class Rough(Regressor):
    """Convolutions and sines: many small hills."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(6 * torch.randn(4, 3, 3, 3, generator=generator), False)

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        return torch.sin(F.conv2d(images, self.weight, padding=1)).mean((1, 2, 3)) * 10


def test_apgd_reviews_its_steps_where_the_paper_does() -> None:
    # Croce and Hein 2020, section 3.1: p = 0, .22, .41, .57, .70, .80, .87, .93, .99
    assert sorted(_checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert _checkpoints(1) == set()


def test_apgd_halves_its_step_where_a_fixed_step_swings_to_and_fro() -> None:
    class Peak(Linear):
        """Highest a third of the way to the corner, where every long step overshoots."""

        def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
            reach = EPS * self.weight.abs().sum()
            risen = super().logit(images) - Linear.logit(self, IMAGES[: len(images)])
            return -(risen / reach - 1 / 3).abs()

    regressor = Peak()
    adaptive = regressor.logit(climb("apgd:objective=raise,steps=60", regressor))
    fixed = regressor.logit(climb("pgd:objective=raise,steps=60,step=0.5", regressor))
    assert (adaptive > -0.01).all()
    assert (adaptive > fixed + 0.05).all()


@pytest.mark.parametrize(
    "text", ["apgd:steps=20", "mifgsm:objective=reflect", "square:steps=100", "nes:steps=4"]
)
def test_the_best_iterate_is_never_below_the_clean_image(text: str) -> None:
    for seed in range(5):
        regressor = Rough(seed)
        goal = make_goal("reflect", regressor, IMAGES, MOS, NOISE)
        before = goal(regressor, IMAGES, NOISE)
        assert (goal(regressor, climb(text, regressor), NOISE) >= before).all()


def test_apgd_with_restarts_or_another_start_is_never_weaker() -> None:
    regressor, source = Rough(1), Rough(2)
    goal = make_goal("reflect", regressor, IMAGES, MOS, NOISE)
    plain = goal(regressor, climb("apgd:steps=10", regressor), NOISE)
    more = goal(regressor, climb("apgd:steps=10,restarts=3", regressor), NOISE)
    started = climb("apgd:steps=10,start=resnet", regressor, resnet=source)
    other = goal(regressor, started, NOISE)
    assert (more >= plain).all()
    assert (more > plain).any()
    assert (other >= plain).all()
    assert (other > plain).any()
    assert attack("apgd:start=resnet").component.sources() == ("resnet",)
    assert attack("apgd").component.sources() == ()


@pytest.mark.parametrize("shape", [(7, 23), (40, 5), (1, 9)])
def test_square_covers_images_that_are_not_square(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    images = (torch.rand(2, 3, *shape, generator=generator) * 255).round() / 255

    class Mean(Regressor):
        def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
            return images.mean((1, 2, 3))

    moved = climb("square:objective=raise,steps=1000", Mean(), images)
    reached = (moved - images).abs().flatten(1) > 1e-6
    assert (reached.float().mean(1) > 0.9).all()  # GRD's square attack touched 8 % of 384 x 512


def test_squares_shrink_as_queries_are_spent() -> None:
    square = Square(steps=10_000)
    shape = (1, 3, 100, 100)
    sides = [square._side(step, shape) for step in (0, 11, 51, 201, 501, 1001, 2001, 4001, 8001)]
    assert sides[0] == round((0.8 * 10_000) ** 0.5)
    assert sides == sorted(sides, reverse=True)
    assert len(set(sides)) == len(sides)
    assert Square(steps=100)._side(99, shape) == square._side(9900, shape)


def test_transfer_never_asks_the_defense() -> None:
    class Silent(Regressor):
        def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
            raise AssertionError("asked")

    source = Rough(3)
    ready = attack("transfer:objective=raise").component
    ready = ready.prepare(Facts(NOISE.image_ids, MOS.tolist(), [0.0] * 6, {"resnet": source}))
    moved = ready.perturb(Silent(), IMAGES, MOS, EPS, NOISE)
    assert (source.logit(moved) > source.logit(IMAGES)).all()


def test_a_diverse_gradient_looks_at_resized_images_and_at_each_image_alone() -> None:
    regressor = Rough(4)
    goal = make_goal("raise", regressor, IMAGES, MOS, NOISE)
    _, plain = pixel_gradient(goal, regressor, IMAGES, NOISE)
    _, never = Diverse(0.0)(goal, regressor, IMAGES, NOISE)
    assert torch.equal(never, plain)
    _, always = Diverse(1.0)(goal, regressor, IMAGES, NOISE)
    assert not torch.allclose(always, plain)
    half = NOISE.select([3, 4])
    _, part = Diverse(1.0)(goal, regressor, IMAGES[3:5], half)
    torch.testing.assert_close(part, always[3:5])


def test_a_smoothed_gradient_sees_through_a_staircase() -> None:
    class Stairs(Linear):
        def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
            slope = super().logit(images)
            steps = 200 * slope
            return slope - (steps - steps.floor()) / 100  # rises by stairs; each falls again

    regressor = Stairs()
    goal = make_goal("raise", regressor, IMAGES, MOS, NOISE)
    right = regressor.weight.sign()
    _, own = pixel_gradient(goal, regressor, IMAGES, NOISE)
    assert ((own.sign() == right).float().mean((1, 2, 3)) == 0).all()
    _, probed = Probed(400, 2 / 255, "normal")(goal, regressor, IMAGES, NOISE)
    agreeing = (probed.sign() == right).float().mean((1, 2, 3))
    assert (agreeing > 0.75).all()


def test_a_smoothed_gradient_is_the_mean_over_points_around_the_image() -> None:
    regressor = Rough(5)
    goal = make_goal("raise", regressor, IMAGES, MOS, NOISE)
    values, found = Smoothed(4, 2 / 255)(goal, regressor, IMAGES, NOISE)
    assert torch.equal(values, goal(regressor, IMAGES, NOISE))
    expected = torch.zeros_like(IMAGES)
    for number in (0, 2):
        move = NOISE.normal(f"smooth{number}", IMAGES.shape[1:]) * 2 / 255
        for sign in (1, -1):
            expected += pixel_gradient(goal, regressor, IMAGES + sign * move, NOISE)[1] / 4
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("law", ["normal", "sign"])
def test_probes_find_the_gradient_of_a_linear_score(law: Any) -> None:
    regressor = Linear(size=4)
    images = grid_images(size=4)
    goal = make_goal("raise", regressor, images, MOS, NOISE)
    _, found = Probed(4000, 1 / 255, law)(goal, regressor, images, NOISE)
    error = (found - regressor.weight).norm() / (regressor.weight.norm() * len(images) ** 0.5)
    assert float(error) < 0.2
    assert float((found.sign() == regressor.weight.sign()).float().mean()) > 0.9


def fitted(text: str, batch_size: int, count: int = 6) -> Tensor:
    regressor = Rough(6)
    batches = [
        AttackBatch(IMAGES[i : i + batch_size], MOS[i : i + batch_size], NOISE)
        for i in range(0, count, batch_size)
    ]
    batches = [AttackBatch(b.images, b.mos, NOISE.select(range(len(b.images)))) for b in batches]
    ready = attack(text).component.prepare(Facts(NOISE.image_ids, MOS.tolist(), [0.0] * 6))
    found = ready.fit(regressor, batches, EPS, Noise(0, ("fit",))).perturbation  # type: ignore[attr-defined]
    assert isinstance(found, Tensor)
    return found


def test_a_universal_perturbation_is_one_and_does_not_depend_on_the_batch_size() -> None:
    whole = fitted("uap:steps=5", 6)
    assert torch.equal(whole, fitted("uap:steps=5", 2))
    assert torch.equal(whole, fitted("uap:steps=5", 4))
    assert float(whole.abs().max()) <= EPS + 1e-6
    assert torch.equal(fitted("uap:steps=5,images=2", 6), fitted("uap:steps=5,images=2", 2, 2))
    assert not torch.equal(fitted("uap:steps=5,images=2", 6), whole)


def test_a_universal_perturbation_of_a_linear_score_is_its_signed_gradient() -> None:
    ready = attack("uap:objective=lower").component.prepare(Facts(NOISE.image_ids, (), ()))
    ready = ready.fit(Linear(), [AttackBatch(IMAGES, MOS, NOISE)], EPS, Noise(0, ("fit",)))
    moved = ready.perturb(Linear(), IMAGES, MOS, EPS, NOISE)
    torch.testing.assert_close(moved, climb("fgsm:objective=lower", Linear()))


def test_a_universal_perturbation_moves_other_images_its_way() -> None:
    others = grid_images(12, seed=7)
    regressor = Linear()
    batches = [AttackBatch(IMAGES, MOS, NOISE)]
    for objective, sign in (("raise", 1), ("lower", -1)):
        ready = attack(f"uap:objective={objective}").component
        ready = ready.prepare(Facts(NOISE.image_ids, MOS.tolist(), [0.0] * 6))
        ready = ready.fit(regressor, batches, EPS, Noise(0, ("fit",)))
        mos = torch.full((12,), 0.5)
        moved = ready.perturb(regressor, others, mos, EPS, noise_for(others))
        assert (sign * (regressor.logit(moved) - regressor.logit(others)) > 0).all()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("apgd:steps=0", "steps"),
        ("mifgsm:decay=-1", "decay"),
        ("square:share=0", "share"),
        ("square:share=1.5", "share"),
        ("nes:pairs=0", "pairs"),
        ("spsa:sigma_255=0", "sigma_255"),
        ("smoothed_gradient:samples=0", "samples"),
        ("random_noise:samples=0", "samples"),
        ("transfer:objective=both", "both"),
        ("transfer:source=''", "source"),
        ("uap:objective=reflect", "objective"),
        ("uap:images=0", "images"),
    ],
)
def test_wrong_parameters_are_named(text: str, word: str) -> None:
    from iqabench.errors import ParamError

    with pytest.raises(ParamError, match=word):
        attack(text)
