"""Writing files whole or not at all, and hashing what is in them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from filelock import FileLock

from iqabench.errors import OutputError

_TEMPORARY = re.compile(r"\..+\.(json|csv|png|svg|html|safetensors)\.[a-z0-9_]{8}\.tmp")


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, NaN refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash_of(value: object) -> str:
    """Return the SHA-256 of a JSON value's canonical text, as 64 hex digits.

    Example:
        >>> hash_of({"a": 1, "b": 2}) == hash_of({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step, so that a reader or a crash never sees half of it.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file in one step; see ``write_text``."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_set(files: Mapping[Path, bytes]) -> None:
    """Replace files that belong together: none before all of them are written beside their places.

    Raises:
        OutputError: A folder cannot be written, or the disk is full.
    """
    with contextlib.ExitStack() as stack:
        temporary = {path: stack.enter_context(replacing(path)) for path in files}
        for path, data in files.items():
            temporary[path].write_bytes(data)


def write_json(path: Path, value: object) -> None:
    """Write a JSON document for people and machines; see ``json_text``."""
    write_text(path, json_text(value))


def json_text(value: object) -> str:
    """Return a JSON document for people and machines: sorted keys, indented, no NaN."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"


def file_name(text: str) -> str:
    """Return ``text`` for people to recognise, without what a shell or file system may mind."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", text).strip("-.")[:80] or "x"


def unique_file_name(text: str) -> str:
    """Return ``file_name(text)``, with a hash where it lost something that told texts apart."""
    name = file_name(text)
    return name if name == text else f"{name}-{hash_of(text)[:8]}"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder that becomes ``path`` if the block succeeds.

    The file is synced before and the folder after the replacement; on any exception the temporary
    file is removed and ``path`` is left as it was.

    Raises:
        OutputError: The operating system refused.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
    except OSError as e:
        raise OutputError(f"cannot write {path}: {e.strerror or e}") from e
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as e:
        raise OutputError(f"cannot write {path}: {e.strerror or e}") from e
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Have ``fill`` write a folder that appears as ``path`` when it is whole, unless it is there.

    Several processes that want the same folder wait for the first of them. What a killed process
    left behind is removed.

    Raises:
        OutputError: The operating system refused.
    """
    prefix = f".{path.name}."
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / f"{prefix}lock"):
            if path.exists():
                return
            for left in path.parent.glob(f"{prefix}*.tmp"):  # the prefix is ours, and so the lock
                shutil.rmtree(left, ignore_errors=True)
            temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=prefix, suffix=".tmp"))
            try:
                fill(temporary)
                temporary.chmod(0o755)
                temporary.replace(path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as e:
        raise OutputError(f"cannot make {path}: {e}") from e


def new_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Have ``fill`` write a folder that appears as ``path`` when it is whole; it must be new.

    An empty folder that is there is kept, with what it may do, and gets the entries when all of
    them are written.

    Raises:
        OutputError: ``path`` is there and is no empty folder, or the operating system refused.
    """
    try:
        there = path.exists() or path.is_symlink()
        if there and not (path.is_dir() and not any(path.iterdir())):
            raise OutputError(f"{path} is there and is no empty folder; nothing was written")
        parent = path if there else path.parent
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=parent, prefix=f".{path.name}.", suffix=".tmp"))
        try:
            fill(temporary)
            if there:
                for entry in sorted(temporary.iterdir()):
                    entry.replace(path / entry.name)
            else:
                temporary.chmod(0o755)
                temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as e:
        raise OutputError(f"cannot make {path}: {e.strerror or e}") from e


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes left; only under a lock of ``folder``.

    Nothing else is touched: plain files alone, named as ``replacing`` names them.
    """
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


def remove_leftovers_of(path: Path) -> None:
    """Remove the temporary files that killed writers of ``path`` left; only under a lock of it."""
    ours = re.compile(rf"{re.escape(f'.{path.name}.')}[a-z0-9_]{{8}}\.tmp")
    for left in path.parent.iterdir():
        if ours.fullmatch(left.name) and left.is_file() and not left.is_symlink():
            left.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
