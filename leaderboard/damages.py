"""Rank damage and MSU's scores of every attacked cell: what an attack does whatever labels say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from iqabench.leaderboard.draws import Place, draws_of
from iqabench.leaderboard.images import Images
from iqabench.leaderboard.load import Entry, Group
from iqabench.metrics import Estimate
from iqabench.statistics.damage import kept_order, pair_flips
from iqabench.statistics.msu import msu_scores, range_of

PAIR_FLIPS = "pair_flips"
KEPT_ORDER = "srocc_clean_attacked"
OWN_RANGE = "_own_range"
"""Ends the names of MSU's scores as they compute them."""


@dataclass(frozen=True, eq=False)
class CellDamage:
    """What one attack at one eps does to the scores of one row.

    Attributes:
        entry: The row.
        attack: Label of the attack.
        eps_255: Radius in grey levels.
        key: Key of the cell.
        estimates: By name: ``pair_flips``, ``srocc_clean_attacked``, and MSU's scores
            (``msu_robustness``, ...) for scores from 0 to 1, and ending in ``_own_range`` for the
            range of the clean scores of these images, undefined where these are all equal.
    """

    entry: Entry
    attack: str
    eps_255: float
    key: str
    estimates: dict[str, Estimate]


@lru_cache(maxsize=8)
def damages(group: Group) -> tuple[CellDamage, ...]:
    """Return the damage of every finished attacked cell, by row, attack and eps.

    Raises:
        ResultsError: Per-image columns are missing or damaged.
    """
    draws = draws_of(group)
    return tuple(
        CellDamage(
            entry,
            group.attacks[spec],
            eps,
            cell.record.key,
            damage_of(draws.images(Place(entry, (spec,), eps))),
        )
        for entry in group.entries
        for (spec, eps), cell in entry.attacked.items()
        if cell.is_done
    )


def damage_of(images: Images) -> dict[str, Estimate]:
    """Return rank damage and MSU's scores by name; see ``CellDamage``."""
    units, clean, attacked = images.units, images.clean_logits, images.logits
    found = {
        PAIR_FLIPS: pair_flips(clean, attacked, units).estimate,
        KEPT_ORDER: kept_order(clean, attacked, units).estimate,
    }
    before, after = images.clean_scores, images.scores
    fixed = msu_scores(before, after, units)
    found |= {f"msu_{name}": score.estimate for name, score in fixed}
    own = range_of(before)
    if own is None:
        return found | {f"msu_{name}{OWN_RANGE}": Estimate(None) for name, _ in fixed}
    scaled = msu_scores(before, after, units, low=own[0], high=own[1])
    return found | {f"msu_{name}{OWN_RANGE}": score.estimate for name, score in scaled}
