"""How the command line shows messages, progress and data."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from iqabench.progress import Counter

PATIENCE = 2.0
"""Seconds after which a task without a terminal says that it took a while."""


class ConsoleReporter:
    """Messages and bars on standard error; bars on a terminal alone."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.progress: Progress | None = None
        self.said: set[str] = set()

    def say(self, message: str) -> None:
        """See ``Reporter.say``; a line is said once."""
        if message not in self.said:
            self.said.add(message)
            self.console.print(message, markup=False)

    def warn(self, message: str) -> None:
        """See ``Reporter.warn``."""
        self.console.print(f"warning: {message}", style="yellow", markup=False)

    def counter(self, task: str) -> Counter:
        """See ``Reporter.counter``."""
        return self._bar(task) if self.console.is_terminal else self._line(task)

    def close(self) -> None:
        """Take the bars off the screen."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None

    def _line(self, task: str) -> Counter:
        began = time.monotonic()

        def show(done: int, total: int) -> None:
            spent = time.monotonic() - began
            if done >= total and spent > PATIENCE:
                self.say(f"{task}: {spent:.0f} s")

        return show

    def _bar(self, task: str) -> Counter:
        bar: tuple[Progress, TaskID] | None = None

        def show(done: int, total: int) -> None:
            nonlocal bar
            progress = self._bars()
            if bar is None or bar[0] is not progress:
                bar = progress, progress.add_task(task, total=total)
            progress.update(bar[1], completed=done)
            if done >= total:
                progress.remove_task(bar[1])
                bar = None
                if not progress.task_ids:  # or it would draw below what is printed next
                    self.close()

        return show

    def _bars(self) -> Progress:
        if self.progress is None:
            self.progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
                redirect_stdout=False,  # it is redirected where plugins run, and given back there
            )
            self.progress.start()
        return self.progress


def print_json(document: Any) -> None:
    """Write one JSON document to standard output."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def data_console() -> Console:
    """Return the console for what people asked to see, on standard output."""
    return Console(highlight=False)
