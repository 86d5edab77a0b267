"""Which images are trained on and which are attacked; made once, saved, checked, reused."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from iqabench.contracts.dataset import Row, Table
from iqabench.errors import DataError
from iqabench.files import file_name, hash_of, write_json

SCHEMA = 1
TEST_SHARE = 5
"""One scene in so many is tested: the paper's 4:1."""


@dataclass(frozen=True)
class Split:
    """The two sides of a data set.

    Attributes:
        dataset: Name of the data set.
        origin: Where the split comes from, in words.
        train: Rows trained on.
        test: Rows attacked and scored.
    """

    dataset: str
    origin: str
    train: tuple[Row, ...]
    test: tuple[Row, ...]

    def __post_init__(self) -> None:
        where = f"split of {self.dataset} ({self.origin})"
        for side, rows in (("train", self.train), ("test", self.test)):
            if not rows:
                raise DataError(f"{where}: the {side} side is empty")
        images = ({r.image_id for r in side} for side in (self.train, self.test))
        scenes = ({r.scene for r in side} - {None} for side in (self.train, self.test))
        for what, (trained, tested) in (("images", images), ("scenes", scenes)):
            if both := sorted(map(str, trained & tested)):
                raise DataError(
                    f"{where}: {len(both)} {what} are on both sides, such as {both[0]!r}"
                )

    @property
    def fingerprint(self) -> str:
        """Hash of what is on which side."""
        return hash_of(self._sides())

    def only(self, count: int, *, seed: int) -> Split:
        """Return the split with so many images to test, drawn at random; itself if it has fewer."""
        if count >= len(self.test):
            return self
        drawn = np.random.default_rng(seed).choice(len(self.test), count, replace=False)
        origin = f"{count} of {len(self.test)} tested images, of: {self.origin}"
        return replace(self, origin=origin, test=tuple(self.test[i] for i in sorted(drawn)))

    def save(self, path: Path) -> None:
        """Write the split where ``--split`` can read it again."""
        write_json(
            path,
            {"schema": SCHEMA, "dataset": self.dataset, "origin": self.origin, **self._sides()},
        )

    def keep(self, folder: Path) -> Path:
        """Save the split in ``folder`` and return the file.

        ``NAME.json``, or ``NAME-HASH.json`` where another split has that name already: results
        that were made with it stay reproducible.
        """
        name = file_name(self.dataset)
        path = folder / f"{name}.json"
        if path.exists() and not self._is_in(path):
            path = folder / f"{name}-{self.fingerprint[:8]}.json"
        if not path.exists():
            self.save(path)
        return path

    def _is_in(self, path: Path) -> bool:
        try:
            document = json.loads(path.read_text())
            return all(document[side] == ids for side, ids in self._sides().items())
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _sides(self) -> dict[str, list[str]]:
        return {
            "train": [r.image_id for r in self.train],
            "test": [r.image_id for r in self.test],
        }


def make_split(dataset: str, table: Table, *, seed: int) -> Split:
    """Return the official split if there is one, else 4:1 by scene (by image without scenes).

    Raises:
        DataError: A side of it would be empty.
    """
    if table.has_official_split:
        train = tuple(r for r in table.rows if r.part == "train")
        test = tuple(r for r in table.rows if r.part == "test")
        for side, rows in (("training", train), ("test", test)):
            if not rows:
                raise DataError(
                    f"split of {dataset} (official): this part of the data set holds no image of"
                    f" the official {side} set; add some, or give a split of your own with --split"
                )
        return Split(dataset, "official", train, test)
    units = sorted({r.scene or r.image_id for r in table.rows})
    chosen = np.random.default_rng(seed).permutation(len(units))
    tested = {units[i] for i in chosen[: max(1, round(len(units) / TEST_SHARE))]}
    sides: tuple[list[Row], list[Row]] = ([], [])
    for row in table.rows:
        sides[(row.scene or row.image_id) in tested].append(row)
    by = "scene" if table.has_scenes else "image"
    return Split(dataset, f"4:1 by {by}, seed {seed}", tuple(sides[0]), tuple(sides[1]))


def load_split(path: Path, dataset: str, table: Table) -> Split:
    """Read a saved split; images it does not name are left out.

    Raises:
        DataError: Unreadable, of another data set, or naming images that are not there.
    """
    try:
        document = json.loads(path.read_text())
        schema, of = document["schema"], document["dataset"]
        train, test = (list(map(str, document[side])) for side in ("train", "test"))
    except OSError as e:
        raise DataError(f"split file {path} cannot be read: {e.strerror or e}") from e
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"split file {path} is no split file of iqabench ({e})") from e
    if schema != SCHEMA or of != dataset:
        raise DataError(
            f"split file {path} is for {of!r}, schema {schema!r}; wanted {dataset!r}, {SCHEMA}"
        )
    rows = {r.image_id: r for r in table.rows}
    if unknown := [i for i in (*train, *test) if i not in rows]:
        raise DataError(
            f"split file {path} names {len(unknown)} images that {dataset} does not have,"
            f" such as {unknown[0]!r}"
        )
    for side in (train, test):
        if len(set(side)) < len(side):
            raise DataError(f"split file {path} names an image twice on one side")
    return Split(
        dataset, f"file {path.name}", tuple(rows[i] for i in train), tuple(rows[i] for i in test)
    )
