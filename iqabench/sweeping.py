"""One attack against one regressor over a split and several radii."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from iqabench import budget
from iqabench.contracts.attack import Attack, AttackBatch
from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Expectation, Regressor
from iqabench.counting import Counted, Tally
from iqabench.data import Side
from iqabench.environment import forget_peak, peak_memory_mb
from iqabench.errors import BudgetError, CellError, SelfCheckError
from iqabench.progress import Counter
from iqabench.scoring import CellColumns, Scores, distances, score

VERSION = 2
"""Raise it when the harness (steps, objectives, scoring) would give a cell other numbers."""
SELF_CHECK = 1e-6
"""How far scores at eps 0 may be from the clean ones (batch shapes may differ)."""


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
        columns: Per-image results, as far as it got.
        error: Why it failed; None if it did not.
    """

    columns: CellColumns = field(default_factory=CellColumns)
    error: Exception | None = None


@dataclass
class Sweep:
    """A prepared attack on a regressor over the attacked side of a data set.

    Attributes:
        attack: The attack, already prepared (and fitted, if it needs to be).
        regressor: The defended regressor, frozen, in eval mode, on the device.
        side: The attacked images.
        clean: Their clean scores.
        conditions: Seeds, draws, batch size, device.
    """

    attack: Attack
    regressor: Regressor
    side: Side
    clean: Scores
    conditions: Conditions

    def __post_init__(self) -> None:
        self.tally = Tally()
        counted = Counted(self.regressor, self.tally)
        draws = self.conditions.attack_draws
        self.target: Regressor = (
            Expectation(counted, draws=draws) if self.regressor.stochastic else counted
        )
        self.seconds = 0.0

    def make_ready(self, train: Side, eps_255: float) -> None:
        """Fit the attack if it needs it, then pass it at eps 0; see ``self_check``.

        Args:
            train: The training images, for attacks that are fitted.
            eps_255: Radius of the fit, in grey levels.
        """
        if self.attack.needs_fit:
            batches = FittingBatches(train, self.conditions)
            noise = Noise(self.conditions.seed, ("fit",), scope="fit")
            self.attack = self.attack.fit(self.target, batches, eps_255 / 255, noise)
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
        attacked = self.attack.perturb(self.target, images, mos, 0.0, self._noise(numbers))
        unmoved = budget.check(images, attacked, eps=0.0)
        again = self._score(unmoved, numbers)
        off = float((again.scores - self.clean.scores[numbers]).abs().max())
        if not off <= SELF_CHECK:
            raise SelfCheckError(f"at eps 0 the scores are {off:.3g} away from the clean ones")

    def run(self, eps_255: Sequence[float], progress: Counter) -> dict[float, Outcome]:
        """Attack every image at every radius and score what comes out.

        A radius whose images break the budget fails alone; anything the attack raises fails all.
        """
        outcomes = {eps: Outcome() for eps in eps_255}
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

    def attacked(self, eps_255: float) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
        """Yield (clean images, attacked images, numbers), batch by batch, at one radius.

        For those who look at the images themselves; ``run`` computes cells.

        Raises:
            BudgetError: The attack left the ball or the pixel range.
            CellError: It changed its input images.
        """
        for _, images, attacked, numbers in self._moves([eps_255]):
            yield images, self._checked(images, attacked, eps_255), numbers

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
        for eps_255, images, attacked, numbers in self._moves(list(outcomes)):
            outcome = outcomes[eps_255]
            if outcome.error is None:
                self._take(outcome, eps_255, images, attacked, numbers)
            if eps_255 == last:
                progress(numbers[-1] + 1, len(self.side))

    def _moves(self, eps_255: Sequence[float]) -> Iterator[tuple[float, Tensor, Tensor, list[int]]]:
        """Yield (radius, clean images, what the attack returned, numbers) of every batch."""
        for images, mos, numbers in self.side.batches(self.conditions.batch_size):
            images = images.to(self.conditions.device)
            mos = mos.to(self.conditions.device)
            kept = images.clone()  # before the call: a sweep need not be lazy
            results = self.attack.sweep(
                self.target, images, mos, [e / 255 for e in eps_255], self._noise(numbers)
            )
            for eps, attacked in zip(eps_255, results, strict=True):
                if not torch.equal(images, kept):
                    raise CellError("the attack changed its input images in place")
                yield eps, kept, attacked, numbers

    def _checked(self, images: Tensor, attacked: Tensor, eps_255: float) -> Tensor:
        return budget.check(
            images, attacked, eps=eps_255 / 255, threat_model=self.attack.threat_model
        )

    def _take(
        self, outcome: Outcome, eps_255: float, images: Tensor, attacked: Tensor, numbers: list[int]
    ) -> None:
        try:
            adversarial = self._checked(images, attacked, eps_255)
        except BudgetError as e:
            outcome.error = e
            return
        scores = self._score(adversarial, numbers)
        if not float(eps_255).is_integer():  # 8-bit images cannot use such a radius up
            outcome.columns.add(scores, None, distances(images, adversarial, None))
            return
        rounded = budget.round_to_8bit(adversarial)
        scores_8bit = self._score_8bit(adversarial, rounded, scores, numbers)
        outcome.columns.add(scores, scores_8bit, distances(images, adversarial, rounded))

    def _score_8bit(
        self, adversarial: Tensor, rounded: Tensor, scores: Scores, numbers: list[int]
    ) -> Scores:
        if float((adversarial - rounded).abs().max()) <= budget.TOLERANCE:
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
        columns.add(parts[-1], parts[-1], distances(images, images, images))
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
