"""What surrounds the passes over a data set."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from iqabench.memory import Memory


@dataclass(frozen=True)
class Conditions:
    """What surrounds a sweep and changes nothing but noise and speed.

    Attributes:
        seed: Seed of the cell.
        score_draws: Passes averaged when a stochastic regressor is scored.
        attack_draws: Passes averaged when it is attacked.
        batch_size: Images per pass, if memory allows.
        device: Where the regressor is.
        memory: What the device was found to hold.
    """

    seed: int
    score_draws: int
    attack_draws: int
    batch_size: int
    device: torch.device
    memory: Memory = field(default_factory=Memory, compare=False)
