"""Natural images, reduced."""

from __future__ import annotations

import numpy as np
from PIL import Image

from iqabench.datasets.demo_images import PHOTOGRAPHS
from iqabench.pretraining.distortions import Pixels

NATURAL = {p.scene: p for p in PHOTOGRAPHS}


def photograph(scene: str, side: int) -> Pixels:
    """The middle of a natural image, reduced."""
    image = NATURAL[scene].load()
    image.thumbnail((2 * side, 2 * side), Image.Resampling.LANCZOS)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side)))
