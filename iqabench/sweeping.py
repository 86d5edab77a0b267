"""One attack against one regressor over a split and several radii."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

from iqabench import budget
from iqabench.contracts.ascent import best_of
from iqabench.contracts.attack import Attack, AttackBatch
from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Expectation, Regressor, Routed
from iqabench.counting import Counted, Tally
from iqabench.data import Side
from iqabench.distances import Ruler
from iqabench.environment import forget_peak, peak_memory_mb
from iqabench.errors import BudgetError, CellError, SelfCheckError
from iqabench.keeping import Keeper
from iqabench.progress import Counter
from iqabench.scoring import CellColumns, Scores, score
from iqabench.visibility import Visibility

VERSION = 2
"""Raise it when the harness (steps, objectives, scoring) would give a cell other numbers."""
SELF_CHECK = 1e-6
"""How far scores at eps 0 may be from the clean ones (batch shapes may differ)."""
OWN = "own"
"""The route of an attacker who takes a defense as it is: its own gradient, of one draw."""
EXPECTATION = "expectation"
"""The route through the mean over draws of a stochastic defense (EOT)."""


@dataclass(frozen=True)
class Conditions:
    """What surrounds a sweep and changes nothing but noise and speed.

    Attributes:
        seed: Seed of the cell.
        score_draws: Passes averaged when a stochastic regressor is scored.
        attack_draws: Passes averaged when it is attacked.
        batch_size: Images per pass.
        device: Where the regressor is.
    """

    seed: int
    score_draws: int
    attack_draws: int
    batch_size: int
    device: torch.device


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


def routes(attack: Attack, regressor: Regressor, draws: int) -> dict[str, Regressor]:
    """Return the ways to a regressor's gradient that an attack goes, by name.

    A white-box attack takes all that a defense declares: its own gradient, the expectation over
    draws, and its surrogates with the real values. Others see the values alone.

    Args:
        attack: Its ``access`` decides.
        regressor: The defended regressor.
        draws: Passes averaged for a stochastic one.
    """
    if attack.access != "white-box":
        return {OWN: Expectation(regressor, draws=draws) if regressor.stochastic else regressor}
    return gradient_routes(regressor, draws)


def gradient_routes(regressor: Regressor, draws: int) -> dict[str, Regressor]:
    """Return every way to a regressor's gradient, by name; see ``routes``."""
    real = Expectation(regressor, draws=draws) if regressor.stochastic else regressor
    found = {OWN: regressor, **{n: Routed(real, s) for n, s in real.surrogates().items()}}
    if regressor.stochastic:
        found |= {OWN: Expectation(regressor, draws=1), EXPECTATION: real}
    return found


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

    attack: Attack
    regressor: Regressor
    side: Side
    clean: Scores
    conditions: Conditions
    visibility: Visibility | None = None

    def __post_init__(self) -> None:
        self.tally = Tally()
        counted = Counted(self.regressor, self.tally)
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
        if self.attack.needs_fit:
            batches = FittingBatches(train, self.conditions)
            noise = Noise(self.conditions.seed, ("fit",), scope="fit")
            for name, target in self.routes.items():
                self.attacks[name] = self.attack.fit(target, batches, eps_255 / 255, noise)
        self.self_check()

    def self_check(self) -> None:
        """Attack one batch at eps 0, which must give the clean scores back.

        Raises:
            SelfCheckError: It does not.
            BudgetError: The attack moved pixels although eps is 0.
        """
        if self.attack.threat_model != "linf":
            return
        images, mos, numbers = next(self.side.batches(self.conditions.batch_size))
        images, mos = images.to(self.conditions.device), mos.to(self.conditions.device)
        attack, target = self.attacks[OWN], self.routes[OWN]
        attacked = attack.perturb(target, images, mos, 0.0, self._noise(numbers))
        unmoved = budget.check(images, attacked, eps=0.0)
        again = self._score(unmoved, numbers)
        off = float((again.scores - self.clean.scores[numbers]).abs().max())
        if not off <= SELF_CHECK:
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
            CellError: It changed its input images.
        """
        for move in self._moves([eps_255], among):
            yield move.images, self._best(move, self._checked(move)), move.numbers

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
        *_, last = outcomes
        for move in self._moves(list(outcomes)):
            outcome = outcomes[move.eps_255]
            if outcome.error is None:
                self._take(outcome, move)
            if move.eps_255 == last:
                progress(move.numbers[-1] + 1, len(self.side))

    def _moves(
        self, eps_255: Sequence[float], among: Sequence[int] | None = None
    ) -> Iterator[Move]:
        for images, mos, numbers in self.side.batches(self.conditions.batch_size, among):
            images = images.to(self.conditions.device)
            mos = mos.to(self.conditions.device)
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

    def _take(self, outcome: Outcome, move: Move) -> None:
        try:
            candidates = self._checked(move)
        except BudgetError as e:
            outcome.error = e
            return
        images, numbers = move.images, move.numbers
        adversarial = self._best(move, candidates)
        scores = self._score(adversarial, numbers)
        scores_8bit = rounded = None
        if float(move.eps_255).is_integer():  # 8-bit images cannot use up any other radius
            rounded = budget.round_to_8bit(adversarial)
            scores_8bit = self._score_8bit(adversarial, rounded, scores, numbers)
            if outcome.keeper is not None:
                try:
                    outcome.keeper.keep(images, rounded, numbers)
                except BudgetError as e:
                    outcome.error = e
                    return
        outcome.columns.add(scores, scores_8bit, move.ruler(adversarial, rounded))
        if self.visibility is not None:
            outcome.columns.add_learned(self.visibility(images, adversarial))
        if len(candidates) > 1:
            outcome.columns.add_nonadaptive(self._score(candidates[0], numbers))

    def _score_8bit(
        self, adversarial: Tensor, rounded: Tensor, scores: Scores, numbers: list[int]
    ) -> Scores:
        if budget.largest_move(rounded, adversarial) <= budget.TOLERANCE:
            return scores  # on the grid already, as after one signed step: the same image
        return self._score(rounded, numbers)

    def _score(self, images: Tensor, numbers: list[int]) -> Scores:
        noise = self.side.noise(self.conditions.seed, numbers, "score")
        return score(self.regressor, images, noise, self.conditions.score_draws)

    def _noise(self, numbers: list[int]) -> Noise:
        return self.side.noise(self.conditions.seed, numbers, "attack")


def clean_scores(
    regressor: Regressor, side: Side, conditions: Conditions, progress: Counter
) -> tuple[Scores, CellColumns, float]:
    """Return the clean scores of a side, their columns, and the seconds they took."""
    began = time.perf_counter()
    parts: list[Scores] = []
    columns = CellColumns()
    for images, _, numbers in side.batches(conditions.batch_size):
        images = images.to(conditions.device)
        noise = side.noise(conditions.seed, numbers, "score")
        parts.append(score(regressor, images, noise, conditions.score_draws))
        columns.add(parts[-1], parts[-1], Ruler(images)(images, images))
        progress(numbers[-1] + 1, len(side))
    draws = [p.draws for p in parts if p.draws is not None]
    return (
        Scores(
            torch.cat([p.scores for p in parts]),
            torch.cat([p.logits for p in parts]),
            torch.cat(draws) if draws else None,
        ),
        columns,
        time.perf_counter() - began,
    )


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
        for images, mos, numbers in self.side.batches(conditions.batch_size):
            yield AttackBatch(
                images.to(conditions.device),
                mos.to(conditions.device),
                self.side.noise(conditions.seed, numbers, "fit"),
            )
