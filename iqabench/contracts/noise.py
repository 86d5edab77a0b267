"""The one source of randomness in a forward pass or an attack."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """Gives every image of a batch its own random stream, seeded by what it is for.

    The stream depends on ``(seed, image id, draw, purpose)`` and on nothing else: not on the batch
    size, the device, the order of the images, or what was drawn before. Asking twice for the same
    purpose gives the same numbers, so each use names its own purpose.

    Attributes:
        seed: Seed of the cell.
        image_ids: One stable identifier per image of the batch, in batch order.
        draw: Number of the draw, for expectations over several forward passes.
        scope: Purposes of the callers so far, joined by ``/``.

    Example:
        >>> both = Noise(0, ("a", "b")).normal("start", (2,))
        >>> alone = Noise(0, ("b",)).normal("start", (2,))
        >>> bool((both[1] == alone[0]).all())
        True
    """

    seed: int
    image_ids: tuple[str, ...]
    draw: int = 0
    scope: str = ""

    def __len__(self) -> int:
        return len(self.image_ids)

    def for_purpose(self, purpose: str) -> Noise:
        """Return the same streams in a sub-scope, for handing on to another function."""
        return replace(self, scope=f"{self.scope}/{purpose}" if self.scope else purpose)

    def for_draw(self, draw: int) -> Noise:
        """Return the streams of another draw."""
        return replace(self, draw=draw)

    def select(self, indices: Iterable[int]) -> Noise:
        """Return the streams of some images of the batch, in the given order."""
        return replace(self, image_ids=tuple(self.image_ids[i] for i in indices))

    def normal(self, purpose: str, shape: Sequence[int], like: Tensor | None = None) -> Tensor:
        """Return standard normal values of shape ``(N, *shape)``.

        Args:
            purpose: What the numbers are for; part of the seed.
            shape: Shape per image, without the batch dimension.
            like: Take device and dtype from this tensor (CPU ``float32`` without it).
        """
        size = tuple(shape)
        return self._stack(purpose, like, lambda g: g.standard_normal(size, dtype=np.float32), size)

    def uniform(
        self,
        purpose: str,
        shape: Sequence[int],
        like: Tensor | None = None,
        *,
        low: float = 0.0,
        high: float = 1.0,
    ) -> Tensor:
        """Return values uniform in ``[low, high)`` of shape ``(N, *shape)``; see ``normal``."""
        size = tuple(shape)
        unit = self._stack(purpose, like, lambda g: g.random(size, dtype=np.float32), size)
        return low + (high - low) * unit

    def generators(self, purpose: str) -> list[np.random.Generator]:
        """Return one NumPy generator per image, for draws the two methods above do not cover."""
        return [self._generator(image_id, purpose) for image_id in self.image_ids]

    def _generator(self, image_id: str, purpose: str) -> np.random.Generator:
        parts = (str(self.seed), image_id, str(self.draw), f"{self.scope}/{purpose}")
        digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).digest()
        # Philox takes the whole 128 bits; torch's CPU generator would keep only 32 of them.
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))

    def _stack(
        self,
        purpose: str,
        like: Tensor | None,
        sample: Callable[[np.random.Generator], np.ndarray],
        size: tuple[int, ...],
    ) -> Tensor:
        values = np.empty((len(self), *size), dtype=np.float32)
        for number, generator in enumerate(self.generators(purpose)):
            values[number] = sample(generator)
        drawn = torch.from_numpy(values)
        return drawn if like is None else drawn.to(device=like.device, dtype=like.dtype)
