"""Per-image columns of cells, brought into one order, and the per-image worst of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqabench.errors import ResultsError
from iqabench.leaderboard.load import Cell
from iqabench.resampling import Units
from iqabench.results import Columns

NEEDED = ("mos", "clean_score", "clean_logit", "score", "logit")

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Images:
    """What a defense says of the images of a cell, or of the worst of several cells.

    Attributes:
        ids: Name of each image.
        scenes: Scene of each image, or None.
        mos: Labels, shape ``(n,)``.
        clean_scores: Scores without attack, shape ``(n,)``.
        clean_logits: Logits without attack, shape ``(n,)``.
        scores: Scores under attack, shape ``(n,)``; the clean ones again in a clean cell.
        logits: Logits under attack, shape ``(n,)``.
    """

    ids: tuple[str, ...]
    scenes: tuple[str | None, ...]
    mos: Floats
    clean_scores: Floats
    clean_logits: Floats
    scores: Floats
    logits: Floats

    @property
    def units(self) -> Units:
        """What a bootstrap draws."""
        return Units.from_scenes(self.scenes)


def read_images(
    cell: Cell, ids: Sequence[str] | None = None, *, nonadaptive: bool = False
) -> Images:
    """Read the columns of a cell.

    Args:
        cell: A finished cell.
        ids: The images in the order in which they are wanted; None for that of the file.
        nonadaptive: Of the attack through the defense's own gradient alone, where it took others.

    Raises:
        ResultsError: Columns are missing, damaged, or of other images.
    """
    table = _complete(cell)
    if ids is not None:
        table = _in_order(ids, table, cell)
    if nonadaptive and "logit_nonadaptive" in table:
        table = table | {name: table[f"{name}_nonadaptive"] for name in ("score", "logit")}
    numbers = {name: np.asarray(table[name], dtype=np.float64) for name in NEEDED}
    return Images(
        tuple(table["image_id"]),
        tuple(table["scene"]),
        numbers["mos"],
        numbers["clean_score"],
        numbers["clean_logit"],
        numbers["score"],
        numbers["logit"],
    )


def worst_images(cells: Sequence[Cell], ids: Sequence[str] | None = None) -> Images:
    """Return on each image the result of the attack that did most damage.

    Damage is ``-s * (logit - clean_logit)`` with s = +1 where mos > 0.5 else -1 (METHODS section
    1). Scores and logits are those of the chosen result.

    Args:
        cells: Finished cells of one entry at one eps, at least one.
        ids: The images in the order in which they are wanted; None for that of the first file.

    Raises:
        ResultsError: Columns are missing, damaged, or of different images.
    """
    first = read_images(cells[0], ids)
    tables = [first, *(read_images(cell, first.ids) for cell in cells[1:])]
    logits = np.stack([table.logits for table in tables])
    scores = np.stack([table.scores for table in tables])
    damage = -np.where(first.mos > 0.5, 1.0, -1.0) * (logits - first.clean_logits)
    chosen = damage.argmax(axis=0)[None, :]
    return Images(
        first.ids,
        first.scenes,
        first.mos,
        first.clean_scores,
        first.clean_logits,
        np.take_along_axis(scores, chosen, axis=0)[0],
        np.take_along_axis(logits, chosen, axis=0)[0],
    )


def _complete(cell: Cell) -> Columns:
    columns = cell.columns()
    for name in ("image_id", "scene", *NEEDED):
        if name not in columns:
            raise ResultsError(f"{cell.path}: its per-image columns lack '{name}'")
        if name in NEEDED and None in columns[name]:
            image = columns["image_id"][columns[name].index(None)]
            raise ResultsError(f"{cell.path}: image '{image}' has no {name}")
    return columns


def _in_order(ids: Sequence[str], table: Columns, cell: Cell) -> Columns:
    if table["image_id"] == list(ids):
        return table
    place = {image: i for i, image in enumerate(table["image_id"])}
    if set(place) != set(ids) or len(place) != len(table["image_id"]):
        raise ResultsError(f"{cell.path}: holds other images than another cell of the same data")
    return {
        name: _picked(values, [place[image] for image in ids]) for name, values in table.items()
    }


def _picked(values: Sequence[Any], places: Sequence[int]) -> list[Any]:
    return [values[place] for place in places]
