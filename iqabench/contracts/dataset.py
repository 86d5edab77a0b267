"""What a data set is: a table of images with labels, read from its official layout."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from iqabench.contracts.component import Component
from iqabench.errors import DataError, quoted

Part = Literal["train", "test"]
T = TypeVar("T")


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
        opinions: Shares of the answers on a scale of so many steps, lowest first, where published.
        spread: Standard deviation of the answers on the scale of ``mos``, where published.
    """

    image_id: str
    path: Path
    mos: float
    scene: str | None = None
    distortion: str | None = None
    part: Part | None = None
    opinions: tuple[float, ...] | None = None
    spread: float | None = None


@dataclass(frozen=True)
class Table:
    """What a reader found.

    Attributes:
        rows: Every image with a label, in the label file's order, each of another file.
        labels: The label map that was used.
    """

    rows: Sequence[Row]
    labels: LabelMap

    def __post_init__(self) -> None:
        if not self.rows:
            raise DataError(f"{self.labels.source}: no image with a label was found")
        if twice := _twice(r.image_id for r in self.rows):
            raise DataError(f"{self.labels.source}: {twice!r} is listed more than once")
        if same := _twice(r.path for r in self.rows):
            names = [r.image_id for r in self.rows if r.path == same]
            raise DataError(f"{self.labels.source}: {quoted(names)} are one image, {same}")
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


def _twice(values: Iterable[T]) -> T | None:
    return next((value for value, n in Counter(values).items() if n > 1), None)


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

        Cheap: looks for names, opens nothing. A folder that holds only a part of what is needed is
        returned as well, so that ``read`` can say what is missing.
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
