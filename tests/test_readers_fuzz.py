"""Readers of text that people write: whatever they are given, they raise our own errors alone."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from iqabench.api import DataError, LabelMap, Row, Table, read_csv, read_mat, read_number
from iqabench.config import load_benchmark, read_yaml
from iqabench.contracts.attack import Attack
from iqabench.errors import ConfigError, IqabenchError, ResultsError
from iqabench.planning import attack
from iqabench.registry import Named
from iqabench.results import read_cell
from iqabench.splits import load_split

SHARED = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates()
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(["eps", "attacks", "seeds", "recipes", "datasets", "device", "images"])
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=6)
TABLE = Table([Row(n, Path(n), 0.5) for n in ("a", "b", "c")], LabelMap("x", 0, 1))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@SHARED
@given(st.text(max_size=60))
@example("eps: 0o17e+\n")
@example("&a [*a]")
@example("=: =")
@example("<<: 3")
@example("? [a]\n: b")
def test_any_text_is_a_mapping_or_no_yaml(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(read_yaml(text, "x"), dict)


@SHARED
@given(st.dictionaries(FIELDS, DOCUMENTS, max_size=3))
def test_any_document_is_a_benchmark_or_refused(tmp_path: Path, document: object) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    with contextlib.suppress(IqabenchError):
        benchmark = load_benchmark(path, {})
        again = load_benchmark(None, {}, benchmark.model_dump(mode="json"))
        assert again.model_dump(mode="json") == benchmark.model_dump(mode="json")


@SHARED
@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_a_table_or_refused(tmp_path: Path, data: bytes, mat: bool) -> None:
    path = tmp_path / "labels"
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        if mat:
            read_mat(path, "dmos", source="x")
        else:
            assert all("a" in row for row in read_csv(path, "a", source="x", separators=",;"))


@SHARED
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_a_table_that_was_written_is_read_again_stripped(
    tmp_path: Path, rows: list[tuple[str, str]]
) -> None:
    path, file = tmp_path / "labels.csv", io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([("image", "MOS"), *rows])
    path.write_bytes(file.getvalue().encode())
    stripped = [(image.strip(), mos.strip()) for image, mos in rows]
    with contextlib.suppress(DataError):  # a field that is empty
        found = [(row["image"], row["MOS"]) for row in read_csv(path, "image", "MOS", source="x")]
        assert found == [row for row in stripped if any(row)]


@SHARED
@given(st.text(max_size=12))
def test_any_text_is_a_finite_number_or_refused(text: str) -> None:
    with contextlib.suppress(DataError):
        assert abs(read_number(text, source="x")) < float("inf")


@SHARED
@given(st.text(max_size=20), st.sampled_from(["fgsm", "pgd", "apgd", "art", "square"]))
def test_any_arguments_make_an_attack_or_are_refused(rest: str, name: str) -> None:
    with contextlib.suppress(IqabenchError):
        made: Named[Attack] = attack(f"{name}:{rest}")
        assert attack(made.canonical) == made


@SHARED
@given(DOCUMENTS, st.sampled_from(["schema", "dataset", "train", "test"]))
@example([], "train")
@example({"a": "b"}, "test")
def test_any_json_is_a_split_or_refused(tmp_path: Path, value: object, key: str) -> None:
    document = {"schema": 1, "dataset": "x", "origin": "y", "train": ["a"], "test": ["b"]}
    path = tmp_path / "split.json"
    path.write_text(json.dumps({**document, key: value}, default=str), encoding="utf-8")
    with contextlib.suppress(DataError):
        split = load_split(path, "x", TABLE)
        assert {r.image_id for r in (*split.train, *split.test)} <= {"a", "b", "c"}


GOLDEN = json.loads((Path(__file__).parent / "golden" / "schema1-cell.json").read_text())


@SHARED
@given(st.sampled_from(sorted(GOLDEN)), DOCUMENTS)
def test_any_field_of_a_cell_file_is_read_or_refused(
    tmp_path: Path, key: str, value: object
) -> None:
    path = tmp_path / "cell.json"
    text = json.dumps({**GOLDEN, key: value}, default=str)
    path.write_text(text, encoding="utf-8")
    with contextlib.suppress(ResultsError):
        assert read_cell(path).key == GOLDEN["key"]
