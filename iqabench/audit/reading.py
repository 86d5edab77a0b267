"""From the result files of an audit to its evidence; no torch, nothing is run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iqabench.audit.verdict import Evidence
from iqabench.errors import ResultsError
from iqabench.leaderboard.draws import Place, draws_of
from iqabench.leaderboard.images import Images
from iqabench.leaderboard.load import Entry, Group
from iqabench.statistics.resampled import Resampled
from iqabench.suites import Suite, find_member

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reader:
    """The cells of an audit.

    Attributes:
        group: Rows of one data set and split.
        suite: What was run, with its roles.
        entry: The defense.
        naive: The row of the defense as it is given, where ``entry`` is a lawful form of it; else
            ``entry`` again.
        sibling: The undefended network.
    """

    group: Group
    suite: Suite
    entry: Entry
    naive: Entry
    sibling: Entry

    def spec(self, member: str) -> str:
        """Return the canonical spec of a member.

        Raises:
            ResultsError: No cell is of it.
        """
        spec = find_member(member, self.group.attacks)
        if spec is None:
            raise ResultsError(f"{self.entry.label}: the audit has no result of {member}")
        return spec

    def role(self, name: str) -> str:
        """Return the canonical spec of a role's attack; see ``spec``."""
        return self.spec(self.suite.roles[name])

    def evidence(self, eps_255: float, clean: Resampled) -> Evidence:
        """Return what the verdict at one eps rests on.

        Args:
            eps_255: The radius in grey levels.
            clean: SROCC of the defense without attack, on every test image.

        Raises:
            ResultsError: A cell is missing, failed or damaged.
        """
        draws = draws_of(self.group)
        plain = [self.place(e, "plain", eps_255, own=True) for e in (self.naive, self.sibling)]
        worst = [self._worst(e, eps_255) for e in (self.entry, self.sibling)]
        found = draws.srocc([*plain, *worst])
        doubled, base = (self.damage(role, eps_255).mean() for role in ("doubled", "base"))
        return Evidence(
            clean,
            found[plain[0]] - found[plain[1]],
            found[worst[0]] - found[worst[1]],
            float(doubled - base),
        )

    def curve(self, entry: Entry, eps_255: float) -> dict[str, Resampled]:
        """Return a row's SROCC under every member, and under plain PGD on its own gradient."""
        places = {
            self.group.attacks[self.spec(m)]: Place(entry, (self.spec(m),), eps_255)
            for m in self.suite.members
        }
        found = draws_of(self.group).srocc(places.values())
        return {label: found[place] for label, place in places.items()}

    def place(self, entry: Entry, role: str, eps_255: float, *, own: bool = False) -> Place:
        """Return where the result of a role's attack stands."""
        return Place(entry, (self.role(role),), eps_255, nonadaptive=own)

    def damage(self, role: str, eps_255: float, *, own: bool = False) -> Floats:
        """Return what a role's attack did to the defense's score, per image; see ``damage_of``."""
        place = self.place(self.naive if own else self.entry, role, eps_255, own=own)
        return damage_of(draws_of(self.group).images(place))

    def most(self, members: Iterable[str], eps_255: float, *, own: bool = False) -> Floats:
        """Return the largest damage of several members, per image, to the defense as attacked."""
        draws = draws_of(self.group)
        places = [Place(self.entry, (self.spec(m),), eps_255, nonadaptive=own) for m in members]
        found: Floats = np.max([damage_of(draws.images(place)) for place in places], axis=0)
        return found

    def _worst(self, entry: Entry, eps_255: float) -> Place:
        """Return the place of the lowest SROCC over the suite and its per-image worst."""
        specs = [self.spec(member) for member in self.suite.members]
        places = [Place(entry, (spec,), eps_255) for spec in specs]
        places.append(Place(entry, tuple(specs), eps_255))
        found = draws_of(self.group).srocc(places)
        return min(places, key=lambda place: _ascending(found[place].value))


def damage_of(images: Images) -> Floats:
    """Return by how much scores moved the wrong way: down where mos is above the median, else up.

    In score, not in rank: an honest linear model that is shifted uniformly loses no rank.
    """
    side = np.where(images.mos > np.median(images.mos), 1.0, -1.0)
    found: Floats = -side * (images.scores - images.clean_scores)
    return found


def _ascending(value: float | None) -> float:
    return float("-inf") if value is None else value
