"""What the core tells the user while it works; the command line decides how it looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")

Counter = Callable[[int, int], None]
"""Called with (done, all)."""


def unseen(done: int, total: int) -> None:
    """Progress that nobody sees."""


def counted(items: Sequence[T], progress: Counter) -> Iterator[T]:
    """Yield the items, and tell of each that is done."""
    for done, item in enumerate(items, start=1):
        yield item
        progress(done, len(items))


class Reporter(Protocol):
    """Where messages and progress go."""

    def say(self, message: str) -> None:
        """Show one line."""

    def warn(self, message: str) -> None:
        """Show one line that should not be missed."""

    def counter(self, task: str) -> Counter:
        """Begin a task; the returned function shows how far it is and ends it at (n, n)."""


class Silent:
    """Shows nothing."""

    def say(self, message: str) -> None:
        """See ``Reporter.say``."""

    def warn(self, message: str) -> None:
        """See ``Reporter.warn``."""

    def counter(self, task: str) -> Counter:
        """See ``Reporter.counter``."""
        return unseen
