"""What a regressor said of images, remembered, so that no pass is made twice.

Only code that is known to score alike whoever asks is trusted with that: our attacks on our
defenses, made of torch's own layers. Attacks and networks of others get passes of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iqabench.contracts.attack import Attack
from iqabench.contracts.bridge import BridgedAttack
from iqabench.contracts.noise import Noise
from iqabench.contracts.regressor import Regressor, RegressorWrapper
from iqabench.scoring import Scores, scores_of

KNOWN = ("iqabench.", "torchvision.", "torch.nn.modules.", "torch.nn.utils.")
"""Where code is from that scores alike with and without gradients."""


@dataclass(frozen=True)
class _Seen:
    """What was said of a tensor as it was then; it is kept, so that no other takes its place."""

    images: Tensor
    version: int
    logits: Tensor

    def is_of(self, images: Tensor) -> bool:
        return _same(images, self.images) and images._version == self.version


class Recall(RegressorWrapper):
    """The same regressor, which remembers its last pass without a gradient, and a first look.

    Args:
        inner: The regressor; ``can_recall`` likes it, and the attack that is shown this one.
    """

    def __init__(self, inner: Regressor) -> None:
        super().__init__(inner)
        self._awaited: Tensor | None = None
        self._first: Tensor | None = None
        self._last: _Seen | None = None

    def await_look(self, images: Tensor) -> None:
        """Wait for the first look at these images from now on."""
        self._awaited, self._first = images, None

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """See ``Regressor.logit``."""
        logits = self.inner.logit(images, noise)
        if self._awaited is not None and _same(images, self._awaited):
            self._awaited, self._first = None, logits.detach().clone()
        if not torch.is_grad_enabled():
            self._last = _Seen(images, images._version, logits)
        return logits

    def surrogates(self) -> dict[str, Regressor]:
        """Return those of the inner regressor."""
        return self.inner.surrogates()

    def first_look(self) -> Scores | None:
        """Return the scores of the images that were waited for; None if nobody asked for them.

        Raises:
            CellError: They are of a wrong shape, NaN or infinite.
        """
        return None if self._first is None else self._scores(self._first)

    def said_of(self, images: Tensor) -> Scores | None:
        """Return the scores of images that the last pass without a gradient was about, or None.

        Raises:
            CellError: They are of a wrong shape, NaN or infinite.
        """
        last = self._last
        return self._scores(last.logits) if last is not None and last.is_of(images) else None

    def _scores(self, logits: Tensor) -> Scores:
        with torch.no_grad():
            return scores_of(self.inner, logits)


def can_recall(attack: Attack, regressor: Regressor) -> bool:
    """Say whether what a regressor tells an attack is what it tells anybody."""
    return (
        not regressor.stochastic
        and type(regressor).forward is Regressor.forward  # a score is its logit squashed
        and not isinstance(attack, BridgedAttack)  # a library's code
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
