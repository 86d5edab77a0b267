"""What the numbers were computed with; written beside them, never part of a key."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)
_PACKAGES = ("iqabench", "torch", "torchvision", "numpy", "scipy", "pillow")


def environment(device: torch.device) -> dict[str, str | None]:
    """Return versions, revision, processor and device as plain text; None for what is unknown."""
    versions: dict[str, str | None] = {name: metadata.version(name) for name in _PACKAGES}
    return versions | {
        "revision": revision(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": str(torch.get_num_threads()),
    }


@functools.cache
def revision() -> str | None:
    """Return the git commit of this checkout, ``-dirty`` if files differ; None if it is none."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():  # an installed package, not somebody else's repository
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def settle(network: M, device: torch.device) -> M:
    """Move a network to where it runs, in the memory layout that is fastest there.

    On a CPU channels are innermost: convolutions, and sorts over channels, are a quarter faster.
    """
    layout = torch.channels_last if device.type == "cpu" else torch.contiguous_format
    network.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    return network


def forget_peak(device: torch.device) -> None:
    """Start a new measurement of ``peak_memory_mb`` on a GPU; a process's own peak stays."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb(device: torch.device) -> float | None:
    """Return the highest memory use in MiB: of the GPU, or of the process; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return None
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2 ** (20 if sys.platform == "darwin" else 10)  # bytes there, KiB elsewhere
