"""The rule every attack is held to, checked by the harness and never by the attack."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from iqabench.contracts.attack import ThreatModel
from iqabench.errors import BudgetError
from iqabench.tiling import tiles

TOLERANCE = 1e-6
"""float32 rounding of x + eps - x; far below 1/255."""


def check(
    clean: Tensor, adversarial: object, *, eps: float, threat_model: ThreatModel = "linf"
) -> Tensor:
    """Return ``adversarial`` unless it breaks the rules; nothing is ever repaired.

    Rounded to 8 bits the images are then within ceil(eps * 255) grey levels, because
    |round(a) - round(b)| <= ceil(|a - b|) for all a and b.

    Args:
        clean: Images in ``[0, 1]``, shape ``(N, 3, H, W)``, on the 8-bit grid.
        adversarial: What the attack returned.
        eps: L-infinity radius on the ``[0, 1]`` scale.
        threat_model: ``linf`` checks the ball; otherwise shape, NaN and pixel range alone.

    Raises:
        BudgetError: No tensor, wrong shape or type, NaN, a pixel outside ``[0, 1]``, or a move
            larger than eps.

    Example:
        >>> import torch
        >>> x = torch.full((1, 3, 2, 2), 128 / 255)
        >>> _ = check(x, x + 4 / 255, eps=4 / 255)
        >>> check(x, x + 5 / 255, eps=4 / 255)
        Traceback (most recent call last):
            ...
        iqabench.errors.BudgetError: attack moved a pixel by 5/255, more than eps = 4/255
    """
    if not isinstance(adversarial, Tensor):
        raise BudgetError(f"attack returned {type(adversarial).__name__}, not a tensor")
    if adversarial.shape != clean.shape or adversarial.dtype != clean.dtype:
        raise BudgetError(
            f"attack returned {tuple(adversarial.shape)} {adversarial.dtype},"
            f" not {tuple(clean.shape)} {clean.dtype}"
        )
    if adversarial.device != clean.device:
        raise BudgetError(f"attack returned a tensor on {adversarial.device}, not {clean.device}")
    low, high = _range(tiles(adversarial))  # NaN if any pixel is NaN
    if not (math.isfinite(low) and math.isfinite(high)):
        raise BudgetError("attack returned NaN or infinite pixels")
    if low < 0 or high > 1:
        raise BudgetError(f"attack returned pixels in [{low:.6g}, {high:.6g}], outside [0, 1]")
    if threat_model == "linf":
        moved = largest_move(clean, adversarial)
        if moved > eps + TOLERANCE:
            raise BudgetError(
                f"attack moved a pixel by {moved * 255:.6g}/255, more than eps ="
                f" {eps * 255:.6g}/255"
            )
    return adversarial.detach()


def largest_move(first: Tensor, second: Tensor) -> float:
    """Return the largest absolute difference of two batches of images."""
    low, high = _range(b - a for a, b in zip(tiles(first), tiles(second), strict=True))
    return max(-low, high)


def _range(parts: Iterable[Tensor]) -> tuple[float, float]:
    """Return the smallest and the largest number; NaN if there is one."""
    ends = [part.detach().aminmax() for part in parts]
    return float(torch.stack([e.min for e in ends]).min()), float(
        torch.stack([e.max for e in ends]).max()
    )


def round_to_8bit(images: Tensor) -> Tensor:
    """Return images as a file with 8 bits per channel would give them back."""
    return (images * 255).round_().div_(255)
