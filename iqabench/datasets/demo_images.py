"""Make the demo data set: graded distortions of photographs that installed packages ship.

The photographs come with scikit-image, scikit-learn and matplotlib, so nothing is downloaded. Every
image is a window of one photograph, reduced to ``IMAGE_SIDE`` pixels (which also removes most of
the camera noise and compression of the source) and then distorted in one way at one strength.

The label is a **proxy, not a human score**: the SSIM (Wang et al., "Image Quality Assessment: From
Error Visibility to Structural Similarity", IEEE TIP 2004) on luminance between the window before
and after the distortion, averaged over all images of the same distortion and strength, and mapped
to ``[0, 1]`` by one constant linear map. It is averaged because the SSIM of one image depends on
its content as much as on its distortion, which a no-reference regressor cannot know.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, laplace
from skimage.metrics import structural_similarity

from iqabench.api import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Pixels = NDArray[np.uint8]

DEMO_VERSION = 1
IMAGE_SIDE = 128
DRAWS = 3
SSIM_AT_MOS_0 = 0.20
SSIM_AT_MOS_1 = 1.00

PRISTINE = "pristine"
DISTORTIONS: dict[str, tuple[float, ...]] = {
    "jpeg": (30, 16, 9, 5, 2),
    "jpeg2000": (12, 24, 40, 64, 110),
    "blur": (0.7, 1.1, 1.7, 2.6, 4.0),
    "noise": (0.02, 0.045, 0.08, 0.14, 0.25),
    "impulse": (0.004, 0.012, 0.03, 0.08, 0.2),
}
"""Per distortion its parameter at strengths 1 to 5.

JPEG: Pillow's quality. JPEG 2000: compression rate. Blur: sigma in pixels. Noise: standard
deviation per channel on the ``[0, 1]`` scale. Impulse: share of pixels turned black or white.
"""

PHOTOGRAPH_SIDE = 640
WINDOW_SIDES = (224, 400)
WINDOW_CANDIDATES = 8


@dataclass(frozen=True)
class Photograph:
    """One source photograph, which is one scene.

    Attributes:
        scene: Name in ``labels.csv``.
        package: Installed package that ships the file.
        path: File inside that package.
        credit: Origin and licence, as far as they are known.
    """

    scene: str
    package: str
    path: str
    credit: str

    def load(self) -> Image.Image:
        """Open the photograph as RGB with its longer side at most ``PHOTOGRAPH_SIDE`` pixels.

        Raises:
            DataError: The package is not installed, or does not ship the file.
        """
        spec = importlib.util.find_spec(self.package)
        roots = (spec.submodule_search_locations if spec else None) or []
        file = next((f for root in roots if (f := Path(root, self.path)).is_file()), None)
        if file is None:
            raise DataError(
                f"demo: the photograph {self.path} of the package {self.package} was not found;"
                f" install {self.package} again"
            )
        with Image.open(file) as image:
            rgb = image.convert("RGB")
        rgb.thumbnail((PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE), Image.Resampling.LANCZOS)
        return rgb


def _skimage(scene: str, file: str, credit: str) -> Photograph:
    return Photograph(scene, "skimage", f"data/{file}", credit)


PHOTOGRAPHS = (
    _skimage("astronaut", "astronaut.png", "NASA; public domain"),
    _skimage("camera", "camera.png", "Lav Varshney; CC0"),
    _skimage("chelsea", "chelsea.png", "Stefan van der Walt; CC0"),
    _skimage("coffee", "coffee.png", "Rachel Michetti, courtesy of Pikolo Espresso Bar; CC0"),
    _skimage("coins", "coins.png", "Brooklyn Museum Collection; no known copyright restrictions"),
    _skimage("grass", "grass.png", "linolafett on DeviantArt (Grass 01); CC0"),
    _skimage("gravel", "gravel.png", "CC0Textures (Gravel04); CC0"),
    _skimage("hubble", "hubble_deep_field.jpg", "NASA, HubbleSite; public domain"),
    _skimage("ihc", "ihc.png", "CMMI; no known copyright restrictions"),
    _skimage(
        "motorcycle",
        "motorcycle_left.png",
        "Middlebury 2014 stereo data set (D. Scharstein et al.); no licence stated",
    ),
    _skimage("retina", "retina.jpg", "Mikael Haggstrom, Wikimedia Commons; CC0"),
    _skimage("rocket", "rocket.jpg", "SpaceX; public domain"),
    Photograph(
        "china",
        "sklearn",
        "datasets/images/china.jpg",
        "danielbuechele, https://www.flickr.com/photos/danielbuechele/6061409035; CC BY 2.0",
    ),
    Photograph(
        "flower",
        "sklearn",
        "datasets/images/flower.jpg",
        "vultilion, https://www.flickr.com/photos/vultilion/6056698931; CC BY 2.0",
    ),
    Photograph(
        "grace_hopper",
        "matplotlib",
        "mpl-data/sample_data/grace_hopper.jpg",
        "US Navy (James S. Davis), 1984; public domain",
    ),
)

README = """\
The demo data set of iqabench, version {version}
{images} images of {scenes} scenes; {side}x{side} pixels; made on this machine by iqabench.

THE LABELS ARE A PROXY. Column mos of labels.csv is not a human score: it is the SSIM on luminance
between the image before and after its distortion, averaged over all images of the same distortion
and strength, then mapped linearly so that SSIM {low} is 0 and SSIM {high} is 1 (higher is better).
Results on this set show that the benchmark runs, not how well a metric predicts human judgement.

Columns of labels.csv: image (file in Images), mos, scene (source photograph), distortion,
strength (1 mildest to 5; 0 for pristine).

Every image is a modified version (window, reduced, mostly distorted) of one of these photographs,
which installed Python packages ship:

{sources}

CC BY 2.0: https://creativecommons.org/licenses/by/2.0/
"""


@dataclass(frozen=True)
class _Item:
    photograph: int
    distortion: str
    strength: int
    draw: int

    @property
    def file(self) -> str:
        scene = PHOTOGRAPHS[self.photograph].scene
        return f"{scene}_{self.distortion}_{self.strength}_{self.draw}.png"

    def rng(self) -> np.random.Generator:
        kind = [PRISTINE, *DISTORTIONS].index(self.distortion)
        key = (DEMO_VERSION, self.photograph, kind, self.strength, self.draw)
        return np.random.default_rng(key)


def write_demo(folder: Path, on_progress: Callable[[int, int], None] | None = None) -> None:
    """Write the demo data set; the same bytes on every run with the same library versions.

    Args:
        folder: Receives ``Images/*.png``, ``labels.csv`` and ``README.txt``; made if missing.
        on_progress: Called with (images written, images in all) after every image.

    Raises:
        DataError: A package does not ship its photograph.
    """
    (folder / "Images").mkdir(parents=True, exist_ok=True)
    photographs = [photograph.load() for photograph in PHOTOGRAPHS]
    items = list(_items())

    def make(item: _Item) -> float:
        rng = item.rng()
        before = _window(photographs[item.photograph], rng)
        after = _distorted(before, item, rng)
        Image.fromarray(after).save(folder / "Images" / item.file)
        return _ssim(before, after)

    values: list[float] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for value in pool.map(make, items):
            values.append(value)
            if on_progress is not None:
                on_progress(len(values), len(items))
    _write_labels(folder / "labels.csv", items, _mos_by_condition(items, values))
    (folder / "README.txt").write_text(_readme(len(items)), encoding="utf-8", newline="\n")


def _items() -> Iterator[_Item]:
    for photograph in range(len(PHOTOGRAPHS)):
        for draw in range(DRAWS):
            yield _Item(photograph, PRISTINE, 0, draw)
            for distortion, parameters in DISTORTIONS.items():
                for strength in range(1, len(parameters) + 1):
                    yield _Item(photograph, distortion, strength, draw)


def _window(photograph: Image.Image, rng: np.random.Generator) -> Pixels:
    """Reduce the most detailed of a few random windows: blur is not seen on a flat one."""
    candidates = [_random_window(photograph, rng) for _ in range(WINDOW_CANDIDATES)]
    return max(candidates, key=lambda pixels: float(np.abs(laplace(_luminance(pixels))).mean()))


def _random_window(photograph: Image.Image, rng: np.random.Generator) -> Pixels:
    width, height = photograph.size
    low, high = WINDOW_SIDES
    side = int(rng.integers(low, min(high, width, height) + 1))
    left = int(rng.integers(width - side + 1))
    top = int(rng.integers(height - side + 1))
    window = photograph.crop((left, top, left + side, top + side))
    reduced = window.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.LANCZOS)
    turned = np.rot90(np.asarray(reduced), k=int(rng.integers(4)))
    return np.ascontiguousarray(turned)


def _distorted(pixels: Pixels, item: _Item, rng: np.random.Generator) -> Pixels:
    if item.distortion == PRISTINE:
        return pixels
    parameter = DISTORTIONS[item.distortion][item.strength - 1]
    unit = pixels.astype(np.float64) / 255
    match item.distortion:
        case "jpeg":
            return _coded(pixels, format="JPEG", quality=int(parameter))
        case "jpeg2000":
            return _coded(
                pixels,
                format="JPEG2000",
                quality_mode="rates",
                quality_layers=[parameter],
                irreversible=True,
            )
        case "blur":
            return _to_pixels(gaussian_filter(unit, sigma=(parameter, parameter, 0)))
        case "noise":
            return _to_pixels(unit + parameter * rng.standard_normal(unit.shape))
        case "impulse":
            hit = rng.random(unit.shape[:2]) < parameter
            unit[hit] = rng.integers(0, 2, size=(int(hit.sum()), 1))
            return _to_pixels(unit)
    raise ValueError(f"unknown distortion {item.distortion!r}; known: {', '.join(DISTORTIONS)}")


def _coded(pixels: Pixels, **options: object) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)  # type: ignore[arg-type]  # keywords per format
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))


def _to_pixels(unit: NDArray[np.float64]) -> Pixels:
    return np.round(np.clip(unit, 0, 1) * 255).astype(np.uint8)


def _luminance(pixels: Pixels) -> NDArray[np.float64]:
    luminance: NDArray[np.float64] = pixels @ np.array([0.299, 0.587, 0.114]) / 255
    return luminance


def _ssim(before: Pixels, after: Pixels) -> float:
    value = structural_similarity(  # type: ignore[no-untyped-call]  # no annotations in skimage
        _luminance(before),
        _luminance(after),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(value)


def _mos_by_condition(items: list[_Item], values: list[float]) -> dict[tuple[str, int], float]:
    groups: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for item, value in zip(items, values, strict=True):
        groups[item.distortion, item.strength].append(value)
    span = SSIM_AT_MOS_1 - SSIM_AT_MOS_0
    return {
        condition: float(np.clip((np.mean(group) - SSIM_AT_MOS_0) / span, 0, 1))
        for condition, group in groups.items()
    }


def _write_labels(file: Path, items: list[_Item], mos: Mapping[tuple[str, int], float]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["image", "mos", "scene", "distortion", "strength"])
        for item in items:
            score = f"{mos[item.distortion, item.strength]:.6f}"
            scene = PHOTOGRAPHS[item.photograph].scene
            writer.writerow([item.file, score, scene, item.distortion, item.strength])


def _readme(images: int) -> str:
    sources = (f"{p.scene}: {p.package}/{p.path}. {p.credit}." for p in PHOTOGRAPHS)
    return README.format(
        version=DEMO_VERSION,
        images=images,
        scenes=len(PHOTOGRAPHS),
        side=IMAGE_SIDE,
        low=SSIM_AT_MOS_0,
        high=SSIM_AT_MOS_1,
        sources="\n".join(sources),
    )
