"""Work that is given up after a while, because a plugin may hang."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

from iqabench.errors import CellError

T = TypeVar("T")
AGAIN = 0.5
"""Seconds after which somebody who caught the first alarm gets another."""


class _TimeUpError(BaseException):
    """Raised inside the work; not an ``Exception``, so that a plugin's handlers let it pass."""


def can_interrupt() -> bool:
    """Say whether work can be given up here: where signals are, in the main thread alone."""
    return hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()


def within(seconds: float | None, work: Callable[[], T]) -> T:
    """Return what ``work`` returns, if that takes no longer than ``seconds``.

    It is interrupted between two steps of Python: one long call into a library ends first. Where
    nothing can be interrupted (see ``can_interrupt``), and for None, it takes as long as it takes.

    Raises:
        CellError: The time is up.
    """
    if seconds is None or not can_interrupt():
        return work()
    armed = True

    def ring(number: int, frame: FrameType | None) -> None:
        if armed:
            raise _TimeUpError

    before = signal.signal(signal.SIGALRM, ring)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
            return work()
        finally:
            armed = False  # an alarm before this line is caught below, a later one does nothing
    except _TimeUpError:
        raise CellError(f"not done after {seconds:g} s, the time limit of its cells") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
