"""How long a plan will take, measured on a few random images before anything is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from iqabench.containment import shielded
from iqabench.contracts.ascent import pixel_gradient
from iqabench.contracts.attack import Attack
from iqabench.contracts.defense import evaluation_mode
from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Regressor
from iqabench.environment import settle
from iqabench.errors import UsageError
from iqabench.planning import Entry, Plan
from iqabench.progress import Reporter, counted
from iqabench.seeding import lent_rng, seed_torch

_IMAGES = 8
_REPEATS = 3
_SECONDS = 1.0
"""A pass is timed at least so often, and for at least so long."""


@dataclass(frozen=True)
class Cost:
    """What one defense costs on one data set.

    Attributes:
        entry: The defense.
        trained: Its checkpoint is there already.
        training_seconds: Estimate of the training; 0 if trained, None if the network cannot be run.
        clean_seconds: Estimate of the clean pass; None likewise.
        attack_seconds: Estimate per attack over all radii; None likewise, or where the attack does
            not say how many passes it takes.
    """

    entry: Entry
    trained: bool
    training_seconds: float | None
    clean_seconds: float | None
    attack_seconds: dict[str, float | None]


def estimate(plan: Plan, store: Path, device: torch.device, reporter: Reporter) -> Iterator[Cost]:
    """Yield the cost of every entry of a plan, from timed passes through its network."""
    progress = reporter.counter("estimating the time of it")
    for entry in counted(plan.entries, progress):
        try:
            speed = _measure(entry, plan, device)
        except UsageError:
            raise
        except Exception:  # a plugin may raise anything; the run will say what
            speed = None
        trained = entry.training.checkpoint(store).exists or not entry.chain.trains
        images = len(entry.data.train) * entry.training.recipe.epochs
        tested = len(entry.data.test)
        yield Cost(
            entry,
            trained,
            0.0 if trained else images * speed.both if speed else None,
            speed.clean(tested) if speed else None,
            {a.label: speed.seconds(a.component, tested) if speed else None for a in plan.attacks},
        )


def _measure(entry: Entry, plan: Plan, device: torch.device) -> _Speed:
    with shielded(), lent_rng(device):
        seed_torch("estimate")
        backbone = entry.training.backbone.build(with_weights=False)
        regressor = settle(entry.chain.build(backbone), device)
        forward, both = _time(regressor, entry.training.recipe.crop, device)
    surrogates = len(regressor.surrogates())
    return _Speed(forward, both, plan, regressor.stochastic, surrogates)


@dataclass(frozen=True)
class _Speed:
    """Seconds per image: forwards alone, forwards and backwards together.

    A pass through a surrogate is taken to last as long as one through the network.
    """

    forward: float
    both: float
    plan: Plan
    stochastic: bool
    surrogates: int

    def clean(self, images: int) -> float:
        return images * self._score_draws * self.forward

    @property
    def _score_draws(self) -> int:
        return self.plan.benchmark.score_draws if self.stochastic else 1

    @property
    def _attack_draws(self) -> int:
        return self.plan.benchmark.attack_draws if self.stochastic else 1

    def seconds(self, attack: Attack, images: int) -> float | None:
        radii = len(self.plan.eps_255)
        passes = attack.passes(radii)
        if passes is None:
            return None
        pairs = min(passes.forwards, passes.backwards)
        once = pairs * self.both + (passes.forwards - pairs) * self.forward
        scoring = radii * self._score_draws * self.forward
        return images * (self._on_all_routes(attack, once, passes.forwards, radii) + scoring)

    def _on_all_routes(self, attack: Attack, once: float, values: float, radii: int) -> float:
        """Return the seconds per image of an attack on every route (``routes.routes``)."""
        if attack.access != "white-box":
            return self._attack_draws * once
        ways = 1 + self.stochastic + self.surrogates
        real = self._attack_draws * self.forward
        total = once + self.stochastic * self._attack_draws * once
        total += self.surrogates * (once + values * real)
        return total + (radii * ways * real + radii * self._score_draws * self.forward) * (ways > 1)


def _time(regressor: Regressor, crop: int, device: torch.device) -> tuple[float, float]:
    """Return seconds per image of a forward pass, and of a forward and backward pass."""
    images = torch.full((_IMAGES, 3, crop, crop), 0.5, device=device)
    noise = Noise(0, tuple(map(str, range(_IMAGES))))
    with evaluation_mode(regressor):
        forward = _best(lambda: _forward(regressor, images, noise), device)
        both = _best(lambda: _forward_backward(regressor, images, noise), device)
    return forward / _IMAGES, both / _IMAGES


@torch.no_grad()
def _forward(regressor: Regressor, images: Tensor, noise: Noise) -> None:
    regressor.logit(images, noise)


def _forward_backward(regressor: Regressor, images: Tensor, noise: Noise) -> None:
    pixel_gradient(lambda model, x, n: model.logit(x, n), regressor, images, noise)


def _best(action: Callable[[], None], device: torch.device) -> float:
    """Return the shortest time of an action, in seconds: what else runs here comes and goes."""
    action()  # the first pass chooses kernels
    times: list[float] = []
    while len(times) < _REPEATS or sum(times) < _SECONDS:
        began = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times)
