"""What the numbers were computed with; written beside them, never part of a key."""

from __future__ import annotations

import platform
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
