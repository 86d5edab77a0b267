"""What the speed benchmarks share: contests in turns, rows of a table, flags."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch

from iqabench.allocation import KEEPING
from iqabench.environment import environment

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One line of the table in ``docs/performance.md``.

    Attributes:
        what: What was measured.
        goal: What it should be, such as ``>= 3``.
        measured: What it was.
        unit: ``x`` for a ratio, ``%``, ``MB`` or ``s``.
        holds: Whether the goal is met; None where there is none.
        how: Between what, and on how much.
    """

    what: str
    goal: str
    measured: float
    unit: str
    holds: bool | None
    how: str


def at_least(what: str, goal: float, measured: float, how: str, unit: str = "x") -> Row:
    """Return the row of a number that must not be smaller."""
    return Row(what, f"at least {goal:g} {unit}", measured, unit, measured >= goal, how)


def at_most(what: str, goal: float, measured: float, how: str, unit: str = "x") -> Row:
    """Return the row of a number that must not be larger."""
    return Row(what, f"at most {goal:g} {unit}", measured, unit, measured <= goal, how)


def now() -> float:
    """Return seconds: of the processor with one thread, else of the clock.

    Those of the processor are not used up while a process waits for another.
    """
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


class Meter:
    """Adds up the seconds that are spent inside of some functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., T]) -> Callable[..., T]:
        """Return the same function, metered."""

        def metered(*args: object, **kwargs: object) -> T:
            began = now()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += now() - began

        return metered


Laps = Mapping[str, Sequence[float]]
"""The seconds of each contestant, round after round."""


def race(contestants: Mapping[str, Callable[[], object]], repeats: int) -> Laps:
    """Return the seconds of all, measured in turns after a round that does not count."""
    laps: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(repeats + 1):
        for name, action in contestants.items():
            began = now()
            action()
            if number:
                laps[name].append(now() - began)
    return laps


def ratio(laps: Laps, over: str, under: str) -> float:
    """Return how many times as long the one takes as the other: the median over rounds.

    Contestants of one round follow each other, so what else the machine does hits them alike. The
    fewest seconds of each would come from different rounds, and favour who is short.
    """
    return median(a / b for a, b in zip(laps[over], laps[under], strict=True))


def main(
    measure: Callable[..., list[Row]],
    about: str | None,
    *,
    quick: Mapping[str, object],
    repeats: int = 3,
) -> None:
    """Run one benchmark as a command: a table for people, or one JSON document.

    Args:
        measure: Takes the rounds and sizes, returns the rows.
        about: Help text.
        quick: Sizes for ``--quick``.
        repeats: Rounds, unless ``--repeats`` says so.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    parser.add_argument("--repeats", type=int, default=repeats, help=f"rounds ({repeats})")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run?")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    KEEPING.apply()  # as the command does
    before = machine()
    rows = measure(arguments.repeats, **(quick if arguments.quick else {}))
    if arguments.json:
        document = {"machine": before, "rows": [asdict(row) for row in rows]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        sys.stdout.write(table(rows))


def machine() -> dict[str, str]:
    """Return what the numbers depend on, in plain text."""
    facts = environment(torch.device("cpu"))
    names = [s.partition(":")[2].strip() for s in _cpu_lines() if s.startswith("model name")]
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "processor": (names or [platform.processor() or platform.machine()])[0],
        "cores": str(os.cpu_count()),
        "load before": load,
        "threads": str(torch.get_num_threads()),
        "python": str(facts["python"]),
        "torch": str(facts["torch"]),
        "revision": str(facts["revision"]),
    }


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def table(rows: list[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = ["| what | goal | measured | holds | how |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        holds = {True: "yes", False: "**no**", None: ""}[row.holds]
        measured = f"{row.measured:.3g} {row.unit}"
        lines.append(f"| {row.what} | {row.goal} | {measured} | {holds} | {row.how} |")
    return "\n".join(lines) + "\n"
