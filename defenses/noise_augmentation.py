"""Training on noisy images."""

from __future__ import annotations

from dataclasses import dataclass, replace

from iqabench.api import Batch, Regressor, Step, TrainState, TrainStep, Wrapper


@dataclass(frozen=True, kw_only=True)
class NoiseAugmentation(Wrapper):
    """Add normal noise to every training image; nothing changes in testing.

    Gaussian data augmentation (Zantedeschi et al. 2017), with a fresh draw in every step.

    Attributes:
        sigma_255: Standard deviation of a pixel's noise, in grey levels.
    """

    summary = "trained on images with normal noise"
    paper = "https://arxiv.org/abs/1707.06728"
    year = 2017
    changes_training = True

    sigma_255: float = 4.0

    def __post_init__(self) -> None:
        if self.sigma_255 < 0:
            raise ValueError(f"sigma_255 must not be negative, got {self.sigma_255}")

    def train_step(
        self, inner: TrainStep, regressor: Regressor, batch: Batch, state: TrainState
    ) -> Step:
        """See ``Wrapper.train_step``."""
        shape = batch.images.shape[1:]
        noise = batch.noise.normal("augmentation", shape, like=batch.images)
        noisy = (batch.images + self.sigma_255 / 255 * noise).clamp(0, 1)
        yield from inner(replace(batch, images=noisy), state)
