"""``iqabench data check`` on the paper's data sets: what is missing, and what the paper says."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from official_layouts import (
    KONIQ_SETS,
    write_images,
    write_koniq_images,
    write_koniq_sets,
    write_live,
    write_livec,
    write_vcl,
    write_vcl_mat,
)
from support import write_biq2021, write_config

from iqabench.api import Dataset
from iqabench.cli import main
from iqabench.datasets.live import LIVE
from iqabench.planning import all_datasets
from iqabench.progress import Reporter
from iqabench.registry import Named

Check = Callable[..., int]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    def without_demo(reporter: Reporter) -> Iterator[Named[Dataset]]:
        """Making it takes long, and it is never missing."""
        return (named for named in all_datasets(reporter) if not named.component.makes_itself)

    monkeypatch.setattr("iqabench.cli.data.all_datasets", without_demo)
    config = write_config(tmp_path / "tiny.yaml")
    (tmp_path / "data").mkdir()

    def run(*flags: str) -> int:
        places = ["--data-root", str(tmp_path / "data"), "--store", str(tmp_path / "store")]
        return main(["data", "check", *flags, "--config", str(config), *places])

    return run


def test_counts_of_the_paper_stand_beside_what_was_found(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_vcl(tmp_path / "data" / "VCL_FER")
    write_vcl_mat(folder / "VCL_FER.mat")
    assert check("vcl") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "vcl: 552 images, 23 scenes, all of them readable"
    assert (
        "  paper   CPRL, Table 3: 575 images; 552 distorted images and the 23 references, which are"
        " left out here"
    ) in out
    assert out[-1].startswith("  licence research only, no redistribution")
    assert out[-1].endswith("from http://www.vcl.fer.hr/quality")


def test_a_part_of_koniq_is_counted_and_its_erratum_told(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_koniq_images(tmp_path / "data" / "koniq10k" / "512x384")
    write_koniq_sets(tmp_path / "data" / "koniq10k" / KONIQ_SETS)
    assert check("koniq:labels=sets") == 0
    out = capsys.readouterr().out
    assert "koniq: 20 images of the 10073 of the whole data set, all of them readable" in out
    assert "koniq10k_distributions_sets.csv, column MOS: 0..100, higher is better" in out
    assert "official: 16 train, 4 test" in out
    assert (
        "paper   CPRL, Table 3: its number is not on record here; the release has 10073; it" in out
    )
    assert check("koniq:labels=sets", "--json") == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["published_count"]["images"] is None


def said(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], str]:
    """Return the lines of what was found, and the one line of what is wrong."""
    out, err = capsys.readouterr()
    # The others say how long a slow machine took for the images.
    (line,) = (line for line in err.splitlines() if line.startswith("iqabench: "))
    assert "Traceback" not in err
    return out.splitlines(), line


def test_a_missing_label_file_is_one_line_beside_count_licence_and_source(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_live(tmp_path / "data" / "databaserelease2", realigned=None)
    assert check("live") == check() == 2
    assert check("live", "--json") == 2
    out, err = capsys.readouterr()
    assert len(set(err.splitlines())) == 1  # named or not, in JSON or not
    assert err.startswith(f"iqabench: live: {folder}/dmos_realigned.mat is missing; it is a separa")
    assert err.endswith("with live:labels=dmos\n")
    assert out.splitlines()[:2] == ["live: cannot be used", f"  folder  {folder}"]
    assert "  paper   CPRL, Table 3: 799 images; a misprint of 779 distorted images; 808" in out
    assert "  licence free use, copies and changes with its notice; " in out
    assert check("live:labels=dmos") == 0
    out, err = capsys.readouterr()
    assert "779 images, 29 scenes" in out
    assert "LIVE dmos.mat, dmos: 0..84.489, lower is better" in out
    assert "iqabench: " not in err


def test_livec_is_checked_with_all_that_is_known(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_livec(tmp_path / "data" / "ChallengeDB_release")
    (folder / "Images" / "Thumbs.db").write_bytes(b"what a file manager leaves behind")
    assert check("livec") == 0
    assert capsys.readouterr().out.splitlines() == [
        "livec: 1162 images, all of them readable",
        f"  folder  {folder}",
        "  labels  LIVE Challenge AllMOS_release.mat: 0..100, higher is better; mos 0.034..0.924,"
        " mean 0.479",
        "  split   4:1 by image, seed 0: 930 train, 232 test",
        "  paper   CPRL, Table 3: its number is not on record here; the release has 1162",
        "  licence free use, copies and changes with its notice; by a form on its page; from"
        " https://live.ece.utexas.edu/research/ChallengeDB",
    ]


def test_damaged_images_are_named_beside_what_was_read(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_livec(tmp_path / "data" / "ChallengeDB_release") / "Images"
    (images / "500.bmp").write_bytes(b"")
    whole = (images / "600.JPG").read_bytes()
    (images / "600.JPG").write_bytes(whole[: len(whole) // 2])
    assert check("livec") == 2
    out, err = said(capsys)
    assert out[0] == "livec: 1162 images"
    assert out[3].startswith("  split   4:1 by image")
    assert err.startswith("iqabench: livec: 2 of 1162 images cannot be read: ")
    assert "500.bmp" in err
    assert "600.JPG" in err


@pytest.mark.parametrize("name", ["koniq", "koniq:labels=sets"])
def test_a_part_without_test_images_is_read_and_the_split_is_what_is_wrong(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    home = tmp_path / "data" / "koniq10k"
    write_koniq_images(home / "512x384")
    write_koniq_sets(home / KONIQ_SETS)
    rows = [line for line in (home / KONIQ_SETS).read_text().splitlines() if line[-4:] != "test"]
    (home / KONIQ_SETS).write_text("\n".join(rows))
    assert check(name) == 2
    out, err = said(capsys)
    assert out[0] == "koniq: 16 images of the 10073 of the whole data set"
    assert out[2].startswith(f"  labels  KonIQ-10k {KONIQ_SETS}, column MOS: 0..100, higher is")
    assert "split of koniq (official): this part of the data set holds no image of the offic" in err
    assert check(name, "--json") == 2
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["status"], report["images"]) == ("wrong", 16)
    assert "no image of the official test set" in report["problem"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "live",
            "folder databaserelease2 .*dmos.mat, refnames_all.mat .* get it from https://live",
        ),
        ("vcl", "folder VCL_FER with vcl_fer/ .*results.xls.* no redistribution"),
        ("livec", r"folder ChallengeDB_release with .* get it from \S*/research/ChallengeDB "),
        ("koniq", f"{KONIQ_SETS}; get it from https://database.mmsp-kn.de"),
    ],
)
def test_a_data_set_that_is_missing_says_what_is_expected_and_where_to_get_it(
    check: Check, capsys: pytest.CaptureFixture[str], name: str, expected: str
) -> None:
    assert check(name) == 2
    out, err = said(capsys)
    assert err.startswith(f"iqabench: data set {name}: not found under ")
    assert re.search(expected, err)
    assert out[0] == f"{name}: not found"
    assert out[1].startswith("  paper   CPRL, Table 3: ")


def test_what_was_not_asked_for_may_be_missing(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_biq2021(tmp_path / "data")
    assert check() == 0
    out, err = capsys.readouterr()
    assert "biq2021: 36 images of the 12000 of the whole data set, all of them readable" in out
    for name in ("koniq", "live", "livec", "vcl"):
        assert out.count(f"data set {name}: not found under ") == 1
        assert f"\n{name}: " not in out
    assert "iqabench: " not in err


def _live_without_wn(root: Path) -> None:
    shutil.rmtree(write_live(root / "databaserelease2") / "wn")


def _livec_without_data(root: Path) -> None:
    shutil.rmtree(write_livec(root / "ChallengeDB_release") / "Data")


def _koniq_without_labels(root: Path) -> None:
    write_koniq_images(root / "koniq10k" / "1024x768")


def _vcl_without_images(root: Path) -> None:
    (root / "VCL_FER").mkdir()
    write_vcl_mat(root / "VCL_FER" / "VCL_FER.mat")


def _vcl_with_references_alone(root: Path) -> None:
    write_images(root / "VCL_FER" / "vcl_fer", ["IMG_01.bmp", "IMG_02.bmp"])


def _biq2021_without_one_side(root: Path) -> None:
    (write_biq2021(root) / "Test (Images and MOS).csv").unlink()


@pytest.mark.parametrize(
    ("write", "line"),
    [
        (_live_without_wn, "live: .*databaserelease2 lacks the images in wn; unpack"),
        (_livec_without_data, "livec: .*AllImages_release.mat is missing; .*AllMOS_release.mat is"),
        (_koniq_without_labels, f"koniq: .*{KONIQ_SETS} is missing; get it from the page of"),
        (_vcl_without_images, "vcl: no distorted image such as IMG_01_AWGN_1.bmp is in .*vcl_fer"),
        (_vcl_with_references_alone, "vcl: no label file is in .*; no distorted image such as"),
        (_biq2021_without_one_side, "biq2021: label file .*Test .* is missing; it is part of"),
    ],
)
def test_a_data_set_that_is_there_in_part_is_wrong_also_if_not_asked_for(
    check: Check,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    write: Callable[[Path], None],
    line: str,
) -> None:
    write(tmp_path / "data")
    assert check() == 2
    out, err = said(capsys)
    assert re.match(f"iqabench: {line}", err)
    name = err.split()[1]
    assert f"{name} cannot be used" in out
    assert not any(text.startswith(f"data set {name}") for text in out)


def test_a_folder_that_must_not_be_looked_into_is_said_in_a_line(
    check: Check,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def locate(self: LIVE, root: Path) -> Path | None:
        raise PermissionError(13, "Permission denied", str(root / "live"))

    monkeypatch.setattr(LIVE, "locate", locate)
    message = f"data set live in {tmp_path / 'data'} cannot be read: PermissionError: "
    for flags in (["live"], []):
        assert check(*flags) == 2
        _, err = said(capsys)
        assert err.startswith(f"iqabench: {message}")
    places = ["--data-root", str(tmp_path / "data"), "--store", str(tmp_path / "store")]
    assert main(["data", "list", *places]) == 0
    out, err = capsys.readouterr()
    assert f"warning: {message}" in err
    assert "LIVE" in out or "live" in out
    assert main(["run", "--dataset", "live", "--dry-run", *places]) == 2
    assert message in capsys.readouterr().err
