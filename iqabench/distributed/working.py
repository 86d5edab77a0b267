"""What a worker does with a job: the run of one entry in a folder of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from filelock import FileLock

from iqabench.allocation import keep_freed_memory
from iqabench.chains import Chain
from iqabench.data import DataHome, dataset
from iqabench.distributed.jobs import Files, Job, Node, Refusal, Report, checkpoints_of, release
from iqabench.errors import DataError, DeviceError, IqabenchError, OutputError, UsageError
from iqabench.planning import attack
from iqabench.progress import Silent
from iqabench.results import CLEAN
from iqabench.running import Runner
from iqabench.seeding import exact_kernels
from iqabench.sides import decode
from iqabench.steps import Begun, Step
from iqabench.training import install
from iqabench.visibility import Visibility

Fetch = Callable[[str], Files]
"""Returns the files of a checkpoint that the driver has, by recipe key."""


def work(packed: bytes, fetch: Fetch, node: Node) -> Generator[Report]:
    """Compute what is missing of an entry and report every step.

    Nothing is written but the store of this machine and a temporary folder.

    Args:
        packed: ``Job.pack``.
        fetch: Where checkpoints of the driver come from.
        node: Where this is.
    """
    keep_freed_memory()
    try:
        job = Job.unpack(packed)
        with exact_kernels(), tempfile.TemporaryDirectory(prefix="iqabench-") as folder:
            yield from _Worker(job, fetch, node, Path(folder)).reports()
    except IqabenchError as e:
        yield Report(node, refusal=Refusal(f"{node.shown}: {e}", e.exit_code))


class _Messages(Silent):
    """Keeps lines until the next report; failures travel with their cells."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        """See ``Reporter.say``."""
        self.lines.append(message)

    def taken(self) -> tuple[str, ...]:
        """Return the lines since the last time."""
        taken, self.lines = tuple(self.lines), []
        return taken


@dataclass
class _Worker:
    """One job on this machine."""

    job: Job
    fetch: Fetch
    node: Node
    run: Path
    messages: _Messages = field(default_factory=_Messages)
    sent: dict[str, tuple[int, int]] = field(default_factory=dict)

    def reports(self) -> Iterator[Report]:
        """Say hello, make everything ready, and report each step."""
        yield Report(self.node)
        job, setting = self.job, self.job.setting
        torch.set_num_threads(setting.threads)
        if setting.folder.is_dir():
            os.chdir(setting.folder)
        try:
            setting.store.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise OutputError(f"cannot write the store {setting.store}: {e.strerror or e}") from e
        self._check()
        self._open_data()
        self.wanted = checkpoints_of(job.entry, job.plan, setting.store)
        for key in job.checkpoints:
            self._have(key)
        with FileLock(setting.store / ".weights.lock"):  # one download for all workers here
            job.plan.fetch_weights(setting.store)
        self._lay_out()
        device = torch.device(setting.device)
        visibility = Visibility(job.plan.benchmark.visibility, device)
        runner = Runner(self.run, setting.store, device, self.messages, setting.saving, visibility)
        if job.alone:
            self._train(runner)
            yield self._report(Begun(CLEAN, (0.0,)))
            return
        for step in runner.steps(job.plan, job.entry, job.leave):
            yield self._report(step)

    def _train(self, runner: Runner) -> None:
        """Train the checkpoint of the entry; the job of its cells meets a failure again."""
        try:
            runner.models(self.job.plan).checkpoint(self.job.entry.training)
        except UsageError:
            raise
        except Exception:
            return

    def _check(self) -> None:
        """Compare this installation with the driver's.

        Raises:
            UsageError: It is another one, so its numbers would not be those that were asked for.
        """
        setting, entry = self.job.setting, self.job.entry
        if release() != setting.release:
            raise UsageError(
                f"iqabench here is {release()}, that of the driver {setting.release}; install the"
                " same one on every machine"
            )
        pairs = [(entry.chain.identities, Chain.parse(entry.chain.canonical).identities)]
        named = entry.data.named
        pairs.append(([named.identity], [dataset(named.canonical).identity]))
        for one in self.job.plan.attacks:
            pairs.append(([one.identity], [attack(one.canonical).identity]))
        for meant, found in pairs:
            if meant != found:
                raise UsageError(
                    f"here is {', '.join(found)}, the driver has {', '.join(meant)}; install the"
                    " same versions, and put the same files, on every machine"
                )
        if setting.device == "cuda" and not torch.cuda.is_available():
            raise DeviceError("torch finds no CUDA device here, and the run is on GPUs")

    def _open_data(self) -> None:
        """Make or find the images, and decode them if no worker of this machine has.

        Raises:
            DataError: They are not there, unreadable, or other ones.
        """
        setting, data = self.job.setting, self.job.entry.data
        if data.named.component.makes_itself:
            DataHome(setting.root, setting.store, self.messages).require(data.named)
        elif setting.root is not None and not setting.root.is_dir():
            raise DataError(
                f"the data root {setting.root} is no folder here; every machine needs the data sets"
                " under the same path"
            )
        for side in (data.train, data.test):
            side.check_files()
        decode((data.train, data.test), self.messages)

    def _have(self, key: str) -> None:
        """See that a checkpoint of the driver is in the store of this machine, the same one.

        Raises:
            WeightsError: Another one is there.
        """
        checkpoint, meant = self.wanted[key], self.job.checkpoints[key]
        if not (checkpoint.exists and checkpoint.card()["weights_sha256"] == meant):
            install(checkpoint, self.fetch(key))

    def _lay_out(self) -> None:
        """Write what the run has, so that it is found; images as empty files that stand for it."""
        empty = dict.fromkeys(self.job.images, b"")
        for name, content in (*self.job.files.items(), *empty.items()):
            path = self.run / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self._changed()

    def _report(self, step: Step) -> Report:
        lacking = {k: c for k, c in self.wanted.items() if k not in self.job.checkpoints}
        trained = {key: one.files() for key, one in lacking.items() if one.exists}
        for key in trained:
            del self.wanted[key]
        return Report(self.node, step, self._changed(), trained, self.messages.taken())

    def _changed(self) -> dict[str, bytes]:
        """Return the files that are new or were replaced since the last time."""
        changed = {}
        for path in self.run.rglob("*"):
            if path.is_file():
                name, facts = path.relative_to(self.run).as_posix(), path.stat()
                mark = facts.st_ino, facts.st_mtime_ns  # files are replaced whole
                if self.sent.get(name) != mark:
                    self.sent[name] = mark
                    changed[name] = path.read_bytes()
        return changed
