"""Malformed inputs: one line each, exit code 2, and nothing half-written."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from malformed import ROWS, Row, Site, png
from PIL import Image
from support import Workplace

from iqabench.cli import main
from iqabench.pixels import decode_image


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = Workplace(tmp_path_factory.mktemp("place"))
    flags = ["--dataset", "biq2021", "--attack", "fgsm", "--eps", "1", "--threads", "1"]
    assert place.run(*flags) == 0
    return place


def contents(folder: Path) -> dict[Path, bytes]:
    """Return every file; locks of the store stay, for removing one would not be safe."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path: path.read_bytes() for path in files}


def test_the_table_has_at_least_sixty_different_rows() -> None:
    assert len({row.what for row in ROWS}) == len(ROWS) >= 60


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_a_malformed_input_is_one_line_and_leaves_nothing(
    row: Row, place: Workplace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path, place)
    argv = row.make(site)
    before = contents(tmp_path) | contents(place.folder)
    capfd.readouterr()
    code = main(argv)
    said = capfd.readouterr()
    ours = [line for line in said.err.splitlines() if line.startswith("iqabench: ")]
    assert code == row.code, said.err
    assert len(ours) == 1, said.err
    assert row.message in ours[0]
    assert len(ours[0]) < 1500
    assert "Traceback" not in said.err
    assert said.out == ""
    assert contents(tmp_path) | contents(place.folder) == before


QUARTERS = np.array([[0, 60], [120, 180]], np.uint8).repeat(2, 0).repeat(2, 1)
"""Grey levels of an image whose corners differ."""


def turned(pixels: np.ndarray) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 8  # shown after a quarter turn against the clock
    return png(pixels, exif=exif)


LAWFUL = {
    "16-bit.png": (png(QUARTERS.astype(np.uint16) * 256 + 255), QUARTERS),
    "grey.png": (png(QUARTERS), QUARTERS),
    "grey-alpha.png": (png(np.stack([QUARTERS, QUARTERS // 2], 2)), QUARTERS),
    "alpha.png": (png(np.dstack([QUARTERS] * 3 + [QUARTERS // 2])), QUARTERS),
    "wrong-extension.jpg": (png(QUARTERS), QUARTERS),
    "no-extension": (png(QUARTERS), QUARTERS),
    "exif-rotated.png": (turned(QUARTERS), np.rot90(QUARTERS)),
    "1x1.png": (png(QUARTERS[-1:, -1:]), np.full((4, 4), 180, np.uint8)),
}
"""Images that are unusual and right: the file, and the grey levels that it stands for."""


@pytest.mark.parametrize("name", LAWFUL)
def test_an_unusual_image_is_decoded_to_what_it_shows(name: str, tmp_path: Path) -> None:
    data, expected = LAWFUL[name]
    (tmp_path / name).write_bytes(data)
    pixels = decode_image(tmp_path / name, resize=4)
    assert np.array_equal(pixels, np.dstack([expected] * 3))


def test_a_cmyk_jpeg_is_decoded_to_the_colours_it_shows(tmp_path: Path) -> None:
    colours = np.zeros((32, 32, 3), np.uint8)
    colours[:, :16] = (220, 30, 40)
    image = Image.fromarray(colours).convert("CMYK")
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, subsampling=0)
    (tmp_path / "cmyk.jpg").write_bytes(file.getvalue())
    pixels = decode_image(tmp_path / "cmyk.jpg", resize=32)
    assert np.abs(pixels.astype(int) - colours)[:, [*range(12), *range(20, 32)]].max() < 12
