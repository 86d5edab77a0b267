"""SROCC of the rows of a group on resamples that all of them share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from iqabench.errors import ResultsError
from iqabench.leaderboard.images import Images, read_images, worst_images
from iqabench.leaderboard.load import Entry, Group
from iqabench.metrics import srocc
from iqabench.resampling import FINE_RESAMPLES, resampled_srocc
from iqabench.statistics.resampled import Resampled


@dataclass(frozen=True)
class Place:
    """Where a number of a group stands.

    Attributes:
        entry: The row.
        attacks: Specs of the attacks: none is the clean pass, several are their per-image worst.
        eps_255: Radius in grey levels, 0 for the clean pass.
        nonadaptive: Of the one attack through the defense's own gradient alone.
    """

    entry: Entry
    attacks: tuple[str, ...] = ()
    eps_255: float = 0.0
    nonadaptive: bool = False


class Draws:
    """The resampled numbers of one group, each computed when it is first asked for."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self._ids: tuple[str, ...] | None = None
        self._known: dict[Place, Resampled] = {}

    def images(self, place: Place) -> Images:
        """Read the images of a place, in an order that is the same for the whole group.

        Raises:
            ResultsError: No finished cell is there, or its columns are damaged or of other images.
        """
        entry = place.entry
        cells = [entry.attacked.get((spec, place.eps_255)) for spec in place.attacks]
        found = [cell for cell in cells or [entry.clean] if cell is not None and cell.is_done]
        if len(found) < max(1, len(cells)):
            raise ResultsError(f"{entry.label}: no result of {', '.join(place.attacks) or 'clean'}")
        ids = self._ids
        images = (
            read_images(found[0], ids, nonadaptive=place.nonadaptive)
            if len(found) == 1
            else worst_images(found, ids)
        )
        self._ids = images.ids
        return images

    def srocc(
        self, places: Iterable[Place], resamples: int = FINE_RESAMPLES
    ) -> dict[Place, Resampled]:
        """Return SROCC with the labels at each place.

        Args:
            places: Which numbers.
            resamples: How often; another number than ``FINE_RESAMPLES`` is not kept.

        Raises:
            ResultsError: As ``images``.
        """
        wanted = list(dict.fromkeys(places))
        if resamples != FINE_RESAMPLES:
            return self._computed(wanted, resamples)
        if new := [place for place in wanted if place not in self._known]:
            self._known |= self._computed(new, resamples)
        return {place: self._known[place] for place in wanted}

    def _computed(self, places: list[Place], resamples: int) -> dict[Place, Resampled]:
        images = [self.images(place) for place in places]
        mos, units = images[0].mos, images[0].units
        logits = np.stack([one.logits for one in images])
        drawn = resampled_srocc(mos, logits, units, resamples=resamples)
        return {
            place: Resampled(srocc(mos, one.logits), np.ascontiguousarray(column), units.count)
            for place, one, column in zip(places, images, drawn.T, strict=True)
        }


# Ranks, tables and pages ask for the same numbers, and the bootstrap takes seconds.
@lru_cache(maxsize=8)
def draws_of(group: Group) -> Draws:
    """Return the resampled numbers of a group; the same object every time."""
    return Draws(group)
