"""Clean scores out of an attack's first look at the clean images.

A sweep that begins with a gradient there makes the very pass that clean scores need; where it is
the first attack of a defense, no other is made, as far as ``recall`` trusts both. Networks and
attacks of others get a clean pass before anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from iqabench.clean import CleanPass
from iqabench.conditions import Conditions
from iqabench.contracts.attack import Attack
from iqabench.contracts.regressor import Regressor
from iqabench.distances import Distances
from iqabench.errors import SelfCheckError, VoidLookError
from iqabench.keeping import Keeper
from iqabench.progress import Counter
from iqabench.recall import Recall, can_recall
from iqabench.scoring import Scores
from iqabench.sides import Side
from iqabench.sweeping import Move, Outcome, Sweep, furthest
from iqabench.visibility import Visibility


class LookingSweep(Sweep):
    """A sweep that finds the clean scores on its way; until it has run, it has none.

    Its self-check is strict: what the attack saw must be, to the last bit, what a pass without a
    gradient says, so that no number depends on who looked first.

    Args:
        attack: The attack, already prepared.
        regressor: ``can_look`` likes them both.
        side: The attacked images.
        conditions: Seeds, draws, batch size, device.
        visibility: Learned distances that are columns too.
    """

    tolerance = 0.0

    def __init__(
        self,
        attack: Attack,
        regressor: Regressor,
        side: Side,
        conditions: Conditions,
        visibility: Visibility | None = None,
    ) -> None:
        self._found = CleanPass()
        nothing = Scores(torch.zeros(0), torch.zeros(0))
        super().__init__(attack, regressor, side, nothing, conditions, visibility)
        assert self.recall is not None, "see can_look"
        self._look: Recall = self.recall

    @property
    def found(self) -> CleanPass | None:
        """The clean pass, once the whole side was looked at and nothing failed."""
        return self._found if len(self.clean.scores) == len(self.side) else None

    def run(
        self,
        eps_255: Sequence[float],
        progress: Counter,
        keepers: Mapping[float, Keeper] = MappingProxyType({}),
    ) -> dict[float, Outcome]:
        """See ``Sweep.run``; afterwards ``found`` may be there."""
        self._found = CleanPass()
        outcomes = super().run(eps_255, progress, keepers)
        if all(outcome.error is None for outcome in outcomes.values()):
            self.clean = self._found.scores
        return outcomes

    def self_check(self) -> None:
        """See ``Sweep.self_check``.

        Raises:
            VoidLookError: What the attack sees first is no clean score.
            BudgetError: The attack moved pixels although eps is 0.
        """
        try:
            super().self_check()
        except SelfCheckError as e:
            raise VoidLookError(str(e)) from e

    def _batch(self, numbers: list[int]) -> tuple[Tensor, Tensor]:
        images, mos = super()._batch(numbers)
        self._look.await_look(images)
        return images, mos

    def _apart(self, scores: Scores, numbers: list[int]) -> float:
        seen = self._look.first_look()
        if seen is None:
            raise SelfCheckError("the attack does not begin at the clean images")
        return max(furthest(scores.scores, seen.scores), furthest(scores.logits, seen.logits))

    def _moves(self, eps_255: Sequence[float], numbers: list[int]) -> Iterator[Move]:
        images = torch.zeros(0)
        for move in super()._moves(eps_255, numbers):
            images = move.images
            yield move
        scores = self._look.first_look() or self._score(images, numbers)
        self._found.add(scores, Distances.of_unmoved(images))


def can_look(attack: Attack, regressor: Regressor) -> bool:
    """Say whether an attack may find the clean scores of a regressor on its way."""
    return (
        attack.looks_first
        and not (attack.needs_fit or attack.sources())
        and can_recall(attack, regressor)
    )
