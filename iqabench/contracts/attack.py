"""What an attack is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from typing_extensions import Self

from iqabench.contracts.ascent import Look, SignedAscent, best_of
from iqabench.contracts.component import Component, state
from iqabench.contracts.noise import Noise
from iqabench.contracts.objective import Facts, Goal, ObjectiveName, Threshold, make_goal
from iqabench.contracts.regressor import Regressor

ThreatModel = Literal["linf", "other", "none"]
Access = Literal["white-box", "black-box", "transfer", "none"]


FEW_STEPS = 10
"""Steps up to which radii of one attack are computed together, for the sake of the first."""


@dataclass(frozen=True)
class Passes:
    """Passes per image that a sweep over several eps takes, for the estimate of a dry run."""

    forwards: float
    backwards: float

    @property
    def total(self) -> float:
        """Passes in both directions."""
        return self.forwards + self.backwards


@dataclass(frozen=True)
class AttackBatch:
    """A batch of training images, as ``Attack.fit`` gets them.

    Attributes:
        images: ``(N, 3, H, W)`` in ``[0, 1]``.
        mos: ``(N,)`` in ``[0, 1]``.
        noise: Randomness of the batch, with its image ids.
    """

    images: Tensor
    mos: Tensor
    noise: Noise


@dataclass(frozen=True, kw_only=True)
class Attack(Component):
    """Moves images so that the score goes where it should not.

    The harness calls, in this order and before ``perturb`` or ``sweep``: ``prepare`` once per
    (defense, data set), then ``fit`` once per eps if ``needs_fit``. The regressor is in ``eval()``
    mode with frozen parameters; a stochastic one arrives as the expectation over its draws.
    """

    threat_model: ClassVar[ThreatModel] = "linf"
    """What the harness enforces: the L-infinity ball, or only the pixel range (``other``)."""
    access: ClassVar[Access] = "white-box"
    """What of the defense the attack uses."""
    needs_fit: ClassVar[bool] = False
    """``fit`` has to see training images first (universal perturbations)."""

    @property
    def queries(self) -> int | None:
        """Score queries per image of a black-box attack; None where gradients are used."""
        return None

    def sources(self) -> tuple[str, ...]:
        """Return specs of other defenses that must be trained first (transfer attacks)."""
        return ()

    def prepare(self, facts: Facts) -> Self:
        """Return the attack ready for one regressor and split; the default needs no facts."""
        return self

    def fit(
        self, regressor: Regressor, batches: Iterable[AttackBatch], eps: float, noise: Noise
    ) -> Self:
        """Return the attack fitted for one eps on *training* images; only if ``needs_fit``.

        Args:
            regressor: The attacked model.
            batches: The training images; may be gone through several times.
            eps: Radius on the ``[0, 1]`` scale.
            noise: Randomness of the fit: one stream, as of a batch with one image.
        """
        raise NotImplementedError(f"{type(self).__name__} has needs_fit set but no fit")

    @abstractmethod
    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        """Return adversarial images of the same shape; the harness checks the budget.

        Each image's result depends on that image alone, the input is left unchanged, and all
        randomness comes from ``noise``.

        Args:
            regressor: The attacked model.
            images: Clean images ``(N, 3, H, W)`` in ``[0, 1]``, on the 8-bit grid.
            mos: Labels ``(N,)`` in ``[0, 1]``, higher is better.
            eps: L-infinity radius on the ``[0, 1]`` scale (4/255 for ``--eps 4``).
            noise: Randomness, one stream per image.
        """

    def sweep(
        self,
        regressor: Regressor,
        images: Tensor,
        mos: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        """Yield one adversarial batch per eps, equal to ``perturb`` for each.

        Override it only where work can be shared between radii.
        """
        for eps in eps_list:
            yield self.perturb(regressor, images, mos, eps, noise)

    def passes(self, eps_count: int) -> Passes | None:
        """Return the passes per image of a sweep over ``eps_count`` radii; None if unknown."""
        return None

    def goal(self, regressor: Regressor, images: Tensor, mos: Tensor, noise: Noise) -> Goal:
        """Return what this attack increases; the harness keeps the best of several results by it.

        The default is ``reflect`` at 0.5: good images down, bad ones up.
        """
        return make_goal("reflect", regressor, images, mos, noise)

    @property
    def shares_work(self) -> bool:
        """Whether radii are best computed together; else each becomes a file when it is done."""
        return type(self).sweep is not Attack.sweep

    @property
    def looks_first(self) -> bool:
        """Whether it begins with the score of the clean images and needs no ``Facts.logits``.

        As the first attack on one of our defenses, one of ours then gives the clean scores too.
        """
        return False


@dataclass(frozen=True, kw_only=True)
class ObjectiveAttack(Attack):
    """Base of attacks that climb one of the core's objectives.

    Attributes:
        objective: What to increase; see ``iqabench.contracts.objective``.
        threshold: Where ``reflect`` and ``reflect_pred`` split good from bad: a number in
            ``[0, 1]``, or ``median`` of the attacked split's labels.
        facts: Set by ``prepare``.
    """

    objective: ObjectiveName = "mse"
    threshold: Threshold = 0.5
    facts: Facts | None = state()

    def __post_init__(self) -> None:
        if self.threshold != "median" and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1] or 'median', got {self.threshold}")

    def prepare(self, facts: Facts) -> Self:
        """Keep the facts for objectives that look at the whole split."""
        return self.with_state(facts=facts)

    def goal(self, regressor: Regressor, images: Tensor, mos: Tensor, noise: Noise) -> Goal:
        """Return this attack's goal for one batch."""
        return self._goal(self.objective, regressor, images, mos, noise)

    def _goal(
        self,
        objective: ObjectiveName,
        regressor: Regressor,
        images: Tensor,
        mos: Tensor,
        noise: Noise,
    ) -> Goal:
        return make_goal(
            objective,
            regressor,
            images,
            mos,
            noise,
            threshold=self.threshold,
            facts=self.facts,
        )


@dataclass(frozen=True, kw_only=True)
class AscentAttack(ObjectiveAttack):
    """Base of attacks that climb a goal, whatever it is; a subclass writes ``ascend``.

    ``objective=both`` climbs up and down and keeps, image by image, the larger move.

    Attributes:
        objective: See ``ObjectiveAttack``.
        threshold: See ``ObjectiveAttack``.
    """

    @abstractmethod
    def ascend(
        self,
        goal: Goal,
        regressor: Regressor,
        clean: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        """Yield, per eps, images whose goal is high; see ``Attack.perturb``.

        Args:
            goal: What to increase.
            regressor: The attacked model.
            clean: Clean images ``(N, 3, H, W)`` in ``[0, 1]``.
            eps_list: Radii on the ``[0, 1]`` scale.
            noise: Randomness, one stream per image.
        """

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        """See ``Attack.perturb``."""
        return next(self.sweep(regressor, images, mos, [eps], noise))

    def sweep(
        self,
        regressor: Regressor,
        images: Tensor,
        mos: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        """Climb the objective, or up and down for ``both``; see ``Attack.sweep``."""
        goal = self.goal(regressor, images, mos, noise)
        goals = [goal]
        if self.objective == "both":
            ways: tuple[ObjectiveName, ...] = ("raise", "lower")
            goals = [self._goal(way, regressor, images, mos, noise) for way in ways]
        climbs = (self.ascend(one, regressor, images, eps_list, noise) for one in goals)
        for candidates in zip(*climbs, strict=True):
            yield best_of(goal, regressor, candidates, noise)

    @property
    def shares_work(self) -> bool:
        """Whether radii are best computed together; a subclass that shares a gradient says so."""
        return False

    @property
    def looks_first(self) -> bool:
        """Where radii share a gradient; only ``rank_reverse`` needs clean scores before."""
        return self.shares_work and self.objective != "rank_reverse"

    def passes(self, eps_count: int) -> Passes | None:
        """Return the passes of one climb, twice for ``both``; see ``Attack.passes``."""
        once = self.climb_passes(eps_count)
        if once is None or self.objective != "both":
            return once
        return Passes(2 * once.forwards + 1 + 2 * eps_count, 2 * once.backwards)

    def climb_passes(self, eps_count: int) -> Passes | None:
        """Return the passes per image of one ``ascend``; None if unknown."""
        return None

    @property
    def queries(self) -> int | None:
        """Those of one climb; for ``both`` twice that, and three to choose the better one."""
        once = self.climb_queries
        return once if once is None or self.objective != "both" else 2 * once + 3

    @property
    def climb_queries(self) -> int | None:
        """Score queries per image of one climb at one radius; None where gradients are used."""
        return None


@dataclass(frozen=True, kw_only=True)
class SteppedAttack(AscentAttack):
    """Base of attacks that make signed steps; a subclass says in ``ascent`` what is special.

    Attributes:
        objective: See ``ObjectiveAttack``.
        threshold: See ``ObjectiveAttack``.
        steps: Number of steps.
        step: Length of a step as a share of eps; 0 takes ``reach`` / steps.
    """

    reach: ClassVar[float] = 2.5
    """How far all steps go together where ``step`` is 0, as a share of eps (Madry's rule)."""

    steps: int = 10
    step: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.step < 0:
            raise ValueError(f"step must not be negative, got {self.step}")

    def ascent(self, eps: float) -> SignedAscent:
        """Return the steps inside one ball."""
        length = eps * (self.step or self.reach / self.steps)
        return SignedAscent(eps=eps, steps=self.steps, step_size=length)

    def ascend(
        self,
        goal: Goal,
        regressor: Regressor,
        clean: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[Tensor]:
        """See ``AscentAttack.ascend``; from the clean images, best iterate kept."""
        for ascent, first in self.ascents(goal, regressor, clean, eps_list, noise):
            yield ascent.climb(goal, regressor, clean, noise, first=first).images

    def ascents(
        self,
        goal: Goal,
        regressor: Regressor,
        clean: Tensor,
        eps_list: Sequence[float],
        noise: Noise,
    ) -> Iterator[tuple[SignedAscent, Look]]:
        """Yield, per eps, the ascent and what its first step finds at the clean images.

        That is looked for once for all radii with the same slope. Arguments: see ``ascend``.
        """
        slope, first = None, None
        for ascent in map(self.ascent, eps_list):
            if first is None or ascent.slope != slope:
                slope, first = ascent.slope, ascent.look(goal, regressor, clean, noise)
            yield ascent, first

    @property
    def shares_work(self) -> bool:
        """Radii share the first look, which counts where steps are few."""
        return self.steps <= FEW_STEPS

    @property
    def looks_first(self) -> bool:
        """A single step; where there are many, clean scores had better not wait for them."""
        return self.steps == 1 and super().looks_first

    @property
    def look_passes(self) -> Passes:
        """Passes per image that a step takes; a subclass with another slope says its own."""
        return Passes(1, 1)

    def climb_passes(self, eps_count: int) -> Passes:
        """See ``AscentAttack.climb_passes``."""
        return self._climb_passes(eps_count)

    def _climb_passes(self, eps_count: int, restarts: int = 1) -> Passes:
        shared = eps_count - 1 if self.shares_work else 0
        looks = eps_count * restarts * self.steps - shared
        one, ends = self.look_passes, eps_count * restarts
        return Passes(looks * one.forwards + ends, looks * one.backwards)
