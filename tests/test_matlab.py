"""MATLAB files: what scipy reads, and what kills it."""

from __future__ import annotations

import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from official_layouts import cell
from scipy.io import loadmat, savemat
from scipy.sparse import csr_matrix

from iqabench.contracts.label_files import read_mat
from iqabench.contracts.matlab import LIMIT
from iqabench.errors import DataError

SCORES = np.random.default_rng(0).uniform(0, 100, (1, 40))
TYPE_OF_NUMBERS = 184  # where the tag of the numbers of a variable "dmos_new" begins
REAL = Path(scipy.io.__file__).parent / "matlab" / "tests" / "data"
"""Files that MATLAB wrote, on machines of both byte orders; not every scipy brings them."""
REAL_FILES = [
    *(f"test{kind}_6.5.1_GLNX86" for kind in ("double", "cell", "string", "3dmatrix")),
    *(f"test{kind}_7.4_GLNX86" for kind in ("matrix", "stringarray", "cell", "cellnest")),
    *(f"test{kind}_6.1_SOL2" for kind in ("double", "stringarray", "cellnest", "complex")),
    "big_endian",
    "little_endian",
    "miutf8_array_name",
    "testdouble_4.2c_SOL2",
    "teststring_4.2c_SOL2",
]
VALUES: dict[str, Any] = {
    "doubles": SCORES,
    "column": SCORES.T,
    "table": np.arange(6.0).reshape(2, 3),
    "box": np.arange(24.0).reshape(2, 3, 4),
    "bytes": np.arange(5, dtype=np.uint8),
    "shorts": np.array([[-3, 300]], dtype=np.int16),
    "longs": np.array([[-3, 2**40]], dtype=np.int64),
    "singles": np.array([[0.5, -1.5]], dtype=np.float32),
    "logical": np.array([[True, False]]),
    "nothing": np.zeros((0, 3)),
    "names": cell(["img1.bmp", "größe.bmp"], (1, 2)),
    "cells": cell([f"{n}.JPG" for n in range(6)], (3, 2)),
    "nested": cell([cell(["a"], (1, 1)), 2.0], (2, 1)),
    "rows": np.array(["a.bmp", "bcd.bmp"]),
}


def flat(array: Any) -> list[Any]:
    """What ``read_mat`` promises, made from what scipy returns."""

    def plain(value: Any) -> Any:
        while hasattr(value, "item"):
            value = value.item()
        return value.strip() if isinstance(value, str) else float(value)

    return [plain(value) for value in array.flat]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "labels.mat"
    savemat(made, {"dmos_new": SCORES, "refs": cell(["a.bmp"] * 40, (1, 40))})
    return made


def refused(path: Path, *names: str) -> str:
    """Return the line that says why a file is not read."""
    with pytest.raises(DataError) as caught:
        read_mat(path, *names, source="live")
    line = str(caught.value)
    assert line.startswith(f"live: {path}")
    assert "\n" not in line
    return line


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", VALUES)
def test_values_are_those_that_scipy_reads(tmp_path: Path, name: str, compressed: bool) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"before": 1.0, name: VALUES[name]}, do_compression=compressed)
    assert read_mat(path, name, source="x") == {name: flat(loadmat(path)[name])}


def test_values_are_in_rows_and_of_plain_types(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    savemat(path, VALUES)
    read = read_mat(path, *VALUES, source="x")
    assert read["table"] == [0, 1, 2, 3, 4, 5]
    assert read["cells"] == [f"{n}.JPG" for n in range(6)]
    assert read["names"] == ["img1.bmp", "größe.bmp"]
    assert {type(value) for value in read["logical"] + read["bytes"]} == {float}


@pytest.mark.skipif(not REAL.is_dir(), reason="this scipy comes without its test files")
@pytest.mark.parametrize("name", REAL_FILES)
def test_files_that_matlab_wrote_are_read_as_scipy_reads_them(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = {k: v for k, v in loadmat(REAL / f"{name}.mat").items() if k[:2] != "__"}
    for variable, array in known.items():
        try:
            wanted = flat(array)
        except (TypeError, ValueError):
            refused(REAL / f"{name}.mat", variable)
        else:
            assert read_mat(REAL / f"{name}.mat", variable, source="live")[variable] == wanted


def test_a_wrong_byte_is_an_error_and_not_the_end_of_the_process(path: Path) -> None:
    """With this byte, scipy 1.15's ``loadmat`` ends in a segmentation fault."""
    data = bytearray(path.read_bytes())
    assert data[TYPE_OF_NUMBERS] == 9
    data[TYPE_OF_NUMBERS] = 157
    path.write_bytes(data)
    code = (
        "import pathlib, sys; from iqabench.api import read_mat\n"
        "try: read_mat(pathlib.Path(sys.argv[1]), 'dmos_new', source='live')\n"
        "except Exception as e: print(type(e).__name__, e)"
    )
    ended = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert ended.returncode == 0
    assert ended.stdout == (
        f"DataError live: {path} is damaged: data of type 157 stands where the numbers of a"
        " variable should; download it again, or save it in MATLAB with -v7\n"
    )


@pytest.mark.parametrize("compressed", [False, True])
def test_no_damage_raises_anything_but_a_data_error(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.mat"
    values = {"dmos_new": SCORES, "refs": cell(["a.bmp"] * 40, (1, 40))}
    savemat(path, values, do_compression=compressed)
    whole = path.read_bytes()
    cut = [whole[:n] for n in range(0, len(whole), 29)]
    rng = np.random.default_rng(0)
    changed = []
    for place in range(100, min(len(whole), 700)):
        for value in (255, int(rng.integers(256))):
            changed.append(whole[:place] + bytes([value]) + whole[place + 1 :])
    outcomes = set()
    for data in cut + changed:
        path.write_bytes(data)
        try:
            read = read_mat(path, *values, source="live")
            outcomes.add("read")
            assert all(isinstance(v, (float, str)) for column in read.values() for v in column)
        except DataError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no MATLAB file"),
        (b"<html>" * 100, "is no MATLAB file"),
        (b"\0\0\0\0" * 50, "is no MATLAB file"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + b"\0" * 400, "of version 7.3, not 4 to"),
        (b"MATLAB 9".ljust(124) + b"\0\3IM", "of the unknown level 0x0300"),
    ],
)
def test_what_is_no_such_file_is_said_with_what_to_do(
    path: Path, data: bytes, message: str
) -> None:
    path.write_bytes(data)
    line = refused(path, "dmos_new")
    assert message in line
    assert line.endswith("; download it again, or save it in MATLAB with -v7")


def test_a_file_that_ends_too_early_is_said_to_be_damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])
    assert "is damaged: 20 bytes that are announced are not there; download" in refused(
        path, "refs"
    )
    path.write_bytes(path.read_bytes()[:132])
    assert "is damaged: it ends within a tag; download" in refused(path, "refs")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (csr_matrix(np.eye(3)), "'v' holds neither real numbers nor texts"),
        ({"a": 1}, "'v' holds neither real numbers nor texts"),
        (np.array([1 + 2j]), "'v' holds neither real numbers nor texts"),
        (cell([np.array([1.0, 2.0])], (1, 1)), "'v' holds 2 values in one of its cells"),
    ],
)
def test_a_variable_of_another_kind_is_named(path: Path, value: Any, found: str) -> None:
    savemat(path, {"v": value})
    assert refused(path, "v") == f"live: {path}: {found}, but numbers or texts should be there"


def test_numbers_and_texts_are_kept_apart_where_only_one_makes_sense(path: Path) -> None:
    assert read_mat(path, "dmos_new", source="live", holds=float)["dmos_new"] == flat(SCORES)
    with pytest.raises(DataError, match=r"'refs' holds 'a.bmp', but numbers should be there; take"):
        read_mat(path, "refs", source="live", holds=float)
    with pytest.raises(DataError, match=r"'dmos_new' holds '\d+\.\d*', but texts should be there"):
        read_mat(path, "dmos_new", source="live", holds=str)


def test_a_missing_variable_is_named_beside_those_that_are_there(path: Path) -> None:
    assert refused(path, "dmos").endswith(
        ": expected the variable 'dmos', found 'dmos_new', 'refs'"
    )


def test_a_small_file_that_unpacks_into_a_huge_one_is_refused(path: Path) -> None:
    packed = zlib.compress(b"\0" * (LIMIT + 1))
    tag = np.array([15, len(packed)], "<u4").tobytes()
    path.write_bytes(path.read_bytes()[:128] + tag + packed)
    assert f"a compressed variable has more than {LIMIT} bytes" in refused(path, "dmos_new")


def test_version_4_is_read_as_well(path: Path) -> None:
    savemat(path, {"dmos": SCORES, "z": np.array([[1j]])}, format="4")
    assert read_mat(path, "dmos", source="live")["dmos"] == flat(SCORES)
    assert "'z' holds neither real numbers nor texts" in refused(path, "z")
