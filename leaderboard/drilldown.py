"""The images that attacks damaged most, cell by cell, with their pictures where they were saved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from iqabench.leaderboard.draws import Place, draws_of
from iqabench.leaderboard.load import Board, Cell, Group
from iqabench.leaderboard.pictures import Album, PictureError, difference, factor_for, read_png
from iqabench.leaderboard.run_files import run_of

MOS_BINS = 5
ROWS = 12_000
"""About how many lines of images a page holds, over all cells."""
FEWEST = 2
"""At least that many images of each bin of a cell, however many cells there are."""
DIGITS = 10_000
"""Scores and labels are written as whole numbers of this part of 1."""
REMARKS = 3
"""How many remarks on pictures a cell shows."""


@dataclass
class DamagedCell:
    """One attacked cell of the drill-down.

    Attributes:
        cell: The cell file.
        entry: Place of its row in the group.
        attack: Place of its attack in the group.
        images: Places of its images, most damaged first.
        clean: Their scores without attack, in parts of ``DIGITS``.
        attacked: Their scores under attack.
        shown: Places of pictures in the album by place of the image: clean, attacked, difference.
        left_out: How many of the saved pictures were not embedded.
        remarks: What is wrong with saved pictures.
    """

    cell: Cell
    entry: int
    attack: int
    images: list[int]
    clean: list[int]
    attacked: list[int]
    shown: dict[int, list[int]] = field(default_factory=dict)
    left_out: int = 0
    remarks: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as the page's scripts read it; ``rows`` is flat to keep the page small."""
        rows = zip(self.images, self.clean, self.attacked, strict=True)
        document: dict[str, Any] = {
            "entry": self.entry,
            "attack": self.attack,
            "eps": self.cell.eps_255,
            "key": self.cell.record.key,
            "rows": [number for row in rows for number in row],
        }
        if self.cell.record.images:
            document |= {
                "pictures": {str(image): places for image, places in sorted(self.shown.items())},
                "factor": factor_for(self.cell.eps_255),
                "left_out": self.left_out,
                "remarks": self.remarks,
            }
        return document


@dataclass(frozen=True)
class Damaged:
    """The drill-down of one group: its images with their labels, and its cells."""

    ids: tuple[str, ...]
    mos: list[int]
    cells: list[DamagedCell]


def per_bin(board: Board) -> int:
    """Return how many images of each MOS bin a page holds of every attacked cell, at most."""
    numbers = [
        c.record.metrics["n"]
        for e in board.entries
        for c in e.attacked.values()
        if c.is_done and c.record.metrics
    ]
    if sum(numbers) <= ROWS:
        return max(numbers, default=FEWEST)
    return max(FEWEST, ROWS // (MOS_BINS * len(numbers)))


def damaged(group: Group, most: int) -> Damaged:
    """Return the most damaged images of every attacked cell of a group.

    Damage is ``s * (clean score - attacked score)`` with s = +1 where mos > 0.5 else -1.

    Args:
        group: The data set.
        most: How many images of each MOS bin.

    Raises:
        ResultsError: Per-image columns are missing or damaged.
    """
    ids: tuple[str, ...] = ()
    mos: list[int] = []
    found: list[DamagedCell] = []
    attacks = {spec: number for number, spec in enumerate(group.attacks)}
    for number, entry in enumerate(group.entries):
        for (spec, eps), cell in entry.attacked.items():
            if not cell.is_done:
                continue
            images = draws_of(group).images(Place(entry, (spec,), eps))
            ids, mos = images.ids, _whole(images.mos)
            sign = np.where(images.mos > 0.5, 1.0, -1.0)
            damage = sign * (images.clean_scores - images.scores)
            chosen = _worst(damage, images.mos, most)
            clean, attacked = (
                _whole(scores[chosen]) for scores in (images.clean_scores, images.scores)
            )
            found.append(DamagedCell(cell, number, attacks[spec], chosen.tolist(), clean, attacked))
    return Damaged(ids, mos, found)


def add_pictures(album: Album, groups: Iterable[Damaged]) -> None:
    """Embed saved pictures: the most damaged image of every cell, then the next, while they fit."""
    queues = []
    for group in groups:
        places = {image: place for place, image in enumerate(group.ids)}
        for one in group.cells:
            queue = _saved(one, places)
            if queue:
                queues.append((one, queue))
    for turn in range(max((len(queue) for _, queue in queues), default=0)):
        for one, queue in queues:
            if turn < len(queue):
                _add(album, one, *queue[turn])


def _saved(one: DamagedCell, places: dict[str, int]) -> list[tuple[int, str, str]]:
    """Return the saved images of a cell, most damaged first; count those without a line."""
    found: dict[int, tuple[int, str, str]] = {}
    for image in one.cell.record.images or ():
        try:
            place = places[str(image["image_id"])]
            found[place] = (place, str(image["clean"]), str(image["attacked"]))
        except (KeyError, TypeError):
            _remark(one, "A saved picture is of no image of this cell.")
    one.left_out += len(set(found) - set(one.images))
    return [found[place] for place in one.images if place in found]


def _add(album: Album, one: DamagedCell, place: int, clean: str, attacked: str) -> None:
    if album.is_full:
        one.left_out += 1
        return
    run, factor = run_of(one.cell.path), factor_for(one.cell.eps_255)
    try:
        before, after = read_png(run, clean), read_png(run, attacked)
        moved = difference(before[1], after[1], factor)
    except PictureError as e:
        _remark(one, str(e))
        return
    added = album.add([before[0], after[0], moved])
    if added is None:
        one.left_out += 1
    else:
        one.shown[place] = added


def _remark(one: DamagedCell, text: str) -> None:
    if len(one.remarks) < REMARKS and text not in one.remarks:
        one.remarks.append(text)


def _worst(
    damage: np.ndarray[Any, np.dtype[np.float64]],
    mos: np.ndarray[Any, np.dtype[np.float64]],
    most: int,
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the places of the most damaged images of each MOS bin, most damaged first."""
    order = np.argsort(-damage, kind="stable")
    bins = np.clip((mos[order] * MOS_BINS).astype(int), 0, MOS_BINS - 1)
    kept = np.zeros(len(order), dtype=bool)
    for number in range(MOS_BINS):
        kept[np.flatnonzero(bins == number)[:most]] = True
    return order[kept]


def _whole(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[int]:
    return [round(float(value) * DIGITS) for value in values]
