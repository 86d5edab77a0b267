"""Computes the cells of a plan that have no result file yet."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from iqabench.entry_run import EntryRun
from iqabench.errors import ResultsError
from iqabench.keeping import Saving
from iqabench.memory import Memory
from iqabench.models import Models
from iqabench.planning import Entry, Plan
from iqabench.progress import Reporter
from iqabench.results import CLEAN, CellRecord, find_cells, read_cell
from iqabench.seeding import exact_kernels
from iqabench.steps import Settled, Step
from iqabench.timeouts import can_interrupt
from iqabench.visibility import Visibility


@dataclass
class Summary:
    """What a run did.

    Attributes:
        computed: Cells computed now.
        found: Cells that were there already.
        failures: One line per failed cell.
    """

    computed: int = 0
    found: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, cell: Settled) -> None:
        """Count a cell."""
        if cell.failure is not None:
            self.failures.append(cell.failure)
        elif cell.found:
            self.found += 1
        else:
            self.computed += 1


@dataclass(frozen=True)
class Runner:
    """Executes plans into a run directory that the caller has locked.

    Attributes:
        run: The run directory.
        store: Where checkpoints and pixel caches are.
        device: Where networks run.
        reporter: For messages and progress.
        saving: Which attacked images are kept; None keeps none.
        visibility: Learned distances that are columns too; None has none.
    """

    run: Path
    store: Path
    device: torch.device
    reporter: Reporter
    saving: Saving | None = None
    visibility: Visibility | None = None

    def execute(self, plan: Plan) -> Summary:
        """Compute what is missing and return what was done.

        Raises:
            UsageError: Something about the request turned out wrong (images, weights, output).
        """
        summary = Summary()
        prepare(self.run, plan, self.reporter)
        with exact_kernels():
            for entry in plan.entries:
                for step in self.steps(plan, entry):
                    if isinstance(step, Settled):
                        summary.add(step)
        return summary

    def steps(
        self, plan: Plan, entry: Entry, leave: Container[tuple[str, float]] = ()
    ) -> Iterator[Step]:
        """Compute what is missing of one entry, saying what is begun and how each cell ended.

        Args:
            plan: Attacks, radii and settings.
            entry: The defense on its data set.
            leave: Cells, as (canonical attack, eps_255), that are neither computed nor mentioned.

        Raises:
            UsageError: Something about the request turned out wrong (images, weights, output).
        """
        return EntryRun(self, plan, entry, leave).steps()

    @cached_property
    def memory(self) -> Memory:
        """What the device was found to hold, for the whole run."""
        return Memory(say=self.reporter.say)

    def models(self, plan: Plan) -> Models:
        """Return where trained regressors come from."""
        benchmark = plan.benchmark
        return Models(
            self.store, self.device, self.reporter, benchmark.attack_draws, benchmark.speed
        )


def prepare(run: Path, plan: Plan, reporter: Reporter) -> None:
    """Make a run directory ready for a plan: its splits, and no failures that are tried again."""
    _forget_failures(run, plan)
    if plan.benchmark.cell_timeout is not None and not can_interrupt():
        reporter.warn("cell_timeout is not kept: nothing can be interrupted here")
    for data in {e.data.name: e.data for e in plan.entries}.values():
        if data.incomplete:
            reporter.say(f"data set {data.name}: only {data.incomplete} are there")
        data.split.keep(run / "splits")


def _conditions_of(record: CellRecord) -> tuple[Any, ...]:
    """Return what ``Entry.conditions`` was for the entry of a cell."""
    cell, about = record.cell, record.about
    return (
        cell["dataset"]["name"],
        cell.get("split"),
        cell["defense"]["spec"],
        about.get("backbone"),
        about.get("recipe"),
        cell.get("seed"),
    )


def _forget_failures(run: Path, plan: Plan) -> None:
    """Remove the records of failed cells that this plan tries again."""
    planned = {
        (e.conditions, attack, eps)
        for e in plan.entries
        for attack in (CLEAN, *(a.canonical for a in plan.attacks))
        for eps in (0.0, *plan.eps_255)
    }
    for path in list(find_cells(run)):
        try:
            record = read_cell(path)
        except ResultsError:  # if the plan holds it, it is computed again
            continue
        what = (_conditions_of(record), record.cell["attack"]["spec"], record.cell.get("eps_255"))
        if record.status == "failed" and what in planned:
            path.unlink()
