"""What the core tells the user while it works; the command line decides how it looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Counter = Callable[[int, int], None]
"""Called with (done, all)."""


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
        return lambda done, total: None
