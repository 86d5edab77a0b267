"""Figure 1: an image, its adversarial twin, and what was added."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from iqabench import budget
from iqabench.distances import Ruler
from iqabench.figures.subject import Subject, with_label
from iqabench.sides import Side


@dataclass(frozen=True)
class Twin:
    """One image before and after an attack.

    Attributes:
        image_id: Name of the image.
        defense: The attacked defense.
        clean: ``(3, H, W)`` in ``[0, 1]``, on the CPU.
        adversarial: The same after the attack, not rounded.
        mos: Label that the attack was told, in ``[0, 1]``.
        mos_from: ``given``, ``data set`` or ``clean score``.
        eps_255: Radius in grey levels.
        numbers: Scores, logits and distances, by the column names of a cell file.
    """

    image_id: str
    defense: str
    clean: Tensor
    adversarial: Tensor
    mos: float
    mos_from: str
    eps_255: float
    numbers: dict[str, float]

    @property
    def factor(self) -> float:
        """What the difference is multiplied with, so that +-eps fills black to white.

        Attacks that are not held to the L-infinity ball may move further; then their own largest
        move fills the range.
        """
        return 127.5 / max(self.eps_255, self.numbers["linf_255"])

    @property
    def difference(self) -> Tensor:
        """The amplified difference around mid-grey, in ``[0, 1]``."""
        return (0.5 + self.factor * (self.adversarial - self.clean)).clamp(0, 1)

    @property
    def moved(self) -> bool:
        """Whether the attack changed anything."""
        return self.numbers["linf_255"] > 0


def make_twin(subject: Subject, side: Side, mos: float | None, eps_255: float) -> Twin:
    """Attack one image and return both versions with their scores.

    Args:
        subject: The defense and the attack.
        side: One image.
        mos: Label in ``[0, 1]``; None for the one of the data set, else the clean score.
        eps_255: Radius in grey levels, above 0.

    Raises:
        BudgetError: The attack left the ball or the pixel range.
        CellError: The defense or the attack failed.
    """
    labelled, origin = with_label(side, subject, mos)
    sweep = subject.sweep(labelled, eps_255)
    images, adversarial, numbers = next(sweep.attacked(eps_255))
    rounded = budget.round_to_8bit(adversarial)
    moved = Ruler(images)(adversarial, rounded)
    after = subject.scores(labelled, adversarial, numbers)
    after_8bit = subject.scores(labelled, rounded, numbers)
    values = {
        "clean_score": sweep.clean.scores,
        "clean_logit": sweep.clean.logits,
        "score": after.scores,
        "logit": after.logits,
        "score_8bit": after_8bit.scores,
        "logit_8bit": after_8bit.logits,
        **vars(moved),
    }
    return Twin(
        labelled.image_ids[0],
        subject.label,
        images[0].cpu(),
        adversarial[0].cpu(),
        float(labelled.mos[0]),
        origin,
        eps_255,
        {name: float(value[0]) for name, value in values.items()},
    )


def twin_table(twin: Twin, attack: str) -> list[list[object]]:
    """Return the numbers of the figure: a header and one row."""
    facts: dict[str, object] = {
        "image_id": twin.image_id,
        "defense": twin.defense,
        "attack": attack,
        "eps_255": twin.eps_255,
        "mos": twin.mos,
        "mos_from": twin.mos_from,
        **{k: v if math.isfinite(v) else None for k, v in twin.numbers.items()},
        "factor": twin.factor,
    }
    return [list(facts), list(facts.values())]
