"""How a regressor is trained: plain numbers, part of every checkpoint's key."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self


class Recipe(BaseModel):
    """A training recipe; the defaults are the paper's protocol (METHODS section 1).

    Attributes:
        resize: Length of the shorter side after resizing, in pixels.
        crop: Side of the random square in training and of the centre square in tests.
        flip: Mirror a training image with probability one half.
        batch_size: Images per optimizer step; a last incomplete batch is left out.
        epochs: Passes over the training images; the last weights are kept, never the best.
        lr: AdamW's learning rate at its highest.
        weight_decay: AdamW's weight decay.
        schedule: ``cosine`` from ``lr`` to ``final_lr``; ``onecycle`` rises over the first 30 %
            of the steps and falls to ``final_lr``; ``constant``.
        final_lr: Where the schedule ends.
        frozen_backbone: Train what stands on the backbone alone: its weights and the statistics of
            its normalisation layers stay as they came.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    resize: int = Field(default=320, ge=16, le=4096)
    crop: int = Field(default=320, ge=16, le=4096)
    flip: bool = False
    batch_size: int = Field(default=16, ge=1)
    epochs: int = Field(default=50, ge=1)
    lr: float = Field(default=3e-5, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    schedule: Literal["cosine", "onecycle", "constant"] = "cosine"
    final_lr: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    frozen_backbone: bool = False

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.crop > self.resize:
            raise ValueError(f"crop ({self.crop}) must not be larger than resize ({self.resize})")
        return self

    def description(self) -> dict[str, Any]:
        """Return what decides the weights; ``frozen_backbone`` only where it is on.

        It came after the first checkpoints, whose keys it leaves as they were.
        """
        return self.model_dump(exclude=None if self.frozen_backbone else {"frozen_backbone"})

    def learning_rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step; ``steps`` are all steps of the training."""
        if self.schedule == "constant":
            return self.lr
        warmup = int(0.3 * steps) if self.schedule == "onecycle" else 0
        if step < warmup:
            return _cosine(self.lr / 25, self.lr, step / warmup)
        return _cosine(self.lr, self.final_lr, (step - warmup) / max(1, steps - warmup))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
