"""Signed gradient ascent inside an L-infinity ball, for attacks and for adversarial training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from iqabench.contracts.noise import Noise
from iqabench.contracts.objective import Goal
from iqabench.contracts.regressor import Regressor

Look = tuple[Tensor, Tensor]
"""A goal's values ``(N,)`` and a direction of the images' shape in which it rises."""
Slope = Callable[[Goal, Regressor, Tensor, Noise], Look]
"""(goal, model, images, noise) -> values and direction.

Every step has noise of its own, so that an ascent of an expectation sees fresh draws.
"""


@dataclass(frozen=True)
class Climb:
    """Where an ascent ended: the best iterate of each image and its value of the goal."""

    images: Tensor
    values: Tensor


def pixel_gradient(
    goal: Goal, model: Regressor, images: Tensor, noise: Noise
) -> tuple[Tensor, Tensor]:
    """Return the goal's values ``(N,)`` and its gradient with respect to the pixels.

    The values are summed, not averaged, so that each image's gradient is its own.
    """
    with torch.enable_grad():
        pixels = images.detach().requires_grad_()
        values = goal(model, pixels, noise)
        if not values.requires_grad:  # nothing depends on the pixels, as with a constant score
            return values.detach(), torch.zeros_like(images)
        (gradient,) = torch.autograd.grad(values.sum(), pixels, allow_unused=True)
    return values.detach(), torch.zeros_like(images) if gradient is None else gradient


def project(images: Tensor, clean: Tensor, eps: float) -> Tensor:
    """Return ``images`` clipped to the L-infinity ball of ``eps`` around ``clean`` and to [0, 1].

    Args:
        images: Candidate adversarial images.
        clean: The images they were made from.
        eps: Radius on the ``[0, 1]`` scale.
    """
    return torch.clamp(images, *_bounds(clean, eps))


def single_steps(
    goal: Goal, regressor: Regressor, clean: Tensor, eps_list: Sequence[float], noise: Noise
) -> Iterator[Tensor]:
    """Yield, per eps, the clean images moved by one signed step of length eps.

    x + eps * sign(gradient); Goodfellow et al. 2015, section 4. The direction does not depend on
    eps, so all radii share one gradient.
    """
    _, gradient = pixel_gradient(goal, regressor, clean, noise)
    direction = gradient.sign()
    for eps in eps_list:  # a step of length eps cannot leave the ball, so only [0, 1] is left
        yield torch.add(clean, direction, alpha=eps).clamp_(0, 1)


@dataclass(frozen=True)
class SignedAscent:
    """Signed steps inside a ball: x <- project(x + step_size * sign(g)).

    Madry et al. 2018, section 2.1; with ``decay`` Dong et al. 2018 (MI-FGSM), Algorithm 1. The
    start counts as an iterate, so an ascent from the clean images never ends below them.

    Attributes:
        eps: Radius on the ``[0, 1]`` scale.
        steps: Number of steps.
        step_size: Length of a step on the ``[0, 1]`` scale (absolute, not relative to eps).
        slope: Where directions come from; the gradient with respect to the pixels without it.
        decay: Weight of the steps so far: g <- decay * g + gradient / ||gradient||_1.
    """

    eps: float
    steps: int
    step_size: float
    slope: Slope = pixel_gradient
    decay: float = 0.0

    @classmethod
    def in_training(cls, *, eps_255: float, steps: int, step: float) -> SignedAscent:
        """Return the inner steps of an adversarial training.

        Args:
            eps_255: Radius in grey levels.
            steps: Number of steps.
            step: Length of a step as a share of eps; 0 takes 2.5 / steps, but at most the 1.25 of
                fast adversarial training (Wong et al. 2020).
        """
        eps = eps_255 / 255
        return cls(eps=eps, steps=steps, step_size=eps * (step or min(1.25, 2.5 / steps)))

    def look(
        self, goal: Goal, regressor: Regressor, images: Tensor, noise: Noise, step: int = 0
    ) -> Look:
        """Return the goal's values and slope at the images that a step begins with."""
        return self.slope(goal, regressor, images, noise.for_purpose(f"step{step}"))

    def climb(
        self,
        goal: Goal,
        regressor: Regressor,
        clean: Tensor,
        noise: Noise,
        *,
        start: Tensor | None = None,
        first: Look | None = None,
        kick: Tensor | None = None,
    ) -> Climb:
        """Return the best iterate of each image.

        Args:
            goal: What to increase; see ``iqabench.contracts.objective``.
            regressor: The attacked model; its values decide which iterate is best.
            clean: Centre of the ball, ``(N, 3, H, W)`` in ``[0, 1]``.
            noise: Randomness of the batch.
            start: First iterate, inside the ball; the clean images without it.
            first: What ``look`` finds at the start, where several climbs share it.
            kick: Where an image goes in the first step if its slope is exactly zero at the start
                (``mse`` where f equals y); without it, it stays.
        """
        images = clean if start is None else start
        best = Climb(images, torch.full((len(clean),), -torch.inf, device=clean.device))
        direction, bounds = torch.zeros_like(clean), _bounds(clean, self.eps)
        for step in range(self.steps):
            known = None if step else first
            values, rise = known or self.look(goal, regressor, images, noise, step)
            best = keep_better(best, Climb(images, values))
            direction = self.decay * direction + _unit(rise) if self.decay else rise
            images = torch.add(images, direction.sign(), alpha=self.step_size).clamp_(*bounds)
            if step == 0 and kick is not None:
                dead = rise.flatten(1).abs().amax(1) == 0
                images = torch.where(per_image(dead), kick, images)
        return keep_better(best, Climb(images, value_of(goal, regressor, images, noise)))


def keep_better(first: Climb, second: Climb) -> Climb:
    """Return, image by image, the climb with the larger value; the first where they are equal."""
    better = second.values > first.values
    if better.all():  # as in nearly every step: no pixel need be copied
        return second
    return Climb(
        torch.where(per_image(better), second.images, first.images),
        torch.where(better, second.values, first.values),
    )


def random_start(clean: Tensor, noise: Noise, *, eps: float, purpose: str = "start") -> Tensor:
    """Return a point uniform in the ball of radius ``eps``, clipped to [0, 1]."""
    offset = noise.uniform(purpose, clean.shape[1:], like=clean, low=-eps, high=eps)
    return project(clean + offset, clean, eps)


def best_of(goal: Goal, regressor: Regressor, candidates: Sequence[Tensor], noise: Noise) -> Tensor:
    """Return, image by image, the candidate with the largest value of the goal."""
    first, *others = candidates
    if not others:
        return first
    best = Climb(first, value_of(goal, regressor, first, noise))
    for images in others:
        best = keep_better(best, Climb(images, value_of(goal, regressor, images, noise)))
    return best.images


def value_of(goal: Goal, regressor: Regressor, images: Tensor, noise: Noise) -> Tensor:
    """Return the goal's values ``(N,)`` without a gradient."""
    with torch.no_grad():
        return goal(regressor, images, noise)


def per_image(values: Tensor) -> Tensor:
    """Return one value per image in a shape that broadcasts over the pixels."""
    return values[:, None, None, None]


def _bounds(clean: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the smallest and largest pixels within the ball and within [0, 1]."""
    return (clean - eps).clamp_min_(0), (clean + eps).clamp_max_(1)


def _unit(gradient: Tensor) -> Tensor:
    """Divide each image's gradient by its L1 norm; zero stays zero."""
    norm = gradient.flatten(1).abs().sum(1)
    return gradient / per_image(norm.where(norm > 0, torch.ones_like(norm)))
