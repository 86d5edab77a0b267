"""Files of schema 1, as they were written when it began: every kind that people keep still reads.

They are never written anew. A change of meaning raises the schema, keeps its reader and adds files.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iqabench.api import LabelMap, Row, Table
from iqabench.cli.setup import request_of
from iqabench.config import load_benchmark
from iqabench.keeping import read_png
from iqabench.leaderboard.load import load_board
from iqabench.leaderboard.manifest import read_manifest
from iqabench.leaderboard.run_files import read_run_files
from iqabench.rescoring import find_kept
from iqabench.results import READERS, SCHEMA
from iqabench.splits import load_split
from iqabench.verifying import verify

GOLDEN = Path(__file__).parent / "golden"
RUN = GOLDEN / "schema1-run"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_schema_has_a_reader_and_golden_files() -> None:
    assert set(READERS) == set(range(1, SCHEMA + 1))
    for schema in READERS:
        assert (GOLDEN / f"schema{schema}-run").is_dir()


def test_every_document_says_its_schema() -> None:
    documents = [*RUN.rglob("*.json"), GOLDEN / "schema1-merged.json"]
    assert len(documents) > 8
    assert {json.loads(path.read_text())["schema"] for path in documents} == {1}


def test_cells_and_their_columns_give_the_leaderboard_that_was_shown() -> None:
    [group] = load_board(RUN).groups
    [entry] = group.entries
    shown = json.loads((RUN / "leaderboard.json").read_text())["datasets"][0]["entries"][0]
    assert entry.clean is not None
    assert entry.clean.srocc == shown["clean"]["srocc"]["value"]
    assert list(entry.attacked) == [("fgsm:objective=mse,threshold=0.5", 1.0)]


def test_a_run_is_sound() -> None:
    report = verify(RUN, lambda done, total: None)
    assert (report.cells, report.images, report.problems, report.missing) == (2, 1, [], [])


def test_cards_and_audits_are_shown() -> None:
    found = read_run_files(load_board(RUN))
    assert found.remarks == ()
    assert len(found.cards) == len(found.audits) == 1
    assert found.audits[0]["defense"] == "const"


def test_a_split_is_used_again() -> None:
    document = json.loads((RUN / "splits" / "biq2021.json").read_text())
    names = [*document["train"], *document["test"]]
    table = Table([Row(n, Path(n), 0.5) for n in names], LabelMap("x", 0, 1))
    split = load_split(RUN / "splits" / "biq2021.json", "biq2021", table)
    assert (len(split.train), len(split.test)) == (24, 12)


def test_a_request_is_a_benchmark_of_today() -> None:
    benchmark = load_benchmark(None, {}, request_of(RUN))
    assert benchmark.attacks == ["fgsm"]
    assert benchmark.recipes["tiny"].crop == 32


def test_kept_images_are_found() -> None:
    [kept] = find_kept(RUN)
    assert read_png(kept.attacked[0]).shape == (32, 32, 3)


def test_a_list_of_merged_runs_reads() -> None:
    merged = read_manifest(GOLDEN / "schema1-merged.json")
    assert merged is not None
    assert len(merged["runs"]) == 2
