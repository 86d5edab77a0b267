"""Order of features, for methods that rank channels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def stable_order(rows: Tensor, *, descending: bool) -> Tensor:
    """Return the stable argsort of the last dimension: equal values keep their order.

    On a CPU it sorts value and index as one 64-bit number with numpy, whose sort is vectorised:
    torch's argsort can take three times as long there as the whole network around it.

    Args:
        rows: ``(..., K)``; its gradient is not followed.
        descending: The largest first.

    Returns:
        Indices, ``(..., K)``, int64.
    """
    rows = rows.detach()
    if rows.device.type != "cpu" or rows.dtype != torch.float32:
        return rows.argsort(dim=-1, descending=descending, stable=True)
    bits = (rows.contiguous() + 0.0).numpy().view(np.int32)  # the sum makes -0 the same as 0
    bits ^= (bits >> 31) & 0x7FFFFFFF  # now ordered as the floats are
    if descending:
        np.invert(bits, out=bits)
    keys = (bits.astype(np.int64) << 32) | np.arange(rows.shape[-1])
    keys.sort(axis=-1)
    return torch.from_numpy(keys & 0xFFFFFFFF)
