"""Figure 4: the score over a plane through an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from iqabench.contracts.ascent import pixel_gradient
from iqabench.contracts.attack import Attack, ObjectiveAttack
from iqabench.contracts.regressor import Regressor
from iqabench.errors import CellError, IncompatibleError, UnknownNameError
from iqabench.figures.subject import Subject, only_image, with_label
from iqabench.progress import Counter, unseen
from iqabench.scoring import score
from iqabench.sides import Side


@dataclass(frozen=True)
class Plane:
    """Scores of one defense around one image.

    Attributes:
        defense: The defense.
        steps: Positions along both axes, in grey levels; the middle one is 0.
        scores: ``scores[j][i]`` at ``alpha = steps[i]`` and ``beta = steps[j]``, in ``[0, 1]``.
        mos: Label that the objective was told.
        mos_from: ``given``, ``data set`` or ``clean score``.
        gradient_from: Whose gradient gave the direction: ``own``, or the name of a surrogate.
    """

    defense: str
    steps: tuple[float, ...]
    scores: tuple[tuple[float, ...], ...]
    mos: float
    mos_from: str
    gradient_from: str

    @property
    def clean_score(self) -> float:
        """The score of the image itself."""
        middle = len(self.steps) // 2
        return self.scores[middle][middle]

    @property
    def effect(self) -> str:
        """What the whole step along the gradient's sign does to the score."""
        middle = len(self.steps) // 2
        after = self.scores[middle][-1]
        did = "raises" if after > self.clean_score else "lowers"
        if after == self.clean_score:
            return "FGSM step leaves it"
        return f"FGSM step {did} it to {after:.4f}"


@dataclass(frozen=True)
class Grid:
    """Which points are scored.

    Attributes:
        reach_255: How far both axes go in either direction, in grey levels.
        points: Points along an axis, odd.
        direction_from: A surrogate that supplies the gradient where a defense has it.
    """

    reach_255: float
    points: int
    direction_from: str | None = None

    @property
    def steps(self) -> tuple[float, ...]:
        """Positions along an axis, in grey levels."""
        half = self.points // 2
        return tuple(self.reach_255 * (i - half) / half for i in range(self.points))


def check_objective(attack: Attack) -> ObjectiveAttack:
    """Return an attack whose objective has a gradient to follow.

    Raises:
        IncompatibleError: It climbs none of the core's objectives.
    """
    if not isinstance(attack, ObjectiveAttack):
        raise IncompatibleError(
            "a landscape follows the gradient of an attack's objective, and this attack has none;"
            " take --attack fgsm:objective=reflect"
        )
    return attack


def check_surrogate(name: str | None, regressors: Sequence[Regressor]) -> None:
    """See that a surrogate is one of some defense.

    Raises:
        UnknownNameError: None of them has it.
    """
    known = {key for r in regressors for key in r.surrogates()}
    if name is not None and name not in known:
        raise UnknownNameError.of("surrogate", name, known)


def score_plane(
    subject: Subject, side: Side, mos: float | None, grid: Grid, progress: Counter = unseen
) -> Plane:
    """Score x + alpha sign(g) + beta r, clipped to [0, 1], over a grid of alpha and beta.

    ``g`` is the gradient of the attack's objective at x, and ``r`` has random signs that depend on
    the seed and the image alone, so that defenses are seen along the same ``r``. A pixel moves by
    at most ``|alpha| + |beta|``.

    Args:
        subject: The defense, and the attack whose objective is followed.
        side: One image.
        mos: Label in ``[0, 1]``; None for the one of the data set, else the clean score.
        grid: Which points.
        progress: Told of points that are scored.

    Raises:
        CellError: The gradient is zero, so there is no direction; or the defense failed.
    """
    labelled, origin = with_label(side, subject, mos)
    image, _ = only_image(labelled, subject.conditions.device)
    forward, name = _gradient_sign(subject, labelled, grid)
    across = _random_sign(subject, labelled, image)
    points = [(alpha, beta) for beta in grid.steps for alpha in grid.steps]
    scores: list[float] = []
    size = subject.conditions.batch_size
    for start in range(0, len(points), size):
        moves = torch.tensor(points[start : start + size], device=image.device) / 255
        alpha, beta = moves[:, 0, None, None, None], moves[:, 1, None, None, None]
        images = (image + alpha * forward + beta * across).clamp(0, 1)
        noise = labelled.noise(subject.conditions.seed, [0] * len(images), "score")
        draws = subject.conditions.score_draws
        scores += score(subject.regressor, images, noise, draws).scores.tolist()
        progress(len(scores), len(points))
    count = grid.points
    rows = tuple(tuple(scores[i : i + count]) for i in range(0, len(scores), count))
    return Plane(subject.label, grid.steps, rows, float(labelled.mos[0]), origin, name)


def plane_table(planes: Sequence[Plane]) -> list[list[object]]:
    """Return the numbers of the figure: a header and one row per defense and point."""
    table: list[list[object]] = [["defense", "gradient_from", "alpha_255", "beta_255", "score"]]
    for plane in planes:
        for beta, row in zip(plane.steps, plane.scores, strict=True):
            for alpha, value in zip(plane.steps, row, strict=True):
                table.append([plane.defense, plane.gradient_from, alpha, beta, value])
    return table


def _gradient_sign(subject: Subject, side: Side, grid: Grid) -> tuple[Tensor, str]:
    sweep = subject.sweep(side, grid.reach_255)
    images, mos = only_image(side, subject.conditions.device)
    noise = side.noise(subject.conditions.seed, [0], "attack")
    attack = check_objective(sweep.attack)
    routes = sweep.real.surrogates()
    name = grid.direction_from if grid.direction_from in routes else None
    model = routes[name] if name else sweep.real
    goal = attack.goal(sweep.real, images, mos, noise)
    _, gradient = pixel_gradient(goal, model, images, noise)
    if not bool(gradient.any()):
        raise CellError(
            f"the gradient of the objective {attack.objective} under {subject.label} is zero at"
            " this image, so there is no direction; give --mos, another objective, or"
            " --direction-from"
        )
    return gradient.sign(), name or "own"


def _random_sign(subject: Subject, side: Side, image: Tensor) -> Tensor:
    noise = side.noise(subject.conditions.seed, [0], "landscape")
    (generator,) = noise.generators("beta")
    signs = generator.integers(0, 2, size=tuple(image.shape[1:])).astype(np.float32) * 2 - 1
    return torch.from_numpy(signs)[None].to(image.device)
