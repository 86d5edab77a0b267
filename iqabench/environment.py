"""What the numbers were computed with; written beside them, never part of a key."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

import torch

_PACKAGES = ("iqabench", "torch", "torchvision", "numpy", "scipy", "pillow")


def environment(device: torch.device) -> dict[str, str]:
    """Return versions, processor and device as plain text."""
    versions = {name: metadata.version(name) for name in _PACKAGES}
    return versions | {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": str(torch.get_num_threads()),
    }


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
