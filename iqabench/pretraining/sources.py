"""Pristine photographs in a folder: found, hashed, and divided by content and name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from iqabench.errors import DataError
from iqabench.files import hash_of
from iqabench.pixels import hash_images
from iqabench.progress import Reporter

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
HELD_OUT = 5
"""One source in so many is held out, and one at least."""


@dataclass(frozen=True)
class Source:
    """One pristine photograph.

    Attributes:
        name: Path inside the folder, with ``/``.
        path: The file.
        sha256: Hash of its bytes.
    """

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Sources:
    """All photographs of a folder, each content once.

    Attributes:
        train: What the network learns from.
        held_out: What its accuracy is measured on.
    """

    train: tuple[Source, ...]
    held_out: tuple[Source, ...]

    @property
    def sha256(self) -> str:
        """Hash of all names and contents, and of which of them are held out."""
        sides = [[[s.name, s.sha256] for s in side] for side in (self.train, self.held_out)]
        return hash_of(sides)


def find_sources(folder: Path, *, seed: int, reporter: Reporter) -> Sources:
    """Return the photographs of a folder and of the folders in it.

    Names that begin with a dot are passed over, and links to folders are not followed. Of files
    with the same bytes the first one counts, so that none is on both sides; how many were left out
    is said. Which are held out depends on ``seed`` and on their names alone.

    Raises:
        DataError: No such folder, one that cannot be read, or fewer than two photographs.
    """
    if not folder.is_dir():
        raise DataError(
            f"folder {folder} of --images is not there; give one of pristine photographs"
        )
    paths = _image_files(folder)
    found: dict[str, Source] = {}
    for path, sha256 in zip(paths, hash_images(paths), strict=True):
        name = path.relative_to(folder).as_posix()
        found.setdefault(sha256, Source(name, path, sha256))
    if len(found) < 2:
        copies = f" ({len(paths)} files with the same bytes)" if len(paths) > 1 else ""
        raise DataError(
            f"folder {folder} holds {len(found)} images{copies}: at least 2 are needed, one to"
            f" learn from and one to measure on; they end in {', '.join(SUFFIXES)}"
        )
    if len(found) < len(paths):
        reporter.say(f"{len(paths) - len(found)} images are copies of others and are left out")
    return _divide(list(found.values()), seed)


def _divide(sources: Sequence[Source], seed: int) -> Sources:
    count = max(1, len(sources) // HELD_OUT)
    ranked = sorted(sources, key=lambda s: hash_of([seed, s.name]))
    held = {s.name for s in ranked[:count]}
    return Sources(
        tuple(s for s in sources if s.name not in held),
        tuple(s for s in sources if s.name in held),
    )


def _image_files(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> NoReturn:
        raise DataError(f"folder {error.filename} cannot be read: {error.strerror}") from error

    paths = []
    for here, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [
            Path(here, name)
            for name in names
            if not name.startswith(".") and name.casefold().endswith(SUFFIXES)
        ]
    return sorted(paths, key=lambda path: path.relative_to(folder).as_posix())
