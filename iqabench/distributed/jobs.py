"""What goes to a worker and what comes back, whatever carries it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from iqabench import __version__
from iqabench.chains import Chain
from iqabench.checkpoints import Checkpoint
from iqabench.environment import revision
from iqabench.errors import IqabenchError, UsageError, one_line
from iqabench.keeping import Saving
from iqabench.planning import Entry, Plan
from iqabench.steps import Step

Files = Mapping[str, bytes]
"""Contents by name, or by path relative to a run directory."""
Cell = tuple[str, float]
"""A cell of an entry: canonical attack (``clean`` for the clean pass) and radius in grey levels."""


@dataclass(frozen=True)
class Setting:
    """What all jobs of a run share.

    Attributes:
        root: Folder of the official data sets, the same path on every machine; None if none.
        store: Folder of checkpoints and pixel caches, the same path on every machine.
        folder: Where relative names of files in component strings are looked up.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of a worker.
        saving: Which attacked images are kept; None keeps none.
        release: What planned the run; see ``release``.
    """

    root: Path | None
    store: Path
    folder: Path
    device: str
    threads: int
    saving: Saving | None = None
    release: str = field(default_factory=lambda: release())


def release() -> str:
    """Return which iqabench this is: its version, and the commit if it is a checkout."""
    commit = (revision() or "").removesuffix("-dirty")
    return f"{__version__} at {commit}" if commit else __version__


@dataclass(frozen=True)
class Job:
    """One entry of a plan, as it is sent out.

    Attributes:
        plan: The plan of this entry alone.
        setting: What all jobs share.
        files: Finished cells of the entry that the run has: they are not computed again.
        images: Kept images that the run has, by path relative to it.
        checkpoints: The needed checkpoints that the driver has: hash of the weights by recipe key.
        leave: Cells that are not to be computed.
        alone: Train the entry's own checkpoint, and nothing else.
    """

    plan: Plan
    setting: Setting
    files: Files
    images: tuple[str, ...]
    checkpoints: Mapping[str, str]
    leave: frozenset[Cell]
    alone: bool

    @property
    def entry(self) -> Entry:
        """The defense on its data set."""
        return self.plan.entries[0]

    def pack(self) -> bytes:
        """Return the job as bytes; classes of plugins go by name."""
        return pickle.dumps(self)

    @classmethod
    def unpack(cls, packed: bytes) -> Job:
        """Return the job of ``pack``, which came from the driver of this run and nobody else.

        Raises:
            UsageError: Something that it names is not installed here.
        """
        try:
            job: Job = pickle.loads(packed)
        except Exception as e:  # whatever the import of a plugin raises
            raise UsageError(
                f"the job cannot be read ({one_line(e)}); install here what the driver has"
            ) from e
        return job


def checkpoints_of(entry: Entry, plan: Plan, store: Path) -> dict[str, Checkpoint]:
    """Return the checkpoints that an entry needs, by recipe key: its own and those of sources."""
    trainings = [entry.training]
    for attack in plan.attacks:
        trainings += [entry.sibling(Chain.parse(spec)) for spec in attack.component.sources()]
    found = [training.checkpoint(store) for training in trainings]
    return {checkpoint.recipe_key: checkpoint for checkpoint in found}


@dataclass(frozen=True)
class Node:
    """Where a worker is.

    Attributes:
        key: What the cluster calls the machine; empty if that is unknown.
        shown: The same for people.
    """

    key: str
    shown: str


@dataclass(frozen=True)
class Refusal:
    """Why a worker cannot go on, and no other could.

    Attributes:
        message: One line.
        exit_code: Of the error's class.
    """

    message: str
    exit_code: int

    def error(self) -> IqabenchError:
        """Return the error with that exit code."""
        wanted = UsageError if self.exit_code == UsageError.exit_code else IqabenchError
        return wanted(self.message)


@dataclass(frozen=True)
class Report:
    """What a worker tells after every step.

    Attributes:
        node: Where it is.
        step: What was begun, or how a cell ended; None where it only says that it is there.
        files: New and changed files of the run directory.
        checkpoints: Files of checkpoints that the driver lacked, by recipe key.
        messages: Lines for the user.
        refusal: Why it cannot go on.
    """

    node: Node
    step: Step | None = None
    files: Files = field(default_factory=dict)
    checkpoints: Mapping[str, Files] = field(default_factory=dict)
    messages: tuple[str, ...] = ()
    refusal: Refusal | None = None


@dataclass(frozen=True)
class Finished:
    """A job came to its end."""


@dataclass(frozen=True)
class Died:
    """A worker is gone in the middle of its job.

    Attributes:
        cause: One line.
    """

    cause: str


Told = Report | Finished | Died
