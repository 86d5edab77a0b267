"""CPRL's channel activation against the plain ReLU network it replaces activations in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from subject import BATCH, regressor_of, side_of
from timing import Row, at_most, main, race, ratio

from iqabench.api import Noise

METHODS = ("cprl", "cprl:sites=all")
"""With its activation where it stands by default, and after every activation of the network."""


def measure(repeats: int, *, images: int = BATCH, size: int = 224) -> list[Row]:
    """Return the rows of scoring and of pixel gradients on ResNet-18."""
    side = side_of(images, size)
    pixels = side.pixels.centre_crops(range(images), size)
    noise = side.noise(0, range(images), "score")
    networks = {name: regressor_of(name, speed="exact") for name in ("resnet", *METHODS)}

    contestants: dict[str, Callable[[], object]] = {}
    for name, network in networks.items():
        contestants[f"{name} score"] = partial(_score, network, pixels, noise)
        contestants[f"{name} gradient"] = partial(_gradient, network, pixels, noise)
    laps = race(contestants, repeats)
    how = f"ResNet-18, {images} images, {size} px"
    return [
        at_most(
            f"{method} over plain ReLU, {what}",
            1.5,
            ratio(laps, f"{method} {what}", f"resnet {what}"),
            how,
        )
        for method in METHODS
        for what in ("score", "gradient")
    ]


def _score(network: torch.nn.Module, images: torch.Tensor, noise: Noise) -> None:
    with torch.no_grad():
        network(images, noise)


def _gradient(network: torch.nn.Module, images: torch.Tensor, noise: Noise) -> None:
    pixels = images.detach().requires_grad_()
    torch.autograd.grad(network(pixels, noise).sum(), pixels)


if __name__ == "__main__":
    main(measure, __doc__, quick={"images": 2, "size": 96})
