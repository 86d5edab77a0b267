"""The contract suite over every attack, and over attacks with one fault in ``perturb`` each."""

# The mutants all have the signature of Attack.perturb.
# mypy: allow-untyped-defs

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from attack_mutants import Honest, sign, variant
from torch import Tensor

from iqabench.api import Noise, Regressor, make_goal, pixel_gradient, project
from iqabench.planning import attack
from iqabench.registry import ATTACKS
from iqabench.testing import check_attack, tiny_images

SMALL = {
    "apgd": "apgd:steps=10,restarts=2",
    "nes": "nes:steps=3,pairs=3",
    "random_noise": "random_noise:samples=5",
    "smoothed_gradient": "smoothed_gradient:steps=3,samples=4",
    "spsa": "spsa:steps=3,pairs=3",
    "square": "square:steps=30",
}
"""Those that take minutes with their defaults."""


@pytest.mark.parametrize("name", ATTACKS.names())
def test_every_attack_keeps_the_contract(name: str) -> None:
    check_attack(attack(SMALL.get(name, name)).component)


@pytest.mark.parametrize("name", ["apgd", "fgsm", "mifgsm", "nes", "pgd"])
def test_both_directions_keep_the_contract(name: str) -> None:
    text = SMALL.get(name, name)
    check_attack(attack(f"{text}{',' if ':' in text else ':'}objective=both").component)


def test_the_attack_that_the_mutants_are_made_of_keeps_the_contract() -> None:
    check_attack(Honest)
    check_attack(Honest())
    check_attack(variant())


Perturb = Callable[[Any, Regressor, Tensor, Tensor, float, Noise], Any]


def no_clamp(self, regressor, images, mos, eps, noise):
    return images + eps * sign(regressor, images, mos, noise)


def overshoots(self, regressor, images, mos, eps, noise):
    return (images + 1.3 * eps * sign(regressor, images, mos, noise)).clamp(0, 1)


def overshoots_below_only(self, regressor, images, mos, eps, noise):
    move = 2 * eps * sign(regressor, images, mos, noise)
    return (images + move.clamp(max=eps)).clamp(0, 1)


def takes_eps_for_grey_levels(self, regressor, images, mos, eps, noise):
    return Honest().perturb(regressor, images, mos, eps / 255, noise)


def takes_images_for_grey_levels(self, regressor, images, mos, eps, noise):
    return Honest().perturb(regressor, images, mos, eps * 255, noise)


def draws_from_torch(self, regressor, images, mos, eps, noise):
    return project(images + eps * torch.randn_like(images).sign(), images, eps)


def draws_from_numpy(self, regressor, images, mos, eps, noise):
    drawn = torch.tensor(np.random.randn(*images.shape[1:]))  # noqa: NPY002 - the fault
    return project(images + eps * drawn.sign().float(), images, eps)


def draws_from_python(self, regressor, images, mos, eps, noise):
    return project(images + eps * random.choice((-1, 1)), images, eps)


def seeds_torch(self, regressor, images, mos, eps, noise):
    torch.manual_seed(noise.seed)
    return Honest().perturb(regressor, images, mos, eps, noise)


def hides_that_it_draws(self, regressor, images, mos, eps, noise):
    with torch.random.fork_rng(devices=[]):
        return project(images + eps * torch.randn_like(images).sign(), images, eps)


def draws_from_the_system(self, regressor, images, mos, eps, noise):
    signs = np.random.default_rng().choice([-1.0, 1.0], images.shape[1:]).astype(np.float32)
    return project(images + eps * torch.from_numpy(signs), images, eps)


def writes_into_its_input(self, regressor, images, mos, eps, noise):
    return images.add_(eps * sign(regressor, images, mos, noise)).clamp_(0, 1)


def writes_into_the_labels(self, regressor, images, mos, eps, noise):
    mos.round_()
    return Honest().perturb(regressor, images, mos, eps, noise)


def leaves_requires_grad_on_its_input(self, regressor, images, mos, eps, noise):
    images.requires_grad_()
    (gradient,) = torch.autograd.grad(regressor.logit(images, noise).sum(), images)
    return project(images + eps * gradient.sign(), images, eps).detach()


def leaves_the_graph(self, regressor, images, mos, eps, noise):
    pixels = images.clone().requires_grad_()
    return project(pixels + eps * sign(regressor, images, mos, noise), images, eps)


def turns_gradients_off(self, regressor, images, mos, eps, noise):
    result = Honest().perturb(regressor, images, mos, eps, noise)
    torch.set_grad_enabled(False)
    return result


def changes_the_default_dtype(self, regressor, images, mos, eps, noise):
    torch.set_default_dtype(torch.float64)
    return Honest().perturb(regressor, images, mos, eps, noise)


def changes_the_threads(self, regressor, images, mos, eps, noise):
    torch.set_num_threads(2)
    return Honest().perturb(regressor, images, mos, eps, noise)


def trains_the_regressor(self, regressor, images, mos, eps, noise):
    with torch.no_grad():
        next(regressor.parameters()).mul_(0.999)
    return Honest().perturb(regressor, images, mos, eps, noise)


def switches_to_training_mode(self, regressor, images, mos, eps, noise):
    return Honest().perturb(regressor.train(), images, mos, eps, noise)


def thaws_the_weights(self, regressor, images, mos, eps, noise):
    return Honest().perturb(regressor.requires_grad_(True), images, mos, eps, noise)


def returns_nan(self, regressor, images, mos, eps, noise):
    return Honest().perturb(regressor, images, mos, eps, noise) / (0 * images + (eps < 0.01))


def returns_one_channel(self, regressor, images, mos, eps, noise):
    return Honest().perturb(regressor, images, mos, eps, noise)[:, :1]


def returns_doubles(self, regressor, images, mos, eps, noise):
    return Honest().perturb(regressor, images, mos, eps, noise).double()


def returns_an_array(self, regressor, images, mos, eps, noise):
    return Honest().perturb(regressor, images, mos, eps, noise).numpy()


def moves_at_eps_0(self, regressor, images, mos, eps, noise):
    return Honest().perturb(regressor, images, mos, eps + 5e-7, noise)


def divides_by_the_batch(self, regressor, images, mos, eps, noise):
    goal = make_goal("raise", regressor, images, mos, noise)
    _, gradient = pixel_gradient(goal, regressor, images, noise)
    return project(images + eps * gradient / gradient.abs().max(), images, eps)


def leaves_the_mean_of_the_batch(self, regressor, images, mos, eps, noise):
    def goal(model: Regressor, x: Tensor, n: Noise) -> Tensor:
        scores: Tensor = model(x, n)
        return (scores - scores.detach().mean()) ** 2

    _, gradient = pixel_gradient(goal, regressor, images, noise)
    return project(images + eps * gradient.sign(), images, eps)


def draws_by_position(self, regressor, images, mos, eps, noise):
    generator = torch.Generator().manual_seed(noise.seed)
    return project(
        images + eps * torch.randn(images.shape, generator=generator).sign(), images, eps
    )


def stops_with_the_batch(self, regressor, images, mos, eps, noise):
    moved = images
    for _ in range(4):
        if bool((regressor.logit(moved, noise) > 0.05).all()):
            break
        moved = project(moved + eps / 4 * sign(regressor, moved, mos, noise), images, eps)
    return moved


def fails_on_rectangles(self, regressor, images, mos, eps, noise):
    moved = Honest().perturb(regressor, images, mos, eps, noise)
    return moved if images.shape[2] == images.shape[3] else moved.mT


PERTURB: list[tuple[Perturb, str]] = [
    (no_clamp, r"budget at eps = 0.5/255: .*outside \[0, 1\]"),
    (overshoots, r"budget at eps = 0.5/255: attack moved a pixel by 0.65"),
    (overshoots_below_only, r"budget at eps = 0.5/255: attack moved a pixel by 1/255"),
    (takes_eps_for_grey_levels, r"moves no pixel by more than .* on the \[0, 1\] scale"),
    (takes_images_for_grey_levels, r"budget at eps = 0.5/255: attack moved a pixel by 127.5"),
    (draws_from_torch, r"changes torch's global random state in perturb"),
    (draws_from_numpy, r"changes numpy's global random state in perturb"),
    (draws_from_python, r"changes python's global random state in perturb"),
    (seeds_torch, r"changes torch's global random state in perturb"),
    (hides_that_it_draws, r"other images when it is called again with the same noise"),
    (draws_from_the_system, r"other images when it is called again with the same noise"),
    (writes_into_its_input, r"changes its input images in place"),
    (writes_into_the_labels, r"changes its input mos in place"),
    (leaves_requires_grad_on_its_input, r"leaves requires_grad .* on its input images"),
    (leaves_the_graph, r"with a graph attached"),
    (turns_gradients_off, r"changes torch's grad mode in perturb"),
    (changes_the_default_dtype, r"changes torch's default dtype in perturb"),
    (changes_the_threads, r"changes torch's number of threads in perturb"),
    (trains_the_regressor, r"changes the parameter inner.first.weight in perturb"),
    (switches_to_training_mode, r"changes the .*training mode of .* in perturb"),
    (thaws_the_weights, r"changes the requires_grad of inner.first.weight.* in perturb"),
    (returns_nan, r"budget at eps = 8/255: attack returned NaN"),
    (returns_one_channel, r"attack returned \(8, 1, 12, 12\)"),
    (returns_doubles, r"attack returned .* torch.float64"),
    (returns_an_array, r"attack returned ndarray, not a tensor"),
    (moves_at_eps_0, r"moves pixels at eps 0$"),
    (divides_by_the_batch, r"attacked alone .* depend on that image alone"),
    (leaves_the_mean_of_the_batch, r"attacked alone .* depend on that image alone"),
    (draws_by_position, r"another order of the batch .* depend on that image alone"),
    (stops_with_the_batch, r"attacked alone .* depend on that image alone"),
    (fails_on_rectangles, r"attack returned \(8, 3, 14, 9\)"),
]


@pytest.mark.parametrize(("perturb", "message"), PERTURB, ids=[p.__name__ for p, _ in PERTURB])
def test_a_broken_perturb_is_caught(perturb: Perturb, message: str) -> None:
    with pytest.raises(AssertionError, match=rf"^Mutant .*{message}"):
        check_attack(variant(perturb=perturb))


def test_the_tiny_images_hold_black_white_and_both() -> None:
    images = tiny_images()
    assert float(images[6].max()) == 0
    assert float(images[7].min()) == 1
    assert set(images[5].flatten().tolist()) == {0.0, 1.0}
    assert torch.equal((images * 255).round() / 255, images)
