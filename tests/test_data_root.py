"""No reader gives an image outside the data root, whatever a label file or a link says."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from official_layouts import (
    KONIQ_ROWS,
    KONIQ_SCORES,
    LIVEC_NAMES,
    cell,
    write_images,
    write_koniq_images,
    write_koniq_scores,
    write_live,
    write_livec,
    write_vcl,
    write_vcl_mat,
)
from scipy.io import savemat
from support import write_biq2021

from iqabench.api import Table
from iqabench.contracts.lookup import outside
from iqabench.data import DataHome, dataset
from iqabench.errors import DataError
from iqabench.progress import Silent
from iqabench.registry import DATASETS

OUTSIDE = ("../../outside.jpg", "/etc/passwd")
DEMO = "store/datasets/demo-1"


def _koniq(root: Path) -> None:
    write_koniq_images(root / "koniq10k" / "512x384")
    write_koniq_scores(root / "koniq10k" / KONIQ_SCORES)


def _vcl(root: Path) -> None:
    write_vcl_mat(write_vcl(root) / "VCL_FER.mat")


def _demo(root: Path) -> None:
    home = root.parent / DEMO
    write_images(home / "Images", ["a.jpg", "b.jpg"])
    with (home / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["image", "mos", "scene", "distortion"],
                ["a.jpg", "0", "x", "y"],
                ["b.jpg", "1", "z", "y"],
            ]
        )


LAYOUTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "biq2021": (lambda root: write_biq2021(root, train=2, test=2), "data/biq2021/Images"),
    "demo": (_demo, f"{DEMO}/Images"),
    "koniq": (_koniq, "data/koniq10k/512x384"),
    "live": (lambda root: write_live(root, realigned_orgs=982), "data/jp2k"),
    "livec": (write_livec, "data/Images"),
    "vcl": (_vcl, "data/vcl_fer"),
}
"""How each data set is written into its root, and where its images are then."""
NAMED: dict[str, tuple[str, str]] = {
    "biq2021": ("data/biq2021/Train (Images and MOS).csv", "ss01 (Tr0).jpg"),
    "demo": (f"{DEMO}/labels.csv", "a.jpg"),
    "koniq": (f"data/koniq10k/{KONIQ_SCORES}", KONIQ_ROWS[0][0]),
}
"""Label files of text that name images, and an image that each names."""


def read(folder: Path, name: str) -> Table:
    return DataHome(folder / "data", folder / "store", Silent()).read(dataset(name))


@pytest.fixture(params=LAYOUTS)
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    (tmp_path / "data").mkdir()
    name = str(request.param)
    LAYOUTS[name][0](tmp_path / "data")
    return name


def test_every_reader_is_tried() -> None:
    own = {n for n in DATASETS.names() if DATASETS.entry(n).owner.startswith("iqabench")}
    assert own == set(LAYOUTS)


def test_links_in_place_of_folders_are_followed_and_of_images_only_inside(
    name: str, tmp_path: Path
) -> None:
    images = tmp_path / LAYOUTS[name][1]
    count = len(read(tmp_path, name).rows)
    first = next(r.path for r in read(tmp_path, name).rows if r.path.parent == images)
    inside = images.parent / "annex"
    inside.mkdir()
    first.rename(inside / "object")
    first.symlink_to(inside / "object")
    assert len(read(tmp_path, name).rows) == count  # as git-annex does it
    elsewhere = tmp_path / "elsewhere"
    images.rename(elsewhere)
    images.symlink_to(elsewhere)
    assert len(read(tmp_path, name).rows) == count
    (inside / "object").rename(tmp_path / "outside.jpg")
    first.unlink()
    first.symlink_to(tmp_path / "outside.jpg")
    with pytest.raises(DataError, match=f"{re.escape(first.name)} lies, or leads, outside"):
        read(tmp_path, name)


def test_a_data_root_that_is_a_link_is_followed(name: str, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "disk")
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    assert read(tmp_path, name).rows


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("named", NAMED)
def test_a_label_file_that_names_a_file_outside_is_refused(
    named: str, path: str, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    LAYOUTS[named][0](tmp_path / "data")
    labels, image = NAMED[named]
    shutil.copy(tmp_path / LAYOUTS[named][1] / image, tmp_path / "data" / "outside.jpg")
    file = tmp_path / labels
    file.write_text(file.read_text().replace(image, path, 1))
    with pytest.raises(DataError, match=path):
        read(tmp_path, named)


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_matlab_file_that_names_a_file_outside_is_refused(path: str, tmp_path: Path) -> None:
    write_livec(tmp_path / "data")
    training = [f"t{n}.bmp" for n in range(1, 8)]
    names = cell([*training, path, *LIVEC_NAMES[1:]], (1169, 1))
    savemat(tmp_path / "data" / "Data" / "AllImages_release.mat", {"AllImages_release": names})
    with pytest.raises(DataError, match=path):
        read(tmp_path, "livec")


@pytest.mark.parametrize(
    ("root", "folder", "path", "stays"),
    [
        ("data", "data/set", "data/set/a.png", True),
        ("data", "data/set", "data/set/../../a.png", False),
        ("data", "data/set", "data/other/a.png", True),
        ("data", "data/set", "beside/a.png", False),
        ("set", "set", "beside/a.png", True),  # the root is the data set: its parts may lie beside
        ("set", "set", "set/../beside/a.png", False),
        ("up/../data", "up/../data/set", "up/../data/set/a.png", True),
    ],
)
def test_a_reader_of_a_plugin_that_joins_paths_blindly_is_held_too(
    root: str, folder: str, path: str, stays: bool, tmp_path: Path
) -> None:
    deep = tmp_path / "x" / "y"
    found = outside([deep / path], deep / root, deep / folder)
    assert found == (None if stays else deep / path)
    assert outside([Path("/etc/passwd")], deep / root, deep / folder) == Path("/etc/passwd")
