"""A cluster played in one process: its nodes are folders, and its jobs take turns."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import torch
from support import Workplace

from iqabench.checkpoints import Checkpoint
from iqabench.config import load_benchmark
from iqabench.data import DataHome
from iqabench.distributed.driving import Driver
from iqabench.distributed.jobs import Died, Files, Finished, Job, Node, Report, Setting, Told
from iqabench.distributed.working import work
from iqabench.keeping import Saving
from iqabench.planning import Plan, make_plan
from iqabench.progress import Silent
from iqabench.running import Runner, Summary
from iqabench.steps import Begun, Settled

Happens = Callable[[int, Report], BaseException | Died | None]


def plan_of(place: Workplace, store: Path, **flags: object) -> Plan:
    flags = {"defenses": ["blur+resnet"], "attacks": ["fgsm"], "eps": [1, 2.5]} | flags
    home = DataHome(place.data, store, Silent())
    return make_plan(load_benchmark(place.config, flags), ["biq2021"], home, split=None)


def moved(packed: bytes, store: Path) -> bytes:
    """A job as a machine reads it that has a store of its own under the same name."""
    job = Job.unpack(packed)
    entry = job.entry
    test, train = (dataclasses.replace(s, store=store) for s in (entry.data.test, entry.data.train))
    data = dataclasses.replace(entry.data, test=test, train=train)
    training = dataclasses.replace(entry.training, data=data)
    own = dataclasses.replace(entry, data=data, training=training)
    return dataclasses.replace(
        job,
        plan=dataclasses.replace(job.plan, entries=(own,)),
        setting=dataclasses.replace(job.setting, store=store),
    ).pack()


class Here:
    """Nodes that are folders: jobs take turns, and what a test wants happens between steps."""

    def __init__(self, folder: Path, happens: Happens = lambda number, report: None) -> None:
        self.folder = folder
        self.happens = happens
        self.streams: dict[int, Generator[Report]] = {}
        self.dying: dict[int, Died] = {}
        self.log: list[tuple[int, str]] = []
        self.jobs: list[Job] = []

    def submit(
        self,
        number: int,
        packed: bytes,
        checkpoints: Mapping[str, Checkpoint],
        avoid: frozenset[str],
    ) -> None:
        node = min({"a", "b"} - avoid or {"a"})
        files = {key: one.files() for key, one in checkpoints.items()}

        def fetch(key: str) -> Files:
            return files[key]

        self.jobs.append(Job.unpack(packed))
        self.log.append((number, f"sent to {node}"))
        packed = moved(packed, self.folder / node)
        self.streams[number] = work(packed, fetch, Node(node, f"node {node}"))

    def wait(self) -> tuple[int, Told]:
        if self.dying:
            number, died = self.dying.popitem()
            del self.streams[number]
            return number, died
        number, stream = next(iter(self.streams.items()))
        del self.streams[number]  # to the end of the queue
        report = next(stream, None)
        if report is None:
            self.log.append((number, "finished"))
            return number, Finished()
        event = self.happens(number, report)
        if isinstance(event, Died):
            stream.close()
            if not isinstance(report.step, Begun):
                return number, event
            self.dying[number] = event  # what is begun is known before it does harm
        elif event is not None:
            raise event
        if isinstance(report.step, Settled):
            self.log.append((number, "found" if report.step.found else "computed"))
        self.streams[number] = stream
        return number, report

    def close(self) -> None:
        for stream in self.streams.values():
            stream.close()


def drive(
    place: Workplace, plan: Plan, run: Path, cluster: Here, store: Path, **more: Any
) -> Summary:
    run.mkdir(parents=True, exist_ok=True)
    saving = more.pop("saving", None)
    setting = Setting(place.data, store, Path.cwd(), "cpu", 1, saving)
    try:
        return Driver(run, setting, cluster, Silent(), **more).execute(plan)
    finally:
        cluster.close()


def locally(plan: Plan, run: Path, store: Path, saving: Saving | None = None) -> Summary:
    run.mkdir(parents=True, exist_ok=True)
    return Runner(run, store, torch.device("cpu"), Silent(), saving).execute(plan)


def contents(run: Path) -> dict[str, bytes | dict[str, Any]]:
    """Everything that is in a run, less what two runs of one process differ in too."""
    found: dict[str, bytes | dict[str, Any]] = {}
    for path in run.rglob("*"):
        name = path.relative_to(run).as_posix()
        if path.is_file() and name.startswith(("cells", "cards", "images", "splits")):
            found[name] = path.read_bytes()
            if path.suffix == ".json":
                document = json.loads(path.read_bytes())
                for part in ("cost", "environment", "seconds"):
                    document.pop(part, None)
                found[name] = document
    return found
