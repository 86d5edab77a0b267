"""Order of features, for methods that rank channels.

On a CPU value and index are sorted as one 64-bit number with numpy, whose sort is vectorised, a few
rows at a time, so that every pass finds them in the processor's cache: torch's argsort can take
three times as long as the whole network around it, and passes over all rows twice as long as these.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TILE = 1 << 15
"""Values that are sorted at a time: with keys and what is made of them, half a megabyte."""
_INDEX = 0xFFFFFFFF
"""Bits of a key that are its place in the row."""


def stable_order(rows: Tensor, *, descending: bool) -> Tensor:
    """Return the stable argsort of the last dimension: equal values keep their order.

    Args:
        rows: ``(..., K)``; its gradient is not followed.
        descending: The largest first.

    Returns:
        Indices, ``(..., K)``, int64.
    """
    rows = rows.detach()
    if not _sorts_here(rows):
        return rows.argsort(dim=-1, descending=descending, stable=True)
    order = np.empty(rows.shape, np.int64)
    flat = order.reshape(-1, rows.shape[-1])
    for place, keys in _sorted_keys(rows, descending=descending):
        np.bitwise_and(keys, _INDEX, out=flat[place])
    return torch.from_numpy(order)


def entries_at_ranks(table: Tensor, rows: Tensor, *, descending: bool) -> Tensor:
    """Return, for every value, the entry of a table at the value's rank in its row.

    Ranks are places in ``stable_order``. The gradient goes to the table alone.

    Args:
        table: ``(K,)``, one entry per rank.
        rows: ``(..., K)``.
        descending: The largest has rank 0.

    Returns:
        Entries of the table, in the shape of ``rows``.
    """
    if not _sorts_here(rows) or (table.requires_grad and torch.is_grad_enabled()):
        order = stable_order(rows, descending=descending)
        found = torch.empty_like(order, dtype=table.dtype)
        return found.scatter(-1, order, table.expand_as(order))
    table = table.detach()
    found = torch.empty_like(rows, dtype=table.dtype, memory_format=torch.contiguous_format)
    flat, count = found.view(-1, len(table)), _before_the_last_run(table)
    for place, keys in _sorted_keys(rows.detach(), descending=descending):
        flat[place] = table[-1]
        first = torch.from_numpy(keys[:, :count] & _INDEX)
        flat[place].scatter_(-1, first, table[:count].expand_as(first))
    return found


def _sorts_here(rows: Tensor) -> bool:
    return rows.device.type == "cpu" and rows.dtype == torch.float32 and rows.numel() > 0


def _before_the_last_run(entries: Tensor) -> int:
    """Return how many entries come before all those at the end that are equal."""
    others = (entries != entries[-1]).nonzero()
    return int(others[-1]) + 1 if len(others) else 0


def _sorted_keys(rows: Tensor, *, descending: bool) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Yield places of some rows and their sorted keys, whose lower half says where each was.

    The keys are overwritten by those of the next rows.
    """
    values = rows.numpy().reshape(-1, rows.shape[-1])
    shape = max(1, TILE // values.shape[1]), values.shape[1]
    floats, masks, keys = (np.empty(shape, t) for t in (np.float32, np.int32, np.int64))
    places = np.tile(np.arange(shape[1]), (shape[0], 1))
    sign = np.subtract if descending else np.add
    for start in range(0, len(values), shape[0]):
        place = slice(start, min(start + shape[0], len(values)))
        size = place.stop - start
        bits = sign(np.float32(0), values[place], out=floats[:size]).view(np.int32)  # -0 is 0 now
        ordered = np.right_shift(bits, 31, out=masks[:size])
        ordered &= 0x7FFFFFFF
        ordered ^= bits  # as whole numbers in the order of the floats
        some = keys[:size]
        some[...] = ordered
        some <<= 32
        some |= places[:size]
        some.sort(axis=-1)
        yield place, some
