"""LIVE Challenge in its official layout, with made images under the real names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from official_layouts import LIVEC_NAMES, cell, livec_scores, write_livec
from scipy.io import savemat

from iqabench.datasets.livec import LIVEChallenge
from iqabench.errors import DataError
from iqabench.splits import make_split
from iqabench.testing import check_dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_livec(tmp_path / "ChallengeDB_release")


def test_the_seven_training_images_are_left_out_and_scores_stay_in_place(folder: Path) -> None:
    read = LIVEChallenge().read(folder)
    assert len(read.rows) == LIVEChallenge.expected_images == 1162
    assert [row.image_id for row in read.rows] == LIVEC_NAMES
    assert [row.mos * 100 for row in read.rows] == pytest.approx(livec_scores()[7:])
    assert all(row.path == folder / "Images" / row.image_id for row in read.rows)
    assert sum(row.path.suffix == ".JPG" for row in read.rows) == 627
    low, high = min(r.mos for r in read.rows), max(r.mos for r in read.rows)
    assert (low, high) == pytest.approx((0.0342, 0.92432))
    assert (read.labels.low, read.labels.high, read.labels.higher_is_better) == (0, 100, True)
    assert not read.has_scenes
    assert not read.has_official_split
    split = make_split("livec", read, seed=0)
    assert (len(split.train), len(split.test)) == (930, 232)


def test_the_spread_of_the_answers_is_read_where_it_is_there(folder: Path) -> None:
    spreads = [row.spread for row in LIVEChallenge().read(folder).rows]
    assert spreads == pytest.approx((np.linspace(10.0, 30.0, 1169) / 100)[7:].tolist())
    path = folder / "Data" / "AllStdDev_release.mat"
    savemat(path, {"AllStdDev_release": np.full((1, 1162), 18.0)})
    assert {row.spread for row in LIVEChallenge().read(folder).rows} == {None}
    path.unlink()
    assert {row.spread for row in LIVEChallenge().read(folder).rows} == {None}


@pytest.mark.parametrize(
    "place", ["ChallengeDB_release", "LIVEC", "LIVE_Challenge", "livec/challengedb_release", "."]
)
def test_every_known_folder_is_found(folder: Path, tmp_path: Path, place: str) -> None:
    target = tmp_path / "root" / place
    target.mkdir(parents=True)
    for path in folder.iterdir():
        (target / path.name).symlink_to(path)
    assert LIVEChallenge().locate(tmp_path / "root") == target


def test_names_are_compared_without_case(folder: Path) -> None:
    (folder / "Images" / "533.JPG").rename(folder / "Images" / "533.jpg")
    (folder / "Images").rename(folder / "images")
    (folder / "Data").rename(folder / "data")
    rows = LIVEChallenge().read(folder).rows
    assert rows[530].path.name == "533.jpg"
    assert rows[530].image_id == "533.JPG"


def test_names_without_training_images_are_read(folder: Path) -> None:
    before = LIVEChallenge().read(folder)
    names = cell(LIVEC_NAMES, (1162, 1))
    savemat(folder / "Data" / "AllImages_release.mat", {"AllImages_release": names})
    savemat(folder / "Data" / "AllMOS_release.mat", {"AllMOS_release": livec_scores()[7:]})
    spreads = np.linspace(10.0, 30.0, 1169)[7:]
    savemat(folder / "Data" / "AllStdDev_release.mat", {"AllStdDev_release": spreads})
    assert LIVEChallenge().read(folder) == before


@pytest.mark.parametrize("place", ["ChallengeDB_release", "."])
def test_label_files_may_also_lie_beside_or_above_the_images(folder: Path, place: str) -> None:
    for path in (folder / "Data").iterdir():
        path.rename(folder.parent / place / path.name)
    (folder / "Data").rmdir()
    found = LIVEChallenge().locate(folder.parent)
    assert found == folder
    assert len(LIVEChallenge().read(found).rows) == 1162


def test_images_of_another_data_set_are_not_livec(folder: Path) -> None:
    (folder / "Data").rename(folder.parent / "Elsewhere")
    assert LIVEChallenge().locate(folder.parent) == folder
    folder.rename(folder.parent / "biq2021")
    assert LIVEChallenge().locate(folder.parent) is None
    assert LIVEChallenge().locate(folder.parent / "biq2021") is None


def _no_data(folder: Path) -> None:
    (folder / "Data").rename(folder / "x")


def _training_images_last(folder: Path) -> None:
    names = cell([*LIVEC_NAMES, *(f"t{n}.bmp" for n in range(1, 8))], (1169, 1))
    savemat(folder / "Data" / "AllImages_release.mat", {"AllImages_release": names})


def _text_scores(folder: Path) -> None:
    scores = cell(["x"] * 1169, (1, 1169))
    savemat(folder / "Data" / "AllMOS_release.mat", {"AllMOS_release": scores})


def _no_scores(folder: Path) -> None:
    (folder / "Data" / "AllMOS_release.mat").unlink()


def _no_names(folder: Path) -> None:
    (folder / "Data" / "AllImages_release.mat").unlink()


def _without_training(folder: Path) -> None:
    savemat(folder / "Data" / "AllMOS_release.mat", {"AllMOS_release": livec_scores()[7:]})


def _no_images(folder: Path) -> None:
    (folder / "Images").rename(folder / "Pictures")


def _lose_images(folder: Path) -> None:
    for name in ("3.bmp", "100.bmp", "1124.JPG"):
        (folder / "Images" / name).unlink()


def _numbers_for_names(folder: Path) -> None:
    made = np.empty((3, 1), dtype=object)
    made[:, 0] = [np.array([1, 2])] * 3
    savemat(folder / "Data" / "AllImages_release.mat", {"AllImages_release": made})


def _beyond(folder: Path) -> None:
    scores = [*livec_scores()[:-1], 120.0]
    savemat(folder / "Data" / "AllMOS_release.mat", {"AllMOS_release": scores})


def _twice(folder: Path) -> None:
    names = cell(["t1.bmp"] * 7 + [*LIVEC_NAMES[:-1], "3.bmp"], (1169, 1))
    savemat(folder / "Data" / "AllImages_release.mat", {"AllImages_release": names})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_scores, "Data/AllMOS_release.mat is missing; it is part of the release"),
        (_no_names, "Data/AllImages_release.mat is missing; it is part of the release"),
        (_no_data, "Data/AllImages_release.mat is missing; .*Data/AllMOS_release.mat is missing"),
        (_training_images_last, "has the training image 't7.bmp' as entry 1169, but they head the"),
        (_text_scores, "AllMOS_release.mat: 'AllMOS_release' holds 'x', but numbers should be"),
        (_without_training, "names 1169 images and AllMOS_release.mat has 1162 scores"),
        (_no_images, "its image folder .*Images is missing"),
        (_lose_images, "3 of 1162 listed images are not in .*: '3.bmp', '100.bmp', '1124.JPG'"),
        (
            _numbers_for_names,
            "'AllImages_release' holds 2 values in one of its cells, but texts should",
        ),
        (_beyond, "label of '1164.bmp' maps to 1.2, outside"),
        (_twice, "'3.bmp' is listed more than once"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_a_line(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    assert LIVEChallenge().locate(folder) == folder
    with pytest.raises(DataError, match=message) as caught:
        LIVEChallenge().read(folder)
    assert str(caught.value).startswith(("livec: ", "LIVE Challenge "))
    assert "\n" not in str(caught.value)


def test_livec_keeps_the_contract(folder: Path) -> None:
    check_dataset(LIVEChallenge, folder.parent)
