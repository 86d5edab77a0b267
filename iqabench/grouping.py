"""Which radii of an attack are computed together."""

from __future__ import annotations

from collections.abc import Sequence

from iqabench.contracts.attack import Attack

SAVES = 1.5
"""Radii whose passes are so many times fewer together are computed so, however long it takes."""
AT_STAKE = 20_000
"""Passes, of all images, up to which radii that save less are: a run that is killed loses them."""


def groups(attack: Attack, eps_255: Sequence[float], images: int) -> list[tuple[float, ...]]:
    """Return radii in groups: those of a group become files at the same time.

    Args:
        attack: The attack.
        eps_255: The radii, in grey levels.
        images: How many are attacked.
    """
    alone: list[tuple[float, ...]] = [(eps,) for eps in eps_255]
    if not attack.shares_work or attack.needs_fit or len(eps_255) < 2:
        return alone
    once, together = attack.passes(1), attack.passes(len(eps_255))
    if once is not None and together is not None:
        before, after = len(eps_255) * once.total, together.total
        if before < SAVES * after and images * after > AT_STAKE:
            return alone
    return [tuple(eps_255)]
