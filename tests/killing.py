"""Commands of iqabench in processes of their own, killed or starved at a moment of choice.

``python killing.py`` imports everything once and forks a process for each command, so that fifty of
them take no longer than what they do. ``Killer`` talks to it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

PATIENCE = 300.0
"""Seconds after which a command that was not to be killed is."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Exit code, or minus the signal.
        seconds: How long it ran.
        writes: How often it had files or folders written to the disk; None if it was killed.
        said: What it wrote to standard error.
    """

    code: int
    seconds: float
    writes: int | None
    said: str

    @property
    def lines(self) -> list[str]:
        """The errors among what it said."""
        return [line for line in self.said.splitlines() if line.startswith("iqabench: ")]


class Killer:
    """Runs commands one after the other.

    Args:
        before: A command line that what runs them is started by, such as ``unshare``.
    """

    def __init__(self, before: Sequence[str] = ()) -> None:
        command = [*before, sys.executable, __file__]
        pipe = subprocess.PIPE
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        self._server = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=environment
        )

    def __enter__(self) -> Killer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._server.communicate(timeout=PATIENCE)

    def run(
        self,
        argv: Sequence[str],
        *,
        after: float | None = None,
        write: int | None = None,
        limit: int | None = None,
    ) -> Ended:
        """Run a command.

        Args:
            argv: What follows ``iqabench``.
            after: Kill it after so many seconds.
            write: Kill it where it has something written to the disk for the n-th time.
            limit: Bytes that a file may have; the system refuses to write more.
        """
        asked = {"argv": list(argv), "after": after, "write": write, "limit": limit}
        return Ended(**self._ask(asked))

    def shell(self, command: str) -> str:
        """Run a command of the shell beside it, such as ``mount``, and return its output."""
        return str(self._ask({"shell": command})["output"])

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer: dict[str, Any] = json.loads(self._server.stdout.readline())
        return answer


def _serve() -> None:
    import torchvision  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        if "shell" in request:
            done = subprocess.run(request["shell"], shell=True, capture_output=True, text=True)
            answer: dict[str, Any] = {"output": done.stdout + done.stderr}
        else:
            answer = _fork(**request)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _fork(
    argv: list[str], after: float | None, write: int | None, limit: int | None
) -> dict[str, Any]:
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as counted:
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(said.fileno(), 2)
            _child(argv, write, limit, counted.fileno())
        deadline = began + (PATIENCE if after is None else after)
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                deadline = began + 2 * PATIENCE
            time.sleep(0.001)
        seconds = time.monotonic() - began
        texts = []
        for file in (said, counted):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    code = os.waitstatus_to_exitcode(ended[1])
    writes = int(texts[1]) if texts[1] else None
    return {"code": code, "seconds": seconds, "writes": writes, "said": texts[0]}


def _child(argv: list[str], write: int | None, limit: int | None, counted: int) -> None:
    from iqabench.cli import main

    sync, count = os.fsync, 0

    def fsync(fd: Any) -> None:
        nonlocal count
        count += 1
        if count == write:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(fd)

    os.fsync = fsync
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    code = 70
    try:
        code = main(argv)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os.write(counted, str(count).encode())
        os._exit(code)


def temporary_files(*folders: Path) -> list[Path]:
    """Return what a killed process left half-written."""
    return [path for folder in folders for path in folder.rglob(".*.tmp")]


if __name__ == "__main__":
    _serve()
