"""Data sets found, read, split and opened: what training and attacks work on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from iqabench.containment import shielded
from iqabench.contracts.dataset import Dataset, Table
from iqabench.contracts.lookup import outside
from iqabench.errors import DataError, one_line
from iqabench.files import make_folder, unique_file_name
from iqabench.pixels import hash_images
from iqabench.progress import Reporter
from iqabench.registry import DATASETS, Named
from iqabench.sides import Geometry, Side
from iqabench.specs import parse
from iqabench.splits import Split, load_split, make_split

T = TypeVar("T")


@dataclass(frozen=True)
class OpenDataset:
    """A data set with a split, ready to be trained on and attacked.

    Attributes:
        named: The reader and its name.
        table: Everything it read.
        split: Which rows are on which side.
        train: The training side.
        test: The attacked side.
    """

    named: Named[Dataset]
    table: Table
    split: Split
    train: Side
    test: Side

    @property
    def name(self) -> str:
        """The data set as people write it, with the parameters that are not the defaults."""
        return self.named.label

    def describe(self) -> dict[str, Any]:
        """Return what identifies the attacked images, for cell keys."""
        geometry = self.test.geometry
        return {
            "name": self.name,
            "version": self.named.component.version,
            "identity": self.named.identity,
            "fingerprint": self.test.fingerprint,
            "labels": vars(self.table.labels),
            "resize": geometry.resize,
            "crop": geometry.crop,
        }

    @property
    def incomplete(self) -> str | None:
        """Said where only a part of the data set is there, else None."""
        count, whole = len(self.table.rows), self.named.component.expected_images
        return f"{count} of its {whole} images" if whole and count != whole else None


@dataclass(frozen=True)
class DataHome:
    """Where data is looked for and kept.

    Attributes:
        root: Folder of the official data sets; None if the user gave none.
        store: Folder of what iqabench makes itself.
        reporter: For progress.
        known: Hashes of the image files that were read.
    """

    root: Path | None
    store: Path
    reporter: Reporter
    known: dict[Path, str] = field(default_factory=dict, compare=False, repr=False)

    def find(self, named: Named[Dataset]) -> Path | None:
        """Return the folder of a data set, or None if nothing of it is there.

        Raises:
            DataError: It cannot be looked for, such as in a folder that must not be read.
        """
        root = self._home(named) if named.component.makes_itself else self.root
        if root is None:
            return None
        return _asked(lambda: named.component.locate(root), f"{named.label} in {root}")

    def require(self, named: Named[Dataset]) -> Path:
        """Return the folder of a data set, making it if it makes itself.

        Raises:
            DataError: It is not there; says where to get it.
        """
        folder = self.find(named)
        if folder is None:
            if named.component.makes_itself:
                return self._make(named)
            raise DataError(missing_line(named, self.root))
        return folder

    def open(
        self,
        named: Named[Dataset],
        geometry: Geometry,
        *,
        split: Path | None,
        split_seed: int,
        images: int | None = None,
    ) -> OpenDataset:
        """Read a data set, and ``divide`` it with these arguments.

        Raises:
            DataError: Anything about its files is missing or wrong.
        """
        table = self.read(named)
        return self.divide(
            named, table, geometry, split=split, split_seed=split_seed, images=images
        )

    def read(self, named: Named[Dataset]) -> Table:
        """Return every image with its label.

        Raises:
            DataError: Anything about its files is missing or wrong, or an image lies elsewhere.
        """
        folder = self.require(named)
        table = _asked(lambda: named.component.read(folder), f"{named.label} in {folder}")
        root = self.root if self.root and not named.component.makes_itself else folder
        if (image := outside((r.path for r in table.rows), root, folder)) is not None:
            raise DataError(
                f"data set {named.label} in {folder}: the image {image} lies, or leads, outside"
                f" {root}; put a copy of it there"
            )
        return table

    def divide(
        self,
        named: Named[Dataset],
        table: Table,
        geometry: Geometry,
        *,
        split: Path | None,
        split_seed: int,
        images: int | None = None,
    ) -> OpenDataset:
        """Split what was read and hash its images; pixels are decoded when first used.

        Args:
            named: The reader and its name.
            table: What it read.
            geometry: Size of the images.
            split: A saved split; None makes one.
            split_seed: Seed of a split that is made, and of drawing ``images``.
            images: Test only so many; None tests all.

        Raises:
            DataError: The split does not fit, or an image cannot be read.
        """
        chosen = (
            load_split(split, named.name, table)
            if split
            else make_split(named.name, table, seed=split_seed)
        )
        if images is not None:
            chosen = chosen.only(images, seed=split_seed)
        rows = (*chosen.train, *chosen.test)
        hashes = self._hashes([r.path for r in rows])
        cut = len(chosen.train)
        return OpenDataset(
            named,
            table,
            chosen,
            Side(chosen.train, tuple(hashes[:cut]), geometry, self.store),
            Side(chosen.test, tuple(hashes[cut:]), geometry, self.store),
        )

    def _hashes(self, paths: Sequence[Path]) -> list[str]:
        """Return the hashes of image files; each is read once for all plans of a command."""
        new = [path for path in dict.fromkeys(paths) if path not in self.known]
        if new:
            progress = self.reporter.counter(f"reading {len(new)} images")
            self.known.update(zip(new, hash_images(new, progress), strict=True))
        return [self.known[path] for path in paths]

    def _home(self, named: Named[Dataset]) -> Path:
        name = unique_file_name(f"{named.label}-{named.component.version}")
        return self.store / "datasets" / name

    def _make(self, named: Named[Dataset]) -> Path:
        home = self._home(named)
        self.reporter.say(f"making the data set {named.name} in {home}")
        progress = self.reporter.counter(f"making {named.name}")
        with shielded():
            make_folder(home, lambda temporary: named.component.make(temporary, progress))
        return home


def dataset(text: str) -> Named[Dataset]:
    """Return the data set that a component string describes.

    Raises:
        DataError: It is a chain; data sets have no wrappers.
    """
    parts = parse(text)
    if len(parts) > 1:
        raise DataError(f"data set {text!r}: data sets cannot be chained with '+'")
    return DATASETS.create(parts[0])


def _asked(answer: Callable[[], T], what: str) -> T:
    """Return what a reader answers; whatever it raises is said in a line."""
    try:
        with shielded():
            return answer()
    except DataError:
        raise
    except Exception as e:  # a plugin may raise anything
        raise DataError(f"data set {what} cannot be read: {one_line(e)}") from e


def missing_line(named: Named[Dataset], root: Path | None) -> str:
    """Return one line that says what is missing and how to get it."""
    where = f"not found under {root}" if root else "no data root given (--data-root)"
    info = named.component
    return (
        f"data set {named.label}: {where}; expected is {info.layout};"
        f" get it from {info.homepage} ({info.licence})"
    )
