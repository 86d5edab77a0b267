"""How many images go through a network at once: fewer, once memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch

T = TypeVar("T")
_ALLOCATOR = ("can't allocate memory", "not enough memory", "cannot allocate memory")
"""What the CPU allocator's RuntimeError says, in lower case."""


def _unheard(line: str) -> None:
    """Tell nobody."""


@dataclass
class Memory:
    """What one device was found to hold, for all who share this object.

    Attributes:
        most: Images per pass at most; None until memory runs out for the first time.
        say: Told in a line when that happens.
    """

    most: int | None = None
    say: Callable[[str], None] = field(default=_unheard, repr=False)

    def batches(
        self, numbers: Sequence[int], size: int, work: Callable[[list[int]], T]
    ) -> Iterator[T]:
        """Yield what ``work`` makes of one batch after the other.

        Where memory runs out, the batch is halved and worked on anew, and no later one is larger.
        So ``work`` keeps nothing of a batch but what it returns.

        Args:
            numbers: Places of the images.
            size: Images per batch, if memory allows.
            work: Takes the places of one batch.
        """
        start = 0
        while start < len(numbers):
            batch = list(numbers[start : start + self._at_most(size)])
            try:
                done = work(batch)
            except (MemoryError, RuntimeError) as e:
                if len(batch) == 1 or not is_exhausted(e):
                    raise
            else:
                start += len(batch)
                yield done
                continue
            self._halve(len(batch))

    def whole(self, size: int, work: Callable[[int], T]) -> T:
        """Return ``work`` of a batch size, begun anew with half of it where memory runs out."""
        while True:
            now = self._at_most(size)
            try:
                return work(now)
            except (MemoryError, RuntimeError) as e:
                if now == 1 or not is_exhausted(e):
                    raise
            self._halve(now)

    def _at_most(self, size: int) -> int:
        return size if self.most is None else min(size, self.most)

    def _halve(self, size: int) -> None:
        """Make batches smaller; outside of the handler, whose exception holds the tensors."""
        self.most = size // 2
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.say(f"memory ran out at {size} images per pass; going on with {self.most}")


def is_exhausted(error: BaseException) -> bool:
    """Say whether an exception means that memory ran out, on a GPU or on the host."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _ALLOCATOR)
