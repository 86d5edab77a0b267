"""One attack against one regressor over a split and several radii."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from iqabench import budget
from iqabench.conditions import Conditions
from iqabench.containment import contained
from iqabench.contracts.ascent import best_of
from iqabench.contracts.attack import Attack, AttackBatch
from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Expectation, Regressor
from iqabench.counting import Counted, Tally
from iqabench.distances import Ruler
from iqabench.environment import forget_peak, peak_memory_mb
from iqabench.errors import BudgetError, CellError, SelfCheckError
from iqabench.keeping import Keeper
from iqabench.progress import Counter
from iqabench.recall import Recall, can_recall
from iqabench.routes import OWN, routes
from iqabench.scoring import CellColumns, Scores, score
from iqabench.sides import Side
from iqabench.visibility import Visibility

T = TypeVar("T")
VERSION = 2
"""Raise it when the harness (steps, objectives, scoring) would give a cell other numbers."""


@dataclass
class Outcome:
    """What came of one radius.

    Attributes:
        keeper: Keeps images, if some are wanted.
        columns: Per-image results, as far as it got.
        error: Why it failed; None if it did not.
    """

    keeper: Keeper | None = None
    columns: CellColumns = field(default_factory=CellColumns)
    error: Exception | None = None


@dataclass(frozen=True)
class Move:
    """What an attack made of one batch at one radius.

    Attributes:
        eps_255: The radius, in grey levels.
        ruler: Measures how far from the clean images something is.
        mos: Their labels.
        numbers: Their places in the split.
        candidates: What came back on each route, ``own`` first.
    """

    eps_255: float
    ruler: Ruler
    mos: Tensor
    numbers: list[int]
    candidates: tuple[Tensor, ...]

    @property
    def images(self) -> Tensor:
        """The clean images."""
        return self.ruler.clean


@dataclass(frozen=True)
class _Taken:
    """What became of one batch at one radius: columns, and images to keep; or an error.

    It holds no image that nobody wants: those of all radii would be alive at once.
    """

    eps_255: float
    columns: CellColumns = field(default_factory=CellColumns)
    keep: tuple[Tensor, Tensor, list[int]] | None = None
    error: BudgetError | None = None

    def add_to(self, outcome: Outcome) -> None:
        """Append it to the outcome of its radius, and keep the images that are wanted."""
        outcome.error = outcome.error or self.error
        if outcome.error is not None:
            return
        try:
            if outcome.keeper is not None and self.keep is not None:
                outcome.keeper.keep(*self.keep)
        except BudgetError as e:
            outcome.error = e
        else:
            outcome.columns.extend(self.columns)


@dataclass
class Sweep:
    """A prepared attack on a regressor over the attacked side of a data set.

    It takes every route to the gradient (see ``routes``) and keeps, image by image, what the real
    regressor says is best for the attack.

    Attributes:
        attack: The attack, already prepared.
        regressor: The defended regressor, frozen, in eval mode, on the device.
        side: The attacked images.
        clean: Their clean scores.
        conditions: Seeds, draws, batch size, device.
        visibility: Learned distances that are columns too.
    """

    tolerance: ClassVar[float] = 1e-6
    """How far scores at eps 0 may be from the clean ones (batch shapes may differ)."""

    attack: Attack
    regressor: Regressor
    side: Side
    clean: Scores
    conditions: Conditions
    visibility: Visibility | None = None

    def __post_init__(self) -> None:
        self.tally = Tally()
        knows = can_recall(self.attack, self.regressor)
        self.recall = Recall(self.regressor) if knows else None
        counted = Counted(self.recall or self.regressor, self.tally)
        draws = self.conditions.attack_draws
        self.routes = routes(self.attack, counted, draws)
        self.real = Expectation(counted, draws=draws) if counted.stochastic else counted
        self.attacks = dict.fromkeys(self.routes, self.attack)
        self.seconds = 0.0

    def make_ready(self, train: Side, eps_255: float) -> None:
        """Fit the attack on every route if it needs it, then pass it at eps 0.

        Args:
            train: The training images, for attacks that are fitted.
            eps_255: Radius of the fit, in grey levels.
        """
        with contained("the attack"):
            if self.attack.needs_fit:
                for name, target in self.routes.items():
                    self.attacks[name] = self._fitted(target, train, eps_255)
            self.self_check()

    def _fitted(self, target: Regressor, train: Side, eps_255: float) -> Attack:
        conditions = self.conditions
        noise = Noise(conditions.seed, ("fit",), scope="fit")

        def fit(size: int) -> Attack:
            batches = FittingBatches(train, replace(conditions, batch_size=size))
            return self.attack.fit(target, batches, eps_255 / 255, noise)

        return conditions.memory.whole(conditions.batch_size, fit)

    def self_check(self) -> None:
        """Attack one batch at eps 0, which must give the clean scores back.

        Raises:
            SelfCheckError: It does not.
            BudgetError: The attack moved pixels although eps is 0.
        """
        if self.attack.threat_model != "linf":
            return
        first = range(min(len(self.side), self.conditions.batch_size))
        for _ in self._over(first, self._check_unmoved):
            pass

    def _check_unmoved(self, numbers: list[int]) -> None:
        images, mos = self._batch(numbers)
        attack, target = self.attacks[OWN], self.routes[OWN]
        attacked = attack.perturb(target, images, mos, 0.0, self._noise(numbers))
        unmoved = budget.check(images, attacked, eps=0.0)
        again = self._score(unmoved, numbers)
        off = self._apart(again, numbers)
        if not off <= self.tolerance:
            raise SelfCheckError(f"at eps 0 the scores are {off:.3g} away from the clean ones")

    def run(
        self,
        eps_255: Sequence[float],
        progress: Counter,
        keepers: Mapping[float, Keeper] = MappingProxyType({}),
    ) -> dict[float, Outcome]:
        """Attack every image at every radius and score what comes out.

        A radius whose images break the budget fails alone; anything the attack raises fails all.

        Args:
            eps_255: The radii, in grey levels.
            progress: Told of images that are done.
            keepers: What keeps images, by radius.
        """
        outcomes = {eps: Outcome(keepers.get(eps)) for eps in eps_255}
        forget_peak(self.conditions.device)
        began, before = time.perf_counter(), (self.tally.forwards, self.tally.backwards)
        try:
            with contained("the attack"):
                self._run(outcomes, progress)
        except Exception as e:  # a plugin may raise anything; only its own cells suffer
            for outcome in outcomes.values():
                outcome.error = outcome.error or e
        self.seconds = time.perf_counter() - began
        self.passes = (self.tally.forwards - before[0], self.tally.backwards - before[1])
        return outcomes

    def attacked(
        self, eps_255: float, among: Sequence[int] | None = None
    ) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
        """Yield (clean images, attacked images, numbers), batch by batch, at one radius.

        For those who look at the images themselves; ``run`` computes cells.

        Args:
            eps_255: The radius, in grey levels.
            among: Numbers of the images; None takes all.

        Raises:
            BudgetError: The attack left the ball or the pixel range.
            CellError: It changed its input images, or what all code shares.
        """

        def work(numbers: list[int]) -> tuple[Tensor, Tensor, list[int]]:
            with contained("the attack"):
                (move,) = self._moves([eps_255], numbers)
                return move.images, self._best(move, self._checked(move)), numbers

        yield from self._over(range(len(self.side)) if among is None else among, work)

    def cost(self, eps_255: Sequence[float]) -> dict[str, object]:
        """Return passes per image, queries, seconds and memory of the last run."""
        count = len(self.side)
        memory = peak_memory_mb(self.conditions.device)
        return {
            "forwards": self.passes[0] / count,
            "backwards": self.passes[1] / count,
            "queries": self.attack.queries,
            "seconds": round(self.seconds, 3),
            "peak_memory_mb": None if memory is None else round(memory, 1),
            "eps_255_together": list(eps_255),
        }

    def _run(self, outcomes: dict[float, Outcome], progress: Counter) -> None:
        def work(numbers: list[int]) -> tuple[list[_Taken], int]:
            found = []
            for move in self._moves(list(outcomes), numbers):
                outcome = outcomes[move.eps_255]
                if outcome.error is None:
                    found.append(self._take(move, keeping=outcome.keeper is not None))
            return found, numbers[-1]

        for batch, last in self._over(range(len(self.side)), work):
            for taken in batch:
                taken.add_to(outcomes[taken.eps_255])
            progress(last + 1, len(self.side))

    def _over(self, numbers: Sequence[int], work: Callable[[list[int]], T]) -> Iterator[T]:
        return self.conditions.memory.batches(numbers, self.conditions.batch_size, work)

    def _moves(self, eps_255: Sequence[float], numbers: list[int]) -> Iterator[Move]:
        """Yield what the attack makes of one batch, radius after radius."""
        images, mos = self._batch(numbers)
        kept = Ruler(images.clone())  # before the call: a sweep need not be lazy
        last, version = eps_255[-1], images._version
        radii, noise = [e / 255 for e in eps_255], self._noise(numbers)
        results = [
            self.attacks[name].sweep(target, images, mos, radii, noise)
            for name, target in self.routes.items()
        ]
        for eps, *candidates in zip(eps_255, *results, strict=True):
            written = images._version != version  # once all are made, look at the pixels too
            if written or (eps == last and not torch.equal(images, kept.clean)):
                raise CellError("the attack changed its input images in place")
            yield Move(eps, kept, mos, numbers, tuple(candidates))

    def _batch(self, numbers: list[int]) -> tuple[Tensor, Tensor]:
        return self.side.batch(numbers, self.conditions.device)

    def _apart(self, scores: Scores, numbers: list[int]) -> float:
        """Return how far scores are from the clean ones."""
        return furthest(scores.scores, self.clean.scores[numbers])

    def _checked(self, move: Move) -> list[Tensor]:
        """Return the candidates, none of which breaks the budget."""
        eps, threat_model = move.eps_255 / 255, self.attack.threat_model
        return [
            budget.check(move.images, candidate, eps=eps, threat_model=threat_model)
            for candidate in move.candidates
        ]

    def _best(self, move: Move, candidates: Sequence[Tensor]) -> Tensor:
        if len(candidates) == 1:
            return candidates[0]
        noise = self._noise(move.numbers)
        goal = self.attack.goal(self.real, move.images, move.mos, noise)
        return best_of(goal, self.real, candidates, noise)

    def _take(self, move: Move, *, keeping: bool) -> _Taken:
        """Return what becomes of a batch at one radius; nothing is kept of it here."""
        try:
            candidates = self._checked(move)
        except BudgetError as e:
            return _Taken(move.eps_255, error=e)
        numbers = move.numbers
        adversarial = self._best(move, candidates)
        scores = self._recalled(adversarial) or self._score(adversarial, numbers)
        scores_8bit = rounded = None
        if float(move.eps_255).is_integer():  # 8-bit images cannot use up any other radius
            rounded = budget.round_to_8bit(adversarial)
            scores_8bit = self._score_8bit(adversarial, rounded, scores, numbers)
        columns = CellColumns()
        columns.add(scores, scores_8bit, move.ruler(adversarial, rounded))
        if self.visibility is not None:
            columns.add_learned(self.visibility(move.images, adversarial))
        if len(candidates) > 1:
            columns.add_nonadaptive(self._score(candidates[0], numbers))
        keep = (move.images, rounded, numbers) if keeping and rounded is not None else None
        return _Taken(move.eps_255, columns, keep)

    def _score_8bit(
        self, adversarial: Tensor, rounded: Tensor, scores: Scores, numbers: list[int]
    ) -> Scores:
        if budget.largest_move(rounded, adversarial) <= budget.TOLERANCE:
            return scores  # on the grid already, as after one signed step: the same image
        return self._score(rounded, numbers)

    def _recalled(self, images: Tensor) -> Scores | None:
        """Return the scores of images that the attack looked at last, as most ascents do."""
        return None if self.recall is None else self.recall.said_of(images)

    def _score(self, images: Tensor, numbers: list[int]) -> Scores:
        noise = self.side.noise(self.conditions.seed, numbers, "score")
        return score(self.regressor, images, noise, self.conditions.score_draws)

    def _noise(self, numbers: list[int]) -> Noise:
        return self.side.noise(self.conditions.seed, numbers, "attack")


def furthest(first: Tensor, second: Tensor) -> float:
    """Return the largest absolute difference of two tensors."""
    return float((first - second).abs().max())


@dataclass(frozen=True)
class FittingBatches:
    """The training images in the form that ``Attack.fit`` gets them, as often as it asks.

    Attributes:
        side: The training images.
        conditions: Seed, batch size and device.
    """

    side: Side
    conditions: Conditions

    def __iter__(self) -> Iterator[AttackBatch]:
        """Yield the batches in order."""
        conditions = self.conditions
        for start in range(0, len(self.side), conditions.batch_size):
            numbers = list(range(start, min(start + conditions.batch_size, len(self.side))))
            images, mos = self.side.batch(numbers, conditions.device)
            yield AttackBatch(images, mos, self.side.noise(conditions.seed, numbers, "fit"))
