"""What a run says while it computes the cells of an entry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Begun:
    """What is worked on from here on; whatever takes the process down is on its account.

    Attributes:
        attack: Canonical spec; ``clean`` for the clean pass.
        eps_255: The radii, in grey levels.
    """

    attack: str
    eps_255: tuple[float, ...]


@dataclass(frozen=True)
class Settled:
    """What became of one cell.

    Attributes:
        attack: Canonical spec; ``clean`` for the clean pass.
        eps_255: The radius, in grey levels.
        found: Whether it was there already.
        failure: One line on why it failed; None if it did not.
    """

    attack: str
    eps_255: float
    found: bool = False
    failure: str | None = None


Step = Begun | Settled
