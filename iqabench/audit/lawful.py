"""Whether a defense's score is a function of the image alone, and what to do if it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from torch import Tensor

from iqabench.audit.thresholds import REPEATS
from iqabench.contracts.regressor import Regressor
from iqabench.scoring import score
from iqabench.sides import Side

LOOKS = 16
"""Images that are looked at."""
DECLARED, ONE_BY_ONE = "declared", "one_by_one"
"""What makes a defense lawful: ``iqabench.audit.wrappers``, by their registered names."""


@dataclass(frozen=True)
class Conduct:
    """How a defense scores the same image again.

    Attributes:
        repeats: Largest difference between two scores of the same batch with the same noise.
        batch: Largest difference between scores among these and among other images, in batches of
            one size; None if calls differ anyway.
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
    """Score some images twice in a batch, twice alone, and in batches of other images.

    A defense that draws one number for a whole batch may draw two that come to the same, such as
    two sizes that are rounded; alone, every image is a draw of its own. The batches of other images
    are as large as the first: a network sums in another order where the shape of a batch is
    another, and a mask that ranks channels makes a visible difference of a last bit.

    Args:
        regressor: Frozen, in eval mode, on the device.
        side: Images to look at; the first ones are.
        seed: Seed of the noise.
        device: Where it runs.
    """
    images, _, numbers = next(side.batches(LOOKS))
    images = images.to(device)
    noise = side.noise(seed, numbers, "look")

    def scores(places: Sequence[int]) -> Tensor:
        chosen = list(places)
        return score(regressor, images[chosen], noise.select(chosen), 1).scores

    everyone = range(len(images))
    first = scores(everyone)
    again = scores(everyone)
    alone, alone_again = (torch.cat([scores([i]) for i in everyone]) for _ in range(2))
    repeats = max(_apart(first, again), _apart(alone, alone_again))
    if repeats > REPEATS:
        return Conduct(repeats, None)
    half = (len(images) + 1) // 2
    batch = 0.0
    for part in filter(None, (everyone[:half], everyone[half:])):
        among_themselves = scores(list(islice(cycle(part), len(images))))
        batch = max(batch, _apart(first[list(part)], among_themselves[: len(part)]))
    return Conduct(repeats, batch)


def _apart(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().max())
