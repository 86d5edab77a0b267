"""Where the files of a data set lie: names without case, archives unpacked in many ways."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from iqabench.errors import DataError, quoted


def find_file(folder: Path, name: str) -> Path | None:
    """Return the entry of ``folder`` with this name, compared without case, else None."""
    exact = folder / name
    if exact.exists():
        return exact
    if not folder.is_dir():
        return None
    wanted = name.casefold()
    with os.scandir(folder) as entries:
        same = [entry.name for entry in entries if entry.name.casefold() == wanted]
    return folder / min(same) if same else None


def find_folder(root: Path, *names: str, holds: Callable[[Path], bool]) -> Path | None:
    """Return the first folder that ``holds`` accepts, else None.

    Tried are ``root``, the entries of it with one of these names, and those of the same names
    inside them: archives are often unpacked into a folder of their own name. Names are compared
    without case.
    """
    return next((folder for folder in _inside(root, names) if holds(folder)), None)


def find_home(root: Path, *names: str, parts: Sequence[Callable[[Path], object]]) -> Path | None:
    """Return the folder that holds most parts of a data set, None where none holds any.

    So a data set of which a part is missing is found, and ``read`` can say what is missing.

    Args:
        root: The data root, or the folder of the data set itself.
        names: What its folder may be called; the same folders are tried as in ``find_folder``.
        parts: Say whether a part of the data set is in a folder (images, labels), each by names
            that no other data set has. Where two folders hold as many, the earlier part decides.
    """
    folders = _inside(root, names)
    held = [[bool(part(folder)) for part in parts] for folder in folders]
    best = max(held, key=lambda flags: (sum(flags), flags))
    return folders[held.index(best)] if any(best) else None


def nearby(folder: Path, *names: str) -> list[Path]:
    """Return where the other parts of a data set may lie that has a part in ``folder``.

    That is ``folder`` and the folders with one of these names in it and in those. If ``folder``
    has one of these names itself, its parent is searched in the same way, and so on: a label file
    that is a download of its own often lies above or beside the unpacked archive.
    """
    places = [p for start in (folder, *_above(folder, names)) for p in _inside(start, names)]
    return list(dict.fromkeys(places))


def find_near(folder: Path, name: str, *names: str) -> Path | None:
    """Return the entry called ``name`` of the first of the ``nearby`` folders, else None."""
    places = nearby(folder, *names)
    return next((found for place in places if (found := find_file(place, name))), None)


def is_named(folder: Path, *names: str) -> bool:
    """Return whether the folder has one of these names, compared without case."""
    name = _spelled_out(folder).name.casefold()
    return any(name == known.casefold() for known in names)


def resolve_images(names: Sequence[str], folder: Path, *, source: str) -> list[Path]:
    """Return the file of every name in ``folder``, compared without case.

    Raises:
        DataError: Some are missing: how many, and the first few names.
    """
    if not folder.is_dir():
        raise DataError(f"{source}: its image folder {folder} is missing")
    exact = {p.name: p for p in sorted(folder.iterdir())}
    folded = {name.casefold(): p for name, p in exact.items()}
    paths = [exact.get(n) or folded.get(n.casefold()) for n in names]
    missing = [n for n, p in zip(names, paths, strict=True) if p is None]
    if missing:
        raise DataError(
            f"{source}: {len(missing)} of {len(names)} listed images are not in {folder}:"
            f" {quoted(missing, limit=5)}"
        )
    return [p for p in paths if p is not None]


def outside(paths: Iterable[Path], root: Path, folder: Path) -> Path | None:
    """Return the first image that a data set may not read, None where it may read all of them.

    Label files come from other people, and must name no other file of this machine. So an image
    lies below the data root, by its path without ``..``; a link may stand for the root or for a
    whole folder, but a link in place of an image has to lead to a file below them. Where the data
    root is the folder of the data set itself, parts of it may lie beside it (see ``nearby``).

    Args:
        paths: The images, as a reader found them.
        root: The data root.
        folder: The folder of the data set.
    """
    places = [root, folder, root.resolve()]
    if folder == root:
        places += [p for p in root.resolve().parents[:2] if p != p.parent]
    real = [place.resolve() for place in (root, folder)]
    return next((path for path in paths if not _is_inside(path, places, real)), None)


def _is_inside(path: Path, places: Sequence[Path], real: Sequence[Path]) -> bool:
    below = [path.relative_to(place) for place in places if path.is_relative_to(place)]
    if not any(".." not in rest.parts for rest in below):
        return False
    if not path.is_symlink():
        return True
    end = Path(os.path.realpath(path))  # a link to itself is no reason to raise here
    return any(end.is_relative_to(place) for place in (*real, path.parent.resolve()))


def collect(source: str, *steps: Callable[[], Any]) -> list[Any]:
    """Take steps that do not depend on each other, and return what each gives.

    Raises:
        DataError: Some failed: everything that is missing or wrong, in one line.
    """
    given, wrong = [], []
    for step in steps:
        try:
            given.append(step())
        except DataError as e:
            wrong.append(str(e).removeprefix(f"{source}: "))
    if wrong:
        raise DataError(f"{source}: {'; '.join(wrong)}")
    return given


def _inside(root: Path, names: Sequence[str]) -> list[Path]:
    inner = [p for name in names if (p := find_file(root, name))]
    deeper = [p for folder in inner for name in names if (p := find_file(folder, name))]
    return [root, *inner, *deeper]


def _above(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    while is_named(folder, *names):
        folder = _spelled_out(folder).parent
        yield folder


def _spelled_out(folder: Path) -> Path:
    """Return the folder with a name of its own: ``.`` and ``..`` have none."""
    return folder if folder.name not in ("", "..") else folder.resolve()
