"""Images decoded and resized once, into a memory-mapped uint8 cache that is found by content."""

from __future__ import annotations

import contextlib
import json
import mmap
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from iqabench.errors import DataError, UnreadableImagesError
from iqabench.files import hash_file, hash_of, make_folder, write_json

MOST_PIXELS = 128_000_000
"""An image file may hold so many; more is an attack on the memory, or not meant."""
MOST_RESIZED = 64_000_000
"""A resized image may hold so many: one pixel wide would be thousands of times longer than wide."""
VERSION = 1
"""Raise it when the same file would decode to other pixels."""
_WORKERS = 4
_CHUNK = 64
Progress = Callable[[int, int], None]


class Pixels:
    """Resized images of one data set side.

    Attributes:
        shapes: Height and width of every image.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]], data: NDArray[np.uint8]) -> None:
        """Take images one after the other, flat, in ``data``."""
        self.shapes: list[tuple[int, int]] = list(shapes)
        self._offsets = np.concatenate(([0], np.cumsum([h * w * 3 for h, w in self.shapes])))
        self._data = data
        if len(data) != self._offsets[-1]:
            raise DataError("damaged")

    @classmethod
    def load(cls, folder: Path) -> Pixels:
        """Open a cache that ``open_pixels`` built in ``folder``."""
        index = json.loads((folder / "index.json").read_text())
        shapes = [(h, w) for h, w in index["shapes"]]
        try:
            return cls(shapes, np.memmap(folder / "pixels.u8", np.uint8, mode="r"))
        except DataError:
            raise DataError(f"pixel cache {folder} is damaged: remove it and run again") from None

    def __len__(self) -> int:
        return len(self.shapes)

    def image(self, number: int) -> NDArray[np.uint8]:
        """Return one resized image, ``(h, w, 3)``, without copying it."""
        h, w = self.shapes[number]
        view: NDArray[np.uint8] = self._data[self._offsets[number] : self._offsets[number + 1]]
        return view.reshape(h, w, 3)

    def centre_crops(self, numbers: Sequence[int], crop: int) -> Tensor:
        """Return the centre squares as ``(N, 3, crop, crop)`` in ``[0, 1]``, on the 8-bit grid."""
        return _to_images(self.centre_bytes(numbers, crop))

    def centre_bytes(self, numbers: Sequence[int], crop: int) -> NDArray[np.uint8]:
        """Return the centre squares as they are stored, ``(N, crop, crop, 3)``."""
        shapes = [self.shapes[i] for i in numbers]
        return self._cut(numbers, crop, [((h - crop) // 2, (w - crop) // 2) for h, w in shapes])

    def crops(
        self, numbers: Sequence[int], crop: int, corners: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Return squares with the given upper left corners; see ``centre_crops``."""
        return _to_images(self._cut(numbers, crop, corners))

    def _cut(
        self, numbers: Sequence[int], crop: int, corners: Sequence[tuple[int, int]]
    ) -> NDArray[np.uint8]:
        out = np.empty((len(numbers), crop, crop, 3), np.uint8)
        for row, number, (top, left) in zip(out, numbers, corners, strict=True):
            row[...] = self.image(number)[top : top + crop, left : left + crop]
        self._give_back()
        return out

    def _give_back(self) -> None:
        """Drop the pages of the file that were read; else all of it counts as our memory."""
        mapped = getattr(self._data, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            mapped.madvise(mmap.MADV_DONTNEED)


def _to_images(squares: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(squares).permute(0, 3, 1, 2).contiguous().float() / 255


def hash_images(paths: Sequence[Path], on_progress: Progress | None = None) -> list[str]:
    """Return the SHA-256 of every image file.

    Args:
        paths: The files.
        on_progress: Called with (done, all).

    Raises:
        DataError: Some cannot be read; all of them are named in one message.
    """
    failures: list[str] = []

    def one(path: Path) -> str:
        try:
            return hash_file(path)
        except OSError as e:
            failures.append(f"{path} ({e.strerror or e})")
            return ""

    hashes = []
    with ThreadPoolExecutor(_WORKERS) as pool:
        for digest in pool.map(one, paths):
            hashes.append(digest)
            if on_progress is not None:
                on_progress(len(hashes), len(paths))
    _report(failures, len(paths))
    return hashes


def cache_folder(hashes: Sequence[str], *, resize: int, store: Path) -> Path:
    """Return where the cache of these images is, or will be; see ``open_pixels``."""
    key = hash_of({"version": VERSION, "resize": resize, "files": list(hashes)})[:24]
    return store / "pixels" / key


def open_pixels(
    paths: Sequence[Path],
    hashes: Sequence[str],
    *,
    resize: int,
    store: Path,
    on_progress: Progress | None = None,
) -> Pixels:
    """Return the cache of these images, building it if their content was never seen.

    Args:
        paths: Image files.
        hashes: Their content, from ``hash_images``.
        resize: Length of the shorter side after resizing, in pixels.
        store: Folder of all caches.
        on_progress: Called with (done, all) while building.

    Raises:
        DataError: Images cannot be decoded; all of them are named in one message.
    """
    folder = cache_folder(hashes, resize=resize, store=store)

    def fill(temporary: Path) -> None:
        shapes = _decode_all(paths, resize, temporary / "pixels.u8", on_progress)
        write_json(temporary / "index.json", {"version": VERSION, "shapes": shapes})

    if not folder.exists():
        make_folder(folder, fill)
    return Pixels.load(folder)


def one_image(path: Path, *, resize: int) -> Pixels:
    """Return a resized image in memory, without a cache.

    Raises:
        UnreadableImagesError: It cannot be decoded.
    """
    with _pillow_without_limit():
        pixels = _try_decode(resize)(path)
    if isinstance(pixels, str):
        raise UnreadableImagesError([f"{path} ({pixels})"], 1)
    return Pixels([(pixels.shape[0], pixels.shape[1])], pixels.reshape(-1))


def _decode_all(
    paths: Sequence[Path], resize: int, out: Path, on_progress: Progress | None
) -> list[tuple[int, int]]:
    shapes: list[tuple[int, int]] = []
    failures: list[str] = []
    with (
        _pillow_without_limit(),
        out.open("wb") as file,
        ThreadPoolExecutor(_WORKERS) as pool,
    ):
        for chunk in _chunks(paths):
            for path, pixels in zip(chunk, pool.map(_try_decode(resize), chunk), strict=True):
                if isinstance(pixels, str):
                    failures.append(f"{path} ({pixels})")
                    shapes.append((0, 0))
                else:
                    file.write(pixels.tobytes())
                    shapes.append((pixels.shape[0], pixels.shape[1]))
            if on_progress:
                on_progress(len(shapes), len(paths))
    _report(failures, len(paths))
    return shapes


def _chunks(paths: Sequence[Path]) -> Iterator[list[Path]]:
    rest = iter(paths)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _try_decode(resize: int) -> Callable[[Path], NDArray[np.uint8] | str]:
    def decode(path: Path) -> NDArray[np.uint8] | str:
        try:
            return decode_image(path, resize=resize)
        except Image.DecompressionBombError:
            return _too_many()
        except Exception as e:  # a damaged file can make a decoder raise anything
            return str(e).split("\n")[0] or type(e).__name__

    return decode


def decode_image(path: Path, *, resize: int) -> NDArray[np.uint8]:
    """Return an image as ``(h, w, 3)`` RGB with its shorter side ``resize`` pixels long.

    Upright as its EXIF data says, if they can be read; 16-bit images are brought to 8 bits by their
    upper byte; transparency is dropped. Resized with Pillow's antialiased bicubic filter.

    Raises:
        ValueError: It holds too many pixels, or would once resized; or its pixels are floats.
    """
    with Image.open(path) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise ValueError(_too_many())
        if opened.mode == "F":
            raise ValueError("its pixels are floats, whose range is not known; make it 8-bit")
        _check_resized(opened.width, opened.height, resize)
        upright = _upright(opened)
        if upright.mode.startswith("I;16") or upright.mode == "I":
            upright = Image.fromarray((np.asarray(upright, np.int64) >> 8).astype(np.uint8))
        image = upright.convert("RGB")
    w, h = image.size
    scale = resize / min(w, h)
    if scale != 1:
        size = (max(resize, round(w * scale)), max(resize, round(h * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(image)


def _check_resized(w: int, h: int, resize: int) -> None:
    # A side of the result may be rounded up to a pixel; that is no reason to refuse.
    resized = resize * resize * max(w, h) / max(1, min(w, h))
    if resized > MOST_RESIZED:
        raise ValueError(
            f"{w} x {h} pixels: with its shorter side resized to {resize} it would hold"
            f" {resized / 1e6:.0f} megapixels, more than {MOST_RESIZED / 1e6:.0f}; crop it"
        )


def _too_many() -> str:
    return f"more than {MOST_PIXELS / 1e6:.0f} megapixels; make it smaller"


@contextlib.contextmanager
def _pillow_without_limit() -> Iterator[None]:
    """Keep Pillow from warning of images that are within our own limit, in every thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data make Pillow raise anything; the pixels may be whole
        return image


def _report(failures: Sequence[str], total: int) -> None:
    if failures:
        raise UnreadableImagesError(failures, total)
