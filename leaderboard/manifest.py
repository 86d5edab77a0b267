"""Folders that a command writes whole, lists in a file, and may replace by a later one."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from iqabench.errors import OutputError, ResultsError
from iqabench.files import write_json

SCHEMA = 1
"""Raise it whenever a field of these files changes its meaning."""


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Return what a folder says of itself; None if there is no such file.

    Raises:
        ResultsError: It is there and damaged.
    """
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as e:
        raise ResultsError(f"{path}: damaged ({e})") from e
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ResultsError(f"{path}: damaged, or of another schema than {SCHEMA}")
    return document


def check_replaceable(path: Path, manifest: str, derived: Sequence[str] = ()) -> None:
    """Raise unless a folder may be written: new, empty, or holding what its manifest lists alone.

    Args:
        path: The folder.
        manifest: Name of the file that lists what was written.
        derived: Patterns of further files that can be made again from those.

    Raises:
        OutputError: Somebody else's file would be lost.
    """
    try:
        if path.is_dir() and path.samefile(Path.cwd()):
            raise OutputError(f"{path} is the working directory; give another folder with --out")
        if not path.is_dir():
            if path.exists() or path.is_symlink():
                raise OutputError(f"{path} is there and is no folder; give another one with --out")
            return
        there = sorted(_files(path))
        if there or any(path.iterdir()):
            _check_listed(path, there, manifest, derived)
    except OSError as e:
        raise OutputError(f"cannot write {path}: {e.strerror or e}") from e


def replace_folder(
    path: Path,
    fill: Callable[[Path], None],
    *,
    manifest: str,
    facts: Mapping[str, Any],
    derived: Sequence[str] = (),
) -> None:
    """Have ``fill`` write a folder that appears as ``path`` when it is whole.

    A killed process leaves ``path`` as it was, or at worst nothing there, and a hidden ``.tmp``
    folder beside it that the next one removes.

    Args:
        path: The folder; new, empty, or replaceable (``check_replaceable``).
        fill: Writes all files into the folder that it is given.
        manifest: Name of the file that lists what was written, with ``facts``; written last.
        facts: What else that file says.
        derived: As ``check_replaceable``.

    Raises:
        OutputError: It may not be replaced, or the operating system refused.
    """
    path = path.resolve()
    prefix = f".{path.name}."
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / f"{prefix}lock"):
            for left in path.parent.iterdir():  # the prefix is ours, and so is the lock
                if left.name.startswith(prefix) and left.name.endswith(".tmp"):
                    shutil.rmtree(left, ignore_errors=True)
            temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=prefix, suffix=".tmp"))
            try:
                fill(temporary)
                listed = {"files": sorted(_files(temporary)), "schema": SCHEMA}
                write_json(temporary / manifest, {**facts, **listed})
                temporary.chmod(0o755)
                check_replaceable(path, manifest, derived)
                _swap(temporary, path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as e:
        raise OutputError(f"cannot write {path}: {e.strerror or e}") from e


def _swap(new: Path, path: Path) -> None:
    if not path.exists():
        new.replace(path)
        return
    old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    path.replace(old)
    try:
        new.replace(path)
    except OSError:
        old.replace(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _check_listed(path: Path, there: Sequence[str], manifest: str, derived: Sequence[str]) -> None:
    document = read_manifest(path / manifest)
    if document is None:
        raise OutputError(f"{path} is no empty folder, and holds no {manifest}; give another --out")
    listed = {*map(str, document.get("files", [])), manifest}
    for name in there:
        if name not in listed and not any(Path(name).match(pattern) for pattern in derived):
            raise OutputError(
                f"{path} holds {name}, which {manifest} does not list and which would be lost;"
                " give another --out"
            )


def _files(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(folder).as_posix()
