"""One process at a time in a run directory, and in the folder of a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from iqabench.errors import OutputError
from iqabench.files import remove_leftovers


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run directory for this process.

    Raises:
        OutputError: It cannot be written, or another process holds it.
    """
    ours = not run.exists()
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run / ".lock")
        lock.acquire(timeout=0)
    except Timeout as e:
        raise OutputError(
            f"run directory {run} is in use by another iqabench; wait or give --out"
        ) from e
    except OSError as e:
        raise OutputError(f"cannot write run directory {run}: {e.strerror or e}") from e
    try:
        folders = (run, *(run / name for name in ("splits", "figures", "cards")))
        for folder in (*folders, *run.glob("cells/*/*"), *run.glob("images/*")):
            remove_leftovers(folder)
        yield
    finally:
        lock.release()
        if ours and [path.name for path in run.glob("*")] == [".lock"]:
            with contextlib.suppress(OSError):  # the request came to nothing
                (run / ".lock").unlink()
                run.rmdir()


@contextlib.contextmanager
def waited_for(folder: Path) -> Iterator[None]:
    """Hold the folder of a checkpoint for this process, as soon as no other one holds it.

    Raises:
        OutputError: It cannot be written.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as e:
        raise OutputError(f"cannot write {folder}: {e.strerror or e}") from e
    try:
        remove_leftovers(folder)
        yield
    finally:
        lock.release()
