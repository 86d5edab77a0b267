"""A line for the case that a process is ended from below, and can say nothing itself."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator

_SCRIPT = "read -r _ || printf '%s\\n' \"$1\" >&2"
"""Waits for a line; speaks where the other end is closed without one."""
_PATIENCE = 5.0


@contextlib.contextmanager
def last_words(line: str) -> Iterator[None]:
    """Have a line written to standard error should this process end inside of the block.

    Ray's own code ends a driver whose node is gone at once, past every handler. Where there is no
    shell, nothing is said.

    Args:
        line: What is said.
    """
    shell = shutil.which("sh")
    if shell is None:
        yield
        return
    command = [shell, "-c", _SCRIPT, "sh", line]
    # In a session of its own, so that Ctrl-C does not take it away before this process.
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            watcher.communicate(b"\n", timeout=_PATIENCE)
