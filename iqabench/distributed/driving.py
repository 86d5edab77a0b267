"""The driver of a run on many workers: sends entries out, and alone writes the run directory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import torch

from iqabench.checkpoints import Checkpoint
from iqabench.distributed.jobs import (
    Cell,
    Died,
    Files,
    Job,
    Report,
    Setting,
    Told,
    checkpoints_of,
)
from iqabench.errors import CellError
from iqabench.files import file_name, write_bytes
from iqabench.planning import Entry, Plan
from iqabench.progress import Counter, Reporter
from iqabench.records import NOTHING, Attacked, Recorder
from iqabench.results import CLEAN, is_complete, read_cell
from iqabench.running import Summary, prepare
from iqabench.steps import Begun, Settled
from iqabench.training import install

PATIENCE = 3
"""Workers that a cell may cost before it has failed."""


class Cluster(Protocol):
    """What runs jobs somewhere."""

    def submit(
        self,
        number: int,
        packed: bytes,
        checkpoints: Mapping[str, Checkpoint],
        avoid: frozenset[str],
    ) -> None:
        """Run a job as soon as there is room.

        Args:
            number: What it is called in ``wait``.
            packed: ``Job.pack``.
            checkpoints: What its ``Fetch`` gives, by recipe key.
            avoid: Nodes where it should not run if there are others.
        """

    def wait(self) -> tuple[int, Told]:
        """Return what one of the jobs tells next, and which; a job that died tells no more."""


@dataclass
class _Task:
    """What is known of one entry.

    Attributes:
        number: Its place in the plan.
        plan: The plan of this entry alone.
        needs: Checkpoints that it needs, by recipe key.
        settled: How its cells ended.
        begun: What its worker is at; None before the first cell.
        deaths: Workers that it lost since a cell or a checkpoint came back.
        avoid: Nodes where it lost them.
        node: Where it is now, for people.
        alone: Whether its job is the training of its own checkpoint alone: transfer sources are
            in training elsewhere.
        prepared: Whether that job was done.
    """

    number: int
    plan: Plan
    needs: dict[str, Checkpoint]
    settled: dict[Cell, Settled] = field(default_factory=dict)
    begun: Begun | None = None
    deaths: int = 0
    avoid: frozenset[str] = frozenset()
    node: str = "a worker"
    alone: bool = False
    prepared: bool = False

    @property
    def entry(self) -> Entry:
        """The defense on its data set."""
        return self.plan.entries[0]

    @property
    def own(self) -> str:
        """Recipe key of its own checkpoint."""
        return next(iter(self.needs))

    def lacking(self) -> set[str]:
        """Return the checkpoints that nobody has trained."""
        return {key for key, one in self.needs.items() if not one.exists}

    def cells(self) -> list[Cell]:
        """Return every cell of the entry."""
        attacks = [a.canonical for a in self.plan.attacks]
        return [(CLEAN, 0.0), *((a, eps) for a in attacks for eps in self.plan.eps_255)]

    def blamed(self) -> list[Cell]:
        """Return the cells that its worker was at: all of them before the clean scores are there.

        Training and the clean pass are what every cell of the entry needs.
        """
        left = [cell for cell in self.cells() if cell not in self.settled]
        if self.begun is None or self.begun.attack == CLEAN:
            return left
        at = {(self.begun.attack, eps) for eps in self.begun.eps_255}
        # Where those are settled, it died on the way to the next attack.
        return [cell for cell in left if cell in at] or [c for c in left if c[0] == left[0][0]]


@dataclass
class Driver:
    """Has workers compute what is missing of a plan, into a run directory that the caller locked.

    A checkpoint is trained by one worker; entries that share it wait until it is here, and get it
    from here. So all cells are of the same weights, whatever machines computed them.

    Attributes:
        run: The run directory.
        setting: What all jobs share.
        cluster: Where they run.
        reporter: For messages and progress.
        workers: At most so many jobs at a time; None has no limit but the cluster's.
    """

    run: Path
    setting: Setting
    cluster: Cluster
    reporter: Reporter
    workers: int | None = None

    def execute(self, plan: Plan) -> Summary:
        """Compute what is missing and return what was done.

        Raises:
            UsageError: Something about the request turned out wrong (images, weights, output).
        """
        prepare(self.run, plan, self.reporter)
        waiting = deque(self._tasks(plan))
        everything = [*waiting]
        running: dict[int, _Task] = {}
        counter = self.reporter.counter("cells")
        while waiting or running:
            self._dispatch(waiting, running)
            number, told = self.cluster.wait()
            task = running[number]
            if isinstance(told, Report):
                self._take(task, told)
                self._show(everything, counter)
                continue
            del running[number]
            if isinstance(told, Died):
                again = self._again(task, told)
            else:
                again, task.prepared = task.alone, True
                verb = "trained" if task.alone else "done"
                self.reporter.say(f"{task.entry.shown}: {verb} on {task.node}")
            if again:
                waiting.appendleft(task)
            self._show(everything, counter)
        summary = Summary()
        for task in everything:
            for settled in task.settled.values():
                summary.add(settled)
        return summary

    def _tasks(self, plan: Plan) -> Iterator[_Task]:
        for number, entry in enumerate(plan.entries):
            own = replace(plan, entries=(entry,))
            yield _Task(number, own, checkpoints_of(entry, plan, self.setting.store))

    def _dispatch(self, waiting: deque[_Task], running: dict[int, _Task]) -> None:
        """Send out, in the order of the plan, what does not wait for another job's training."""
        trained: set[str] = set()
        for task in running.values():
            trained |= {task.own} if task.alone else set(task.needs)
        for task in list(waiting):
            if self.workers is not None and len(running) >= self.workers:
                return
            lacking = task.lacking()
            task.alone = bool(lacking & trained)
            if task.alone:
                if task.prepared or task.own not in lacking - trained:
                    continue
                lacking = {task.own}
            trained |= lacking
            waiting.remove(task)
            running[task.number] = task
            self._submit(task)

    def _submit(self, task: _Task) -> None:
        there = {key: one for key, one in task.needs.items() if one.exists}
        weights = {key: one.card()["weights_sha256"] for key, one in there.items()}
        files, images = self._standing(task.entry)
        leave = frozenset(cell for cell, s in task.settled.items() if s.failure is not None)
        job = Job(task.plan, self.setting, files, images, weights, leave, task.alone)
        task.begun = None
        self.cluster.submit(task.number, job.pack(), there, task.avoid)

    def _standing(self, entry: Entry) -> tuple[Files, tuple[str, ...]]:
        """Return the finished cells of an entry, and the paths of their images."""
        files: dict[str, bytes] = {}
        images: set[str] = set()
        parts = file_name(entry.data.name), file_name(entry.chain.canonical)
        for path in sorted(self.run.joinpath("cells", *parts).glob("*.json")):
            if not is_complete(path):
                continue
            record = read_cell(path)
            cell = record.cell
            if (cell["split"], cell["seed"]) != (entry.data.split.fingerprint, entry.seed):
                continue
            for one in (path, path.with_suffix(".csv")):
                files[one.relative_to(self.run).as_posix()] = one.read_bytes()
            for image in record.images or ():
                images |= {image["clean"], image["attacked"]}
        return files, tuple(sorted(name for name in images if (self.run / name).is_file()))

    def _take(self, task: _Task, report: Report) -> None:
        """Write what came back.

        Raises:
            UsageError: The worker says that the request is wrong.
        """
        if report.refusal is not None:
            raise report.refusal.error()
        for message in report.messages:
            self.reporter.say(message)
        for key, files in report.checkpoints.items():
            install(task.needs[key], files)
            task.deaths = 0
        # A cell exists once its own file does: it is the last.
        for name in sorted(report.files, key=lambda n: (n.endswith(".json"), n)):
            write_bytes(self.run / name, report.files[name])
        step = report.step
        if step is None:
            task.node = report.node.shown
            task.avoid |= {report.node.key} - {""}
            self.reporter.say(f"{task.entry.shown}: on {task.node}")
        elif isinstance(step, Begun):
            task.begun = step
        else:
            self._settle(task, step)

    def _settle(self, task: _Task, step: Settled) -> None:
        cell = step.attack, step.eps_255
        if cell in task.settled:  # of a job that was sent out again: it was counted
            return
        task.settled[cell] = step
        task.deaths = 0
        if step.failure is not None:
            self.reporter.warn(step.failure)

    def _again(self, task: _Task, died: Died) -> bool:
        """Say whether a job whose worker is gone has to be sent out again."""
        task.deaths += 1
        lost = f"{task.entry.shown}: {task.node} is gone ({died.cause})"
        if task.deaths < PATIENCE:
            self.reporter.warn(f"{lost}; its cells are tried again, elsewhere if possible")
            return True
        error = CellError(f"its worker died {task.deaths} times, at last because {died.cause}")
        self.reporter.warn(lost)
        for cell in task.blamed():
            self._settle(task, self._failed(task, cell, error))
        task.avoid = frozenset()
        return any(cell not in task.settled for cell in task.cells())

    def _failed(self, task: _Task, cell: Cell, error: CellError) -> Settled:
        """Write the record of a cell that took its workers with it."""
        spec, eps = cell
        own = task.entry.training.checkpoint(self.setting.store)
        weights = own.card()["weights_sha256"] if own.exists else None
        cpu = torch.device("cpu")  # where the record is made; nothing was computed
        recorder = Recorder(self.run, task.entry, own.recipe_key, weights, 1, cpu)
        attacked = NOTHING
        for attack in task.plan.attacks:
            if attack.canonical == spec:
                attacked = Attacked.by(attack, sources={}, draws=None)
        return Settled(spec, eps, failure=recorder.failed(attacked, eps, error))

    def _show(self, tasks: list[_Task], counter: Counter) -> None:
        done = sum(len(task.settled) for task in tasks)
        counter(done, sum(len(task.cells()) for task in tasks))
