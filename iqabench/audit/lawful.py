"""Whether a defense's score is a function of the image alone, and what to do if it is not."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from iqabench.audit.thresholds import REPEATS
from iqabench.contracts.regressor import Regressor
from iqabench.data import Side
from iqabench.scoring import score

LOOKS = 16
"""Images that are looked at."""
DECLARED, ONE_BY_ONE = "declared", "one_by_one"
"""What makes a defense lawful: ``iqabench.audit.wrappers``, by their registered names."""


@dataclass(frozen=True)
class Conduct:
    """How a defense scores the same image again.

    Attributes:
        repeats: Largest difference between two scores of the same batch with the same noise.
        batch: Largest difference between scores in a batch and alone; None if calls differ anyway.
    """

    repeats: float
    batch: float | None

    @property
    def wrappers(self) -> tuple[str, ...]:
        """What to put around the defense before it is attacked, outermost first."""
        if self.repeats > REPEATS:
            return (DECLARED,)
        return (ONE_BY_ONE,) if self.batch is not None and self.batch > REPEATS else ()

    @property
    def found(self) -> str | None:
        """What is wrong, in words; None if nothing is."""
        if self.repeats > REPEATS:
            return (
                f"scores of the same image differ by up to {self.repeats:.3f} from call to call, by"
                " randomness that is not declared: attacked and scored in expectation"
            )
        if self.wrappers:
            return (
                f"scores depend on the other images of a batch, by up to {self.batch:.3f}: attacked"
                " and scored one image at a time"
            )
        return None


def look(regressor: Regressor, side: Side, seed: int, device: torch.device) -> Conduct:
    """Score some images twice in a batch, then twice alone.

    A defense that draws one number for a whole batch may draw two that come to the same, such as
    two sizes that are rounded; alone, every image is a draw of its own.

    Args:
        regressor: Frozen, in eval mode, on the device.
        side: Images to look at; the first ones are.
        seed: Seed of the noise.
        device: Where it runs.
    """
    images, _, numbers = next(side.batches(LOOKS))
    images = images.to(device)
    noise = side.noise(seed, numbers, "look")
    first, again = (score(regressor, images, noise, 1).scores for _ in range(2))
    repeats = float((first - again).abs().max())
    if repeats > REPEATS:
        return Conduct(repeats, None)
    alone, again = (
        torch.cat(
            [
                score(regressor, images[i : i + 1], noise.select([i]), 1).scores
                for i in range(len(images))
            ]
        )
        for _ in range(2)
    )
    repeats = float((alone - again).abs().max())
    if repeats > REPEATS:
        return Conduct(repeats, None)
    return Conduct(repeats, float((first - alone).abs().max()))
