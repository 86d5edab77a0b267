"""What a data set is: a table of images with labels, read from its official layout."""

from __future__ import annotations

import csv
import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from iqabench.contracts.component import Component
from iqabench.errors import DataError

Part = Literal["train", "test"]


@dataclass(frozen=True)
class LabelMap:
    """The constant linear map from a label file's own scale to ``[0, 1]``, higher better.

    Attributes:
        source: Name of the label file (and column) it belongs to.
        low: Value at the lower end of the scale.
        high: Value at the upper end.
        higher_is_better: False for DMOS, which is inverted.

    Example:
        >>> LabelMap("dmos.mat", low=0, high=80, higher_is_better=False)(20)
        0.75
    """

    source: str
    low: float
    high: float
    higher_is_better: bool = True

    def __call__(self, value: float) -> float:
        """Return the mos of a raw label."""
        share = (value - self.low) / (self.high - self.low)
        return share if self.higher_is_better else 1 - share


@dataclass(frozen=True)
class Row:
    """One image.

    Attributes:
        image_id: Stable name, as the label file spells it; unique in the data set.
        path: Where the image lies.
        mos: Label in ``[0, 1]``, higher is better.
        scene: The pristine content it was made from; None where every image is its own.
        distortion: Kind of distortion, where known.
        part: Side of the official split, where there is one.
    """

    image_id: str
    path: Path
    mos: float
    scene: str | None = None
    distortion: str | None = None
    part: Part | None = None


@dataclass(frozen=True)
class Table:
    """What a reader found.

    Attributes:
        rows: Every image with a label, in the label file's order.
        labels: The label map that was used.
    """

    rows: Sequence[Row]
    labels: LabelMap

    def __post_init__(self) -> None:
        if not self.rows:
            raise DataError(f"{self.labels.source}: no image with a label was found")
        twice = [i for i, n in Counter(r.image_id for r in self.rows).items() if n > 1]
        if twice:
            raise DataError(f"{self.labels.source}: {twice[0]!r} is listed more than once")
        for row in self.rows:
            if not (math.isfinite(row.mos) and -1e-6 <= row.mos <= 1 + 1e-6):
                raise DataError(
                    f"{self.labels.source}: label of {row.image_id!r} maps to {row.mos:g}, outside"
                    f" [0, 1]; the scale is {self.labels.low:g}..{self.labels.high:g}"
                )

    @property
    def has_scenes(self) -> bool:
        """Whether images share scenes, so that splits go by scene."""
        return any(r.scene is not None for r in self.rows)

    @property
    def has_official_split(self) -> bool:
        """Whether every image has a side of an official split."""
        return all(r.part is not None for r in self.rows)


@dataclass(frozen=True)
class PublishedCount:
    """What a paper says about the size of a data set, to be shown beside what was found.

    Attributes:
        source: The paper and its table.
        images: How many images it states; None where that number is not on record here.
        note: What is known to be wrong with it, or how it is to be understood.
    """

    source: str
    images: int | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Dataset(Component):
    """A reader of one data set's official layout."""

    title: ClassVar[str]
    """Full name, for people."""
    homepage: ClassVar[str]
    """Where to get it."""
    licence: ClassVar[str]
    """What its licence allows, in a few words."""
    layout: ClassVar[str] = "its official layout"
    """Which files lie where, in a few words: shown when they are not found."""
    expected_images: ClassVar[int]
    """How many labelled images the whole data set has; 0 if that depends."""
    published_count: ClassVar[PublishedCount | None] = None
    """What the reference paper says about its size, and what is wrong with that."""
    proxy_labels: ClassVar[bool] = False
    """The labels are computed, not human scores; said wherever they are shown."""
    makes_itself: ClassVar[bool] = False
    """``make`` creates the images on first use, under the store instead of the data root."""

    @abstractmethod
    def locate(self, root: Path) -> Path | None:
        """Return the folder of this data set under ``root`` (or ``root`` itself), else None.

        Cheap: looks for the label file, opens nothing.
        """

    @abstractmethod
    def read(self, folder: Path) -> Table:
        """Return the table of the data set in ``folder``, as ``locate`` found it.

        Raises:
            DataError: Labels are malformed or images are missing; says which and what to do.
        """

    def make(self, folder: Path, on_progress: Callable[[int, int], None]) -> None:
        """Write the data set into the empty ``folder``; only if ``makes_itself``."""
        raise NotImplementedError(f"{type(self).__name__} cannot make itself")


def read_csv(path: Path, *columns: str, source: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a label file with a header, values stripped, empty rows left out.

    Args:
        path: A CSV file in UTF-8, with or without a byte order mark.
        columns: Columns that must be there; others are yielded as well.
        source: Name of the data set, for messages.

    Raises:
        DataError: Unreadable, no text, no CSV, or a column or value is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            found = [name for name in reader.fieldnames or () if name]
            if not set(columns) <= set(found):
                raise DataError(
                    f"{source}: {path}: expected the columns {', '.join(map(repr, columns))},"
                    f" found {', '.join(map(repr, found)) or 'nothing'}"
                )
            for row in reader:
                values = {k: v.strip() for k, v in row.items() if k and isinstance(v, str)}
                if not any(values.values()):
                    continue
                if empty := [c for c in columns if not values.get(c)]:
                    raise DataError(f"{source}: {path}, line {reader.line_num}: no {empty[0]!r}")
                yield values
    except OSError as e:
        raise DataError(f"{source}: {path} cannot be read: {e.strerror or e}") from e
    except (UnicodeDecodeError, csv.Error) as e:
        raise DataError(f"{source}: {path} is no CSV file in UTF-8: {e}") from e


def read_number(text: str, *, source: str) -> float:
    """Return a label as a number.

    Args:
        text: What the file says.
        source: Where it says so, for the message.

    Raises:
        DataError: It is none, or not finite.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{source}: label {text!r} is no number")
    return value


def read_mat(path: Path, *names: str, source: str) -> dict[str, list[Any]]:
    """Return variables of a MATLAB file, each as a flat list.

    Rows and columns are the same: a 1 x n and an n x 1 variable both give n values. Numbers and
    logical values become ``float``; a cell array of texts becomes a list of ``str``.

    Args:
        path: A MATLAB file of version 4 to 7.2.
        names: Variables that must be there.
        source: Name of the data set, for messages.

    Raises:
        DataError: Unreadable, no MATLAB file, or a variable is missing or of another kind.
    """
    from scipy.io import loadmat, whosmat

    try:
        found = loadmat(path, variable_names=names, appendmat=False)
        missing = [name for name in names if name not in found]
        there = [entry[0] for entry in whosmat(path, appendmat=False)] if missing else []
    except OSError as e:
        raise DataError(f"{source}: {path} cannot be read: {e.strerror or e}") from e
    except Exception as e:  # scipy raises many kinds on what is no such file, or of version 7.3
        why = " ".join(str(e).split())
        raise DataError(f"{source}: {path} is no MATLAB file of version 4 to 7.2: {why}") from e
    if missing:
        raise DataError(
            f"{source}: {path}: expected the variable {missing[0]!r},"
            f" found {', '.join(map(repr, there)) or 'nothing'}"
        )
    try:
        return {name: [_plain(value) for value in found[name].flat] for name in names}
    except (TypeError, ValueError, AttributeError) as e:
        listed = ", ".join(map(repr, names))
        raise DataError(f"{source}: {path}: {listed} should hold numbers or texts: {e}") from e


def _plain(value: Any) -> float | str:
    """Return an entry of a MATLAB variable; a text in a cell comes as an array of one text."""
    while hasattr(value, "item"):
        value = value.item()
    return value.strip() if isinstance(value, str) else float(value)


def find_folder(root: Path, *names: str, holds: Callable[[Path], bool]) -> Path | None:
    """Return the first folder that ``holds`` accepts, else None.

    Tried are ``root``, the entries of it with one of these names, and those of the same names
    inside them: archives are often unpacked into a folder of their own name. Names are compared
    without case.
    """
    inner = [p for name in names if (p := find_file(root, name))]
    deeper = [p for folder in inner for name in names if (p := find_file(folder, name))]
    return next((folder for folder in (root, *inner, *deeper) if holds(folder)), None)


def find_file(folder: Path, name: str) -> Path | None:
    """Return the entry of ``folder`` with this name, compared without case, else None."""
    exact = folder / name
    if exact.exists():
        return exact
    if not folder.is_dir():
        return None
    wanted = name.casefold()
    return next((p for p in sorted(folder.iterdir()) if p.name.casefold() == wanted), None)


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
        shown = ", ".join(repr(n) for n in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise DataError(
            f"{source}: {len(missing)} of {len(names)} listed images are not in {folder}: {shown}"
        )
    return [p for p in paths if p is not None]
