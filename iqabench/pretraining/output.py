"""The file of a pre-training, finished or not: tensors, and what made them in its header."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from iqabench.checkpoints import hash_tensors, load_tensors, save_tensors
from iqabench.errors import OutputError
from iqabench.files import canonical_json, remove_leftovers_of
from iqabench.progress import Reporter

SUFFIX = ".safetensors"
_HEADER = "iqabench"
"""The one entry of a file's metadata: several are written in any order, so bytes would differ."""


@dataclass(frozen=True)
class Output:
    """Where the weights will be, and beside it the state of an unfinished training.

    Attributes:
        path: What the user asked for.
        request: Everything that decides the weights, as plain JSON.
    """

    path: Path
    request: Mapping[str, Any]

    def check(self) -> None:
        """Raise unless the path can name a result.

        Raises:
            OutputError: It does not end in ``.safetensors``.
        """
        if self.path.suffix != SUFFIX:
            raise OutputError(f"--out {self.path}: give a file that ends in {SUFFIX}")

    @property
    def part(self) -> Path:
        """Where an unfinished training keeps its state."""
        return self.path.with_name(f"{self.path.name}.part")

    def finished(self) -> dict[str, Any] | None:
        """Return what is said about the finished weights, None where there is no file.

        Raises:
            OutputError: A file is there that this very request has not made.
        """
        if not self.path.exists():
            return None
        about = _read(self.path)
        if about is None:
            raise OutputError(
                f"{self.path} is there and is no undamaged file of pretrain-scnn; give another"
                " --out, or remove it"
            )
        if others := self._others(about[1]):
            raise OutputError(
                f"{self.path} is there and is of another request (other {others}); give another"
                " --out, or remove it"
            )
        return about[1]

    def unfinished(self, reporter: Reporter) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the saved state and what is said about it; None where nothing can go on from it.

        Why a file that is there cannot be gone on from is said.
        """
        if not self.part.exists():
            return None
        found = _read(self.part)
        if found is None:
            reporter.warn(f"{self.part} is damaged: starting again")
            return None
        if others := self._others(found[1]):
            reporter.warn(f"{self.part} is of another request (other {others}): starting again")
            return None
        return found

    def save(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> dict[str, Any]:
        """Write the finished weights, drop the unfinished ones, and return what is said."""
        said = self._write(self.path, tensors, about)
        self.part.unlink(missing_ok=True)
        return said

    def save_part(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Write the state of an unfinished training."""
        self._write(self.part, tensors, about)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing the same files, and remove what killed ones left.

        Raises:
            OutputError: Another one is writing them, or the folder cannot be written.
        """
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as e:
            raise OutputError(f"another process is making {self.path}: wait for it") from e
        except OSError as e:
            raise OutputError(f"cannot write {self.path}: {e.strerror or e}") from e
        try:
            for path in (self.path, self.part):
                remove_leftovers_of(path)
            yield
        finally:
            lock.release()

    def _others(self, about: Mapping[str, Any]) -> str:
        """Return the names of what another request asked differently; nothing for this one."""
        there = about["request"]
        names = sorted({*there, *self.request})
        return ", ".join(n for n in names if there.get(n) != self.request.get(n))

    def _write(
        self, path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]
    ) -> dict[str, Any]:
        said = {"request": self.request, "tensors_sha256": hash_tensors(tensors), **about}
        save_tensors(path, tensors, {_HEADER: canonical_json(said)})
        return said


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return tensors and what is said about them; None unless ``Output`` wrote both."""
    found = load_tensors(path)
    if found is None:
        return None
    tensors, metadata = found
    try:
        about = json.loads(metadata[_HEADER])
        whole = isinstance(about["request"], dict)
        whole = whole and about["tensors_sha256"] == hash_tensors(tensors)
    except (KeyError, TypeError, ValueError):
        return None
    return (tensors, about) if whole else None
