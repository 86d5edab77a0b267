from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iqabench import results
from iqabench.errors import OutputError, ResultsError
from iqabench.results import CellRecord, Columns

CELL: dict[str, Any] = {
    "core": 1,
    "dataset": {
        "name": "tiny",
        "version": 1,
        "identity": "iqabench/tiny@1",
        "fingerprint": "f" * 64,
        "labels": {"source": "x.csv", "low": 0.0, "high": 1.0, "higher_is_better": True},
        "resize": 32,
        "crop": 32,
    },
    "split": "5" * 64,
    "defense": {
        "spec": "resnet:dropout=0,pool=avg",
        "components": ["iqabench/resnet@1"],
        "weights_sha256": "0" * 64,
    },
    "attack": {
        "spec": "fgsm:objective=mse,threshold=0.5",
        "components": ["iqabench/fgsm@1"],
        "sources": {},
        "draws": None,
    },
    "eps_255": 4.0,
    "seed": 0,
    "score_draws": 1,
}
RECORD = CellRecord(
    cell=CELL,
    about={"defense": "resnet"},
    metrics={"srocc": {"value": 0.5, "low": 0.4, "high": None}, "n": 2},
    environment={"torch": "2.15.0"},
)
COLUMNS: Columns = {
    "image_id": ["a, b.png", 'q".png'],
    "scene": ["1", "2"],
    "mos": [0.1, 1 / 3],
    "psnr": [None, 48.1],
}


def test_the_key_is_pinned() -> None:
    """A change here orphans every file already written: raise SCHEMA and say so."""
    assert RECORD.key == PINNED


PINNED = "c2f45aa0cbc264d3"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("core",), 2),
        (("eps_255",), 8.0),
        (("seed",), 1),
        (("score_draws",), 5),
        (("split",), "6" * 64),
        (("dataset", "fingerprint"), "e" * 64),
        (("dataset", "crop"), 16),
        (("defense", "weights_sha256"), "1" * 64),
        (("defense", "components"), ["iqabench/resnet@2"]),
        (("attack", "spec"), "fgsm:objective=reflect,threshold=0.5"),
        (("attack", "components"), ["iqabench/fgsm@2"]),
        (("attack", "sources"), {"resnet": "2" * 64}),
        (("attack", "draws"), 10),
    ],
    ids=lambda x: ".".join(x) if isinstance(x, tuple) else "",
)
def test_whatever_can_change_a_number_changes_the_key(place: tuple[str, ...], value: Any) -> None:
    cell = json.loads(json.dumps(CELL))
    inner = cell
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    assert results.key_of(cell) != RECORD.key


def test_a_written_cell_reads_back_equal(tmp_path: Path) -> None:
    path = results.write_cell(tmp_path, RECORD, COLUMNS)
    read = results.read_cell(path)
    assert replace(read, columns=None) == RECORD
    assert results.read_columns(path, read) == COLUMNS
    assert results.is_complete(path)
    assert list(results.find_cells(tmp_path)) == [path]


def test_nan_is_refused_and_leaves_no_cell(tmp_path: Path) -> None:
    broken = replace(RECORD, metrics={"srocc": {"value": float("nan")}})
    with pytest.raises(ValueError, match="JSON compliant"):
        results.write_cell(tmp_path, broken, None)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def _edit(path: Path) -> None:
    path.write_text(path.read_text().replace('"eps_255": 4.0', '"eps_255": 1.0'))


def _without(name: str, value: object) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        document = json.loads(path.read_text())
        path.write_text(json.dumps(document | {name: value}))

    return edit


def _truncate(path: Path) -> None:
    path.write_text(path.read_text()[:100])


def _other_schema(path: Path) -> None:
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 99'))


def _no_object(path: Path) -> None:
    path.write_text("[]\n")


def _drop_field(path: Path) -> None:
    document = json.loads(path.read_text())
    del document["about"]
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_edit, "edited by hand"),
        (_truncate, "cannot be read"),
        (_other_schema, "schema 99 is newer than this iqabench, which reads up to 1"),
        (_no_object, "schema 'list'"),
        (_drop_field, "incomplete"),
        (_without("about", None), "about is no mapping"),
        (_without("columns", {}), "columns"),
        (_without("columns", "x.csv"), "columns is no mapping"),
        (_without("environment", "cpu"), "environment is no mapping"),
        (_without("metrics", None), "a finished cell has metrics"),
        (_without("cell", {}), "incomplete"),
    ],
)
def test_a_damaged_cell_is_refused_and_counts_as_missing(
    tmp_path: Path, damage: Any, message: str
) -> None:
    path = results.write_cell(tmp_path, RECORD, COLUMNS)
    damage(path)
    with pytest.raises(ResultsError, match=message):
        results.read_cell(path)
    assert not results.is_complete(path)


def test_edited_or_missing_columns_are_noticed(tmp_path: Path) -> None:
    path = results.write_cell(tmp_path, RECORD, COLUMNS)
    side = path.with_suffix(".csv")
    side.write_text(side.read_text().replace("48.1", "58.1"))
    with pytest.raises(ResultsError, match="does not match the hash"):
        results.read_columns(path, results.read_cell(path))
    side.unlink()
    assert not results.is_complete(path)


def test_saved_images_stay_when_what_stands_beside_them_changes(tmp_path: Path) -> None:
    images = [{"image_id": "a", "clean": "images/a.png", "attacked": "images/b.png"}]
    path = results.write_cell(tmp_path, replace(RECORD, images=images), COLUMNS)
    results.refresh_about(path, {**RECORD.about, "dataset_title": "another"})
    assert results.read_cell(path).images == images
    path.write_text(path.read_text().replace('"images": [', '"images": 3, "none": ['))
    with pytest.raises(ResultsError, match="images is no list"):
        results.read_cell(path)


def test_a_failed_cell_is_not_complete(tmp_path: Path) -> None:
    path = results.write_cell(tmp_path, replace(RECORD, status="failed", error="no"), None)
    assert not results.is_complete(path)


def test_a_crash_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = results.write_cell(tmp_path, RECORD, None)
    before = path.read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left on device"):
        results.write_cell(tmp_path, replace(RECORD, metrics={}), None)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_golden_file_of_schema_1_still_reads() -> None:
    path = Path(__file__).parent / "golden" / "schema1-cell.json"
    record = results.read_cell(path)
    assert record.status == "done"
    assert results.read_columns(path, record)["image_id"] == COLUMNS["image_id"]
