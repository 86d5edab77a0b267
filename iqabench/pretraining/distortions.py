"""The nine synthetic distortions that S-CNN learns to name: 39 pairs of type and level.

The types and the numbers of their levels are those of Zhang et al. 2020, section III-A. How strong
each level is, is **ours**: chosen by eye on photographs of 256 pixels, from just visible to heavy.
The sets that the authors made are not reproduced.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, features

from iqabench.errors import MissingExtraError

VERSION = 1
"""Raise it when a class would give other pixels."""
GAMMA = 2.2
"""Of the display: an exposure is a factor in linear light."""

PALETTE_FROM = 4096
"""Pixels that choose the colours of a palette; of all of them it would take a fifth of a second."""

Pixels = NDArray[np.uint8]
Apply = Callable[[Pixels, float, np.random.Generator], Pixels]


@dataclass(frozen=True)
class Distortion:
    """One type of distortion.

    Attributes:
        name: As people read it.
        unit: What the numbers of ``levels`` are.
        levels: Parameter of level 1, the mildest, to the last.
        apply: Distorts an image ``(h, w, 3)`` by a parameter; the generator gives the noise.
    """

    name: str
    unit: str
    levels: tuple[float, ...]
    apply: Apply


@dataclass(frozen=True)
class Grade:
    """One of the 39 classes.

    Attributes:
        kind: Place of its type in ``DISTORTIONS``.
        level: Level of that type, from 1.
    """

    kind: int
    level: int

    @property
    def label(self) -> str:
        """Type and level, as people read them."""
        return f"{DISTORTIONS[self.kind].name} {self.level}"

    def distort(self, image: Pixels, generator: np.random.Generator) -> Pixels:
        """Return the distorted image; ``(h, w, 3)`` as the one that is given, which stays.

        The same state of the generator gives the same pixels.
        """
        distortion = DISTORTIONS[self.kind]
        return distortion.apply(image, distortion.levels[self.level - 1], generator)


def need_codecs() -> None:
    """Refuse a Pillow that cannot compress.

    Raises:
        MissingExtraError: It was built without JPEG or JPEG 2000.
    """
    for codec, name in (("jpg", "JPEG"), ("jpg_2000", "JPEG 2000")):
        if not features.check(codec):
            raise MissingExtraError(
                f"this Pillow was built without {name}, one of the distortions that S-CNN learns;"
                " install a wheel of it: pip install --force-reinstall --only-binary :all: pillow"
            )


def _jpeg(image: Pixels, quality: float, generator: np.random.Generator) -> Pixels:
    return _coded(image, format="JPEG", quality=int(quality))


def _jpeg_2000(image: Pixels, ratio: float, generator: np.random.Generator) -> Pixels:
    return _coded(
        image,
        format="JPEG2000",
        quality_mode="rates",
        quality_layers=[ratio],
        irreversible=True,
    )


def _blur(image: Pixels, sigma: float, generator: np.random.Generator) -> Pixels:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def _white_noise(image: Pixels, deviation: float, generator: np.random.Generator) -> Pixels:
    return _to_pixels(image + deviation * generator.standard_normal(image.shape))


def _contrast(image: Pixels, share: float, generator: np.random.Generator) -> Pixels:
    mean = image.mean()
    return _to_pixels(mean + share * (image - mean))


def _pink_noise(image: Pixels, deviation: float, generator: np.random.Generator) -> Pixels:
    """Add noise with as much energy in every octave: in a plane, an amplitude that falls as 1/f."""
    h, w = image.shape[:2]
    frequency = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None, :])
    frequency[0, 0] = np.inf  # no change of the mean
    white = generator.standard_normal((3, h, w))
    pink = np.fft.irfft2(np.fft.rfft2(white) / frequency, s=(h, w))
    spread = float(pink.std())
    scale = deviation / spread if spread else 0.0  # a single pixel has no frequency but 0
    return _to_pixels(image + scale * pink.transpose(1, 2, 0))


def _quantised(image: Pixels, colours: float, generator: np.random.Generator) -> Pixels:
    """Keep few colours, by median cut, and spread the error (Floyd and Steinberg)."""
    apart = math.ceil(math.sqrt(image.shape[0] * image.shape[1] / PALETTE_FROM))
    sample = Image.fromarray(np.ascontiguousarray(image[::apart, ::apart]))
    chosen = sample.quantize(int(colours), Image.Quantize.MEDIANCUT)
    used = np.unique(np.asarray(chosen))
    table = np.array(chosen.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette = Image.new("P", (1, 1))
    palette.putpalette(table[used].tobytes())
    dither = Image.Dither.FLOYDSTEINBERG
    return np.asarray(
        Image.fromarray(image).quantize(palette=palette, dither=dither).convert("RGB")
    )


def _exposed(image: Pixels, stops: float, generator: np.random.Generator) -> Pixels:
    return _to_pixels(image * 2.0 ** (stops / GAMMA))


def _coded(image: Pixels, **options: object) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, **options)  # type: ignore[arg-type]  # keywords per format
    with Image.open(buffer) as coded:
        return np.asarray(coded.convert("RGB"))


def _to_pixels(values: NDArray[np.float64]) -> Pixels:
    return np.round(np.clip(values, 0, 255)).astype(np.uint8)


DISTORTIONS = (
    Distortion("JPEG", "quality of Pillow's encoder", (40, 24, 14, 8, 4), _jpeg),
    Distortion("JPEG 2000", "compression ratio", (16, 32, 56, 90, 140), _jpeg_2000),
    Distortion("Gaussian blur", "sigma in pixels", (0.7, 1.1, 1.7, 2.6, 4.0), _blur),
    Distortion(
        "white Gaussian noise",
        "standard deviation per channel in grey levels",
        (5, 10, 18, 32, 56),
        _white_noise,
    ),
    Distortion(
        "contrast change",
        "share of the distance to the image's mean that is left",
        (0.75, 0.6, 0.45, 0.3, 0.15),
        _contrast,
    ),
    Distortion(
        "pink noise",
        "standard deviation per channel in grey levels",
        (6, 11, 19, 32, 52),
        _pink_noise,
    ),
    Distortion(
        "quantisation with colour dithering", "number of colours", (40, 20, 10, 6, 3), _quantised
    ),
    Distortion("over-exposure", "stops", (1.0, 2.0), _exposed),
    Distortion("under-exposure", "stops", (-1.5, -3.0), _exposed),
)
"""Every type with what its numbers mean and its parameter at each level."""

GRADES = tuple(
    Grade(kind, level)
    for kind, distortion in enumerate(DISTORTIONS)
    for level in range(1, len(distortion.levels) + 1)
)
"""The classes, in the order of S-CNN's outputs."""
