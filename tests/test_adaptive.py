"""Attacks go through what a defense declares; what its own gradient gives stands beside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from planned_runs import cells, execute, plan_of, with_defense
from support import Linear, Workplace, grid_images, noise_for, side_of
from torch import Tensor, nn

from iqabench.api import (
    Backbone,
    Defense,
    Expectation,
    Facts,
    Noise,
    Regressor,
    RegressorWrapper,
    Routed,
    global_average,
    pixel_gradient,
)
from iqabench.clean import clean_scores
from iqabench.conditions import Conditions
from iqabench.planning import attack
from iqabench.routes import EXPECTATION, OWN, routes
from iqabench.sweeping import Sweep

IMAGES = grid_images()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("place"))


class Reversed(torch.autograd.Function):
    """The identity with a gradient that points the wrong way."""

    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return -gradient


class Deceiving(Regressor):
    """Its own gradient points the wrong way; a surrogate has the right one."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.out_channels, 1)
        self.honest = False

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        out: Tensor = self.head(global_average(self.backbone(images))).squeeze(1)
        return out if self.honest else Reversed.apply(out)

    def surrogates(self) -> dict[str, Regressor]:
        return {"straight": Straight(self)}


class Straight(RegressorWrapper):
    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        assert isinstance(self.inner, Deceiving)
        self.inner.honest = True
        try:
            return self.inner.logit(images, noise)
        finally:
            self.inner.honest = False


@dataclass(frozen=True, kw_only=True)
class Deception(Defense):
    """Lies about its gradient and says how to see through it."""

    summary = "gradient with the wrong sign"

    def build(self, backbone: Backbone) -> Regressor:
        return Deceiving(backbone)


class Shifted(RegressorWrapper):
    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        return 2 * self.inner.logit(images, noise) + 7


def test_a_route_has_the_values_of_one_and_the_gradient_of_the_other() -> None:
    real, noise = Linear(), noise_for(IMAGES)
    routed = Routed(real, Shifted(real))

    def goal(model: Regressor, images: Tensor, n: Noise) -> Tensor:
        return model.logit(images, n)

    values, gradient = pixel_gradient(goal, routed, IMAGES, noise)
    assert torch.equal(values, real.logit(IMAGES))
    _, own = pixel_gradient(goal, real, IMAGES, noise)
    assert torch.equal(gradient, 2 * own)
    with torch.no_grad():
        assert torch.equal(routed.logit(IMAGES), real.logit(IMAGES))
        assert torch.equal(routed(IMAGES), real(IMAGES))
    assert routed.surrogates() == {}


class Jittery(Linear):
    stochastic = True

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        assert noise is not None
        return super().logit(images) + noise.normal("jitter", (), like=images)

    def surrogates(self) -> dict[str, Regressor]:
        return {"mean": Linear()}


def test_a_white_box_attack_takes_every_route_and_others_see_values_alone() -> None:
    pgd, square = attack("pgd").component, attack("square").component
    assert list(routes(pgd, Linear(), 10)) == [OWN]
    ways = routes(pgd, Jittery(), 10)
    assert list(ways) == [OWN, "mean", EXPECTATION]
    draws = {name: way.draws for name, way in ways.items() if isinstance(way, Expectation)}
    assert draws == {OWN: 1, EXPECTATION: 10}
    through = ways["mean"]
    assert isinstance(through, Routed)
    assert isinstance(through.inner, Expectation)
    assert through.inner.draws == 10
    [(name, seen)] = routes(square, Jittery(), 10).items()
    assert (name, isinstance(seen, Expectation)) == (OWN, True)


class HalfRight(Linear):
    """Its own gradient is right for every other image, and its surrogate's for the rest."""

    def __init__(self, dark: bool = True) -> None:
        super().__init__()
        self.dark = dark

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        logits, dark = super().logit(images), images.detach().mean((1, 2, 3)) < 0.4
        return torch.where(dark == self.dark, logits, Reversed.apply(logits))

    def surrogates(self) -> dict[str, Regressor]:
        return {} if not self.dark else {"bright": HalfRight(dark=False)}


def test_the_best_route_is_chosen_image_by_image() -> None:
    images = grid_images(6)
    images[::2] = (images[::2] * 128).floor() / 255
    side, regressor = side_of(images), HalfRight().eval().requires_grad_(False)
    conditions = Conditions(0, 1, 1, 4, torch.device("cpu"))
    clean, _, _ = clean_scores(regressor, side, conditions, lambda done, total: None)
    sweep = Sweep(attack("fgsm:objective=raise").component, regressor, side, clean, conditions)
    best = torch.cat([adversarial for _, adversarial, _ in sweep.attacked(4)])
    assert (regressor.logit(best) > regressor.logit(images)).all()
    outcome = sweep.run([4], lambda done, total: None)[4]
    assert outcome.error is None
    alone = outcome.columns.array("logit_nonadaptive") > clean.logits.numpy()
    assert alone.tolist() == [True, False] * 3


class Rounded(Linear):
    """Rounds its input, and says what an attacker should follow instead."""

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        return super().logit((images * 255).round() / 255)

    def surrogates(self) -> dict[str, Regressor]:
        return {"identity": Linear()}


def test_a_rounded_input_has_no_gradient_and_its_surrogate_is_the_undefended_attack() -> None:
    mos, noise = torch.full((len(IMAGES),), 0.9), noise_for(IMAGES)
    pgd = attack("pgd:objective=lower").component.prepare(Facts((), (), ()))
    ways = routes(pgd, Rounded(), 1)
    moved = {n: pgd.perturb(way, IMAGES, mos, 4 / 255, noise) for n, way in ways.items()}
    undefended = pgd.perturb(Linear(), IMAGES, mos, 4 / 255, noise)
    assert torch.equal(moved["identity"], undefended)
    before = Linear().logit(IMAGES)
    gained = {n: (before - Linear().logit(images)).mean() for n, images in moved.items()}
    assert gained[OWN] < 0.2 * gained["identity"]


def test_the_variance_of_an_expected_gradient_falls_as_one_over_the_draws() -> None:
    class Tilted(Linear):
        stochastic = True

        def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
            assert noise is not None
            tilt = noise.normal("tilt", images.shape[1:], like=images)
            return (images * (self.weight + tilt)).sum((1, 2, 3))

    def variance(draws: int) -> float:
        def goal(model: Regressor, images: Tensor, n: Noise) -> Tensor:
            return model.logit(images, n)

        model = Expectation(Tilted(), draws=draws)
        _, gradient = pixel_gradient(goal, model, IMAGES, noise_for(IMAGES))
        return float((gradient - Linear().weight).var())

    assert variance(1) == pytest.approx(1, rel=0.15)
    assert variance(16) == pytest.approx(1 / 16, rel=0.15)


def test_the_cell_is_the_adaptive_result_with_the_other_beside_it(
    place: Workplace, tmp_path: Path
) -> None:
    from iqabench.attacks.fgsm import FGSM

    plan = plan_of(place, [FGSM(objective="raise")], eps=[2])
    plan = with_defense(plan, Deception())
    assert execute(place, plan, tmp_path).failures == []
    found = cells(tmp_path)
    record, columns = found["deception", "fgsm:objective=raise", 2.0]
    assert record.cell["attack"]["routes"] == [OWN, "straight"]
    clean = torch.tensor(columns["clean_logit"])
    adaptive, own = torch.tensor(columns["logit"]), torch.tensor(columns["logit_nonadaptive"])
    assert (adaptive > clean).all()
    assert (own < clean).all()
    assert record.metrics is not None
    assert record.metrics_nonadaptive is not None
    assert record.metrics_nonadaptive["mse"] != record.metrics["mse"]
    plain, plain_columns = found["resnet", "fgsm:objective=raise", 2.0]
    assert "routes" not in plain.cell["attack"]
    assert plain.metrics_nonadaptive is None
    assert "logit_nonadaptive" not in plain_columns
    assert execute(place, plan, tmp_path).computed == 0


def test_a_deterministic_defense_without_surrogates_costs_what_it_did(
    place: Workplace, tmp_path: Path
) -> None:
    assert execute(place, plan_of(place, eps=[1]), tmp_path).failures == []
    record, _ = cells(tmp_path)["resnet", "fgsm", 1.0]
    assert record.cost is not None
    assert (record.cost["forwards"], record.cost["backwards"]) == (1, 1)


def test_steps_of_an_ascent_see_fresh_draws() -> None:
    seen: list[float] = []

    class Watching(Jittery):
        def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
            assert noise is not None
            seen.append(float(noise.normal("jitter", ())[0]))
            return super().logit(images, noise)

    pgd = attack("pgd:objective=raise,steps=3").component.prepare(Facts((), (), ()))
    mos = torch.full((len(IMAGES),), 0.5)
    pgd.perturb(Watching(), IMAGES, mos, 1 / 255, noise_for(IMAGES))
    assert len(set(seen)) == len(seen) == 4
