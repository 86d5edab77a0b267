"""``iqabench data check`` on the paper's data sets: what is missing, and what the paper says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from official_layouts import (
    KONIQ_SETS,
    write_koniq_images,
    write_koniq_sets,
    write_live,
    write_vcl,
    write_vcl_mat,
)
from support import write_config

from iqabench.cli import main

Check = Callable[..., int]


@pytest.fixture
def check(tmp_path: Path) -> Check:
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
    assert "  paper   CPRL, Table 3: it cites the reference of LIVE Challenge" in out
    assert check("koniq:labels=sets", "--json") == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["published_count"]["images"] is None


def test_a_missing_label_file_is_named_with_licence_and_source(
    check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_live(tmp_path / "data" / "databaserelease2", realigned=None)
    assert check("live") == 2
    first, second = capsys.readouterr().out.splitlines()
    assert "databaserelease2/dmos_realigned.mat is missing; it is a separate download" in first
    assert first.endswith("with live:labels=dmos")
    assert second.startswith("  licence free use, copies and changes with its notice")
    assert "from https://live.ece.utexas.edu/" in second
    assert check("live:labels=dmos") == 0
    out = capsys.readouterr().out
    assert "779 images, 29 scenes" in out
    assert "CPRL, Table 3: 799 images; a misprint of 779 distorted images; 808 with" in out
    assert "LIVE dmos.mat, dmos: 0..84.489, lower is better" in out


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "live",
            "folder databaserelease2 .*dmos.mat, refnames_all.mat .* get it from https://live",
        ),
        ("vcl", "folder VCL_FER with vcl_fer/ .*results.xls.* no redistribution"),
        ("livec", r"folder ChallengeDB_release with .* get it from \S*/research/ChallengeDB "),
        ("koniq", "koniq:labels=sets.* get it from https://database.mmsp-kn.de"),
    ],
)
def test_a_data_set_that_is_missing_says_what_is_expected_and_where_to_get_it(
    check: Check, capsys: pytest.CaptureFixture[str], name: str, expected: str
) -> None:
    assert check(name) == 2
    out = capsys.readouterr().out
    assert out.startswith(f"{name}: data set {name}: not found under ")
    assert re.search(expected, out)
    assert out.count("\n") == 1
