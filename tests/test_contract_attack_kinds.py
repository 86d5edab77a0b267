"""The contract suite over sweeps, declarations, and attacks that fit or transfer."""

# The mutants all have the signature of Attack.perturb or Attack.sweep.
# mypy: allow-untyped-defs

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from attack_mutants import Honest, sign, variant
from torch import Tensor

from iqabench.api import Attack, AttackBatch, Facts, Noise, Regressor, project
from iqabench.testing import check_attack

Radii = Sequence[float]
Sweep = Callable[[Any, Regressor, Tensor, Tensor, Radii, Noise], Iterator[Tensor]]


def unlike_perturb(self, regressor, images, mos, eps_list, noise):
    direction = -sign(regressor, images, mos, noise)
    for eps in eps_list:
        yield project(images + eps * direction, images, eps)


def in_its_own_order(self, regressor, images, mos, eps_list, noise):
    yield from Honest().sweep(regressor, images, mos, sorted(eps_list), noise)


def one_too_few(self, regressor, images, mos, eps_list, noise):
    yield from Honest().sweep(regressor, images, mos, eps_list[:-1], noise)


def one_too_many(self, regressor, images, mos, eps_list, noise):
    yield from Honest().sweep(regressor, images, mos, [*eps_list, eps_list[-1]], noise)


def without_gradients_outside(self, regressor, images, mos, eps_list, noise):
    with torch.no_grad():
        yield from Honest().sweep(regressor, images, mos, eps_list, noise)


def moves_the_input(self, regressor, images, mos, eps_list, noise):
    results = list(Honest().sweep(regressor, images, mos, eps_list, noise))
    images.mul_(0.5)
    yield from results


SWEEP: list[tuple[Sweep, str]] = [
    (unlike_perturb, r"other images in a sweep than perturb does at eps = 8/255"),
    (in_its_own_order, r"budget at eps = 0/255"),
    (one_too_few, r"yields 3 batches in a sweep over 4 radii"),
    (one_too_many, r"yields more batches in a sweep over 4 radii"),
    (without_gradients_outside, r"changes torch's grad mode in sweep, when it yields"),
    (moves_the_input, r"changes its input images in place"),
]


@pytest.mark.parametrize(("sweep", "message"), SWEEP, ids=[s.__name__ for s, _ in SWEEP])
def test_a_broken_sweep_is_caught(sweep: Sweep, message: str) -> None:
    with pytest.raises(AssertionError, match=rf"^Mutant .*{message}"):
        check_attack(variant(sweep=sweep))


def needs_no_gradient(self, regressor, images, mos, eps, noise):
    signs = noise.normal("start", images.shape[1:], like=images).sign()
    candidates = [project(images + s * eps * signs, images, eps) for s in (1, -1)]
    with torch.no_grad():
        first, second = (regressor.logit(c, noise) for c in candidates)
    return torch.where((first > second)[:, None, None, None], *candidates)


def only_noise(self, regressor, images, mos, eps, noise):
    signs = noise.normal("start", images.shape[1:], like=images).sign()
    return project(images + eps * signs, images, eps)


DECLARED: list[tuple[dict[str, Any], str]] = [
    ({"threat_model": "l2"}, r"declares threat_model = 'l2', not one of linf, other, none"),
    ({"access": "grey-box"}, r"declares access = 'grey-box'"),
    ({"access": "black-box"}, r"does not say how many queries"),
    ({"access": "black-box", "queries": 5}, r"needs the regressor's gradient"),
    ({"access": "none", "perturb": needs_no_gradient}, r"access 'none' and asks the regressor"),
    (
        {"access": "black-box", "queries": 1, "perturb": needs_no_gradient},
        r"declares 1 queries per image and makes 2",
    ),
    ({"access": "transfer"}, r"names no sources\(\)"),
    ({"sources": lambda self: ("a b",)}, r"raised SpecError in reading its source 'a b'"),
    ({"passes": lambda self, count: count}, r"estimates 3 for three radii"),
    ({"prepare": lambda self, facts: None}, r"does not return itself, made ready, from prepare"),
    ({"needs_fit": True}, r"raised NotImplementedError in fit"),
]


@pytest.mark.parametrize(("members", "message"), DECLARED)
def test_a_wrong_declaration_is_caught(members: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=rf"^Mutant .*{message}"):
        check_attack(variant(**members))


def test_what_an_attack_raises_is_told_with_its_name_and_what_it_was_asked() -> None:
    with pytest.raises(AssertionError, match=r"^Mutant raised TypeError in perturb at eps = 0/255"):
        check_attack(variant(perturb=lambda self: None))


def test_black_box_and_noise_attacks_pass_if_they_say_what_they_are() -> None:
    check_attack(variant(perturb=needs_no_gradient, access="black-box", queries=2))
    check_attack(variant(perturb=only_noise, access="none"))


def test_an_attack_outside_the_ball_passes_if_it_says_so() -> None:
    darker = variant(
        threat_model="other", access="none", perturb=lambda self, r, images, *rest: images / 2
    )
    check_attack(darker)


@dataclass(frozen=True, kw_only=True)
class Universal(Attack):
    """One pattern for every image, found on training images.

    It is given its batches once, as by the harness.
    """

    summary = "one pattern for all"
    needs_fit = True

    shape: str = "rows"

    def fit(
        self, regressor: Regressor, batches: Iterable[AttackBatch], eps: float, noise: Noise
    ) -> Universal:
        total = sum(sign(regressor, b.images, b.mos, b.noise).sum(0) for b in batches)
        assert isinstance(total, Tensor)
        made = type(self)(shape=self.shape)
        object.__setattr__(made, "pattern", total.sign())
        return made

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        pattern: Tensor = vars(self)["pattern"]
        return project(images + eps * pattern, images, eps)


@dataclass(frozen=True, kw_only=True)
class Transferred(Attack):
    """A signed step on the first of its sources.

    The attacked regressor is not asked at all.
    """

    summary = "a step on another regressor"
    access = "transfer"

    source: str = "resnet:pool=max"

    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def prepare(self, facts: Facts) -> Transferred:
        made = type(self)(source=self.source)
        object.__setattr__(made, "model", facts.sources[self.source])
        return made

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        model: Regressor = vars(self)["model"]
        return Honest().perturb(model, images, mos, eps, noise)


def test_universal_and_transfer_attacks_get_what_they_need() -> None:
    check_attack(Universal)
    check_attack(Transferred)
