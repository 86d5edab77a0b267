"""Clean scores out of an attack's first look at the clean images.

A sweep that begins with a gradient there makes the very pass that clean scores need; where it is
the first attack of a defense, no other is made. Only code that is known to score alike with and
without gradients is trusted with that: our attacks on our defenses, made of torch's own layers.
Networks and attacks of others get a clean pass before anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from iqabench.clean import CleanPass
from iqabench.conditions import Conditions
from iqabench.contracts.attack import Attack
from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Regressor, RegressorWrapper
from iqabench.distances import Distances
from iqabench.errors import SelfCheckError, VoidLookError
from iqabench.keeping import Keeper
from iqabench.progress import Counter
from iqabench.scoring import Scores, scores_of
from iqabench.sides import Side
from iqabench.sweeping import Move, Outcome, Sweep, furthest
from iqabench.visibility import Visibility

KNOWN = ("iqabench.", "torchvision.", "torch.nn.modules.", "torch.nn.utils.")
"""Where code is from that scores alike with and without gradients."""


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
        self._look = FirstLook(regressor)
        self._found = CleanPass()
        nothing = Scores(torch.zeros(0), torch.zeros(0))
        super().__init__(attack, regressor, side, nothing, conditions, visibility)

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

    def _attackable(self) -> Regressor:
        return self._look

    def _batch(self, numbers: list[int]) -> tuple[Tensor, Tensor]:
        images, mos = super()._batch(numbers)
        self._look.show(images)
        return images, mos

    def _apart(self, scores: Scores, numbers: list[int]) -> float:
        seen = self._look.remembered()
        if seen is None:
            raise SelfCheckError("the attack does not begin at the clean images")
        return max(furthest(scores.scores, seen.scores), furthest(scores.logits, seen.logits))

    def _moves(self, eps_255: Sequence[float], numbers: list[int]) -> Iterator[Move]:
        images = torch.zeros(0)
        for move in super()._moves(eps_255, numbers):
            images = move.images
            yield move
        scores = self._look.remembered() or self._score(images, numbers)
        self._found.add(scores, Distances.of_unmoved(images))


class FirstLook(RegressorWrapper):
    """The same regressor, which remembers what it said when it first saw some images.

    Args:
        inner: The regressor.
    """

    def __init__(self, inner: Regressor) -> None:
        super().__init__(inner)
        self._awaited: Tensor | None = None
        self._logits: Tensor | None = None

    def show(self, images: Tensor) -> None:
        """Wait for these images from now on."""
        self._awaited, self._logits = images, None

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        logits = self.inner.logit(images, noise)
        if self._awaited is not None and _same(images, self._awaited):
            self._awaited, self._logits = None, logits.detach().clone()
        return logits

    def surrogates(self) -> dict[str, Regressor]:
        """Return those of the inner regressor."""
        return self.inner.surrogates()

    def remembered(self) -> Scores | None:
        """Return the scores of the images that were shown; None if nobody asked for them.

        Raises:
            CellError: They are of a wrong shape, NaN or infinite.
        """
        if self._logits is None:
            return None
        with torch.no_grad():
            return scores_of(self.inner, self._logits)


def can_look(attack: Attack, regressor: Regressor) -> bool:
    """Say whether an attack may find the clean scores of a regressor on its way."""
    return (
        attack.looks_first
        and not (attack.needs_fit or attack.sources() or regressor.stochastic)
        and type(regressor).forward is Regressor.forward  # a score is its logit squashed
        and all(_is_known(part) for part in (attack, *regressor.modules()))
    )


def _is_known(part: object) -> bool:
    return type(part).__module__.startswith(KNOWN)


def _same(images: Tensor, others: Tensor) -> bool:
    """Say whether two tensors are the same memory, read in the same way."""
    return (
        images.data_ptr() == others.data_ptr()
        and images.shape == others.shape
        and images.stride() == others.stride()
    )
