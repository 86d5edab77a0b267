"""torch's global state (random generators, choice of kernels), lent for a while and given back."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def lent_rng(device: torch.device | None = None) -> Iterator[None]:
    """Let the block use torch's global generators and restore their state afterwards.

    Layers such as dropout and initialisers know no other source; nothing outside the block sees
    that they drew from it.
    """
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def seed_torch(*parts: object) -> None:
    """Seed torch's global generators from what the numbers are for; inside ``lent_rng`` only."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)


@contextlib.contextmanager
def exact_kernels() -> Iterator[None]:
    """Have a GPU choose the same convolution kernels every time, and none that round to TF32."""
    flags = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    matmul = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with flags:
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul
