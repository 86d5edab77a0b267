from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from leaderboard_runs import FakeRow

from iqabench.cli import main
from iqabench.errors import OutputError, ResultsError
from iqabench.leaderboard.load import load_board
from iqabench.leaderboard.manifest import replace_folder
from iqabench.leaderboard.merged_runs import Merged, check_out, merge_runs, write_merged
from iqabench.leaderboard.tables import remarks, to_csv, to_json
from iqabench.results import find_cells, read_cell

MOVED = (4, 3, 2, 1, -1, -2, -3, -4.5)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that share the reference and its attack; each has a defense of its own."""
    folder = tmp_path_factory.mktemp("made")
    for name, defense in (("a", "cprl"), ("b", "lwta")):
        row = FakeRow(folder / name, reference=True)
        row.write()
        row.write("fgsm", 4.0, MOVED)
        other = row.but(defense=defense, reference=False, weights=defense * 8)
        other.write()
        other.write("fgsm", 4.0, [0.5 * x for x in MOVED])
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> tuple[FakeRow, FakeRow]:
    """A copy of both runs, with their reference rows."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    a, b = (FakeRow(tmp_path / name, reference=True) for name in ("a", "b"))
    return a, b


def merge(out: Path, *given: Path) -> Merged:
    """Merge as the command does, with one table alone."""
    merged = merge_runs(given)

    def finish(folder: Path) -> None:
        (folder / "leaderboard.csv").write_text(to_csv(merged.board))

    write_merged(out, merged, finish)
    return merged


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_merged_folder_is_a_run_whatever_the_order_of_the_runs(
    runs: tuple[FakeRow, FakeRow], tmp_path: Path
) -> None:
    a, b = runs
    b.but(seconds=9.0).write()
    merged = merge(tmp_path / "m", a.run, b.run)
    assert [entry.label for entry in merged.board.entries] == ["cprl", "lwta", "resnet"]
    assert len(list(find_cells(tmp_path / "m"))) == 6
    board = load_board(tmp_path / "m")
    assert to_json(board) == to_json(merged.board)
    assert to_csv(board) == (tmp_path / "m" / "leaderboard.csv").read_text()
    assert not any("Merged" in remark for remark in remarks(board.groups[0]))
    merge(tmp_path / "n", b.run, a.run)
    assert contents(tmp_path / "n") == contents(tmp_path / "m")
    merge(tmp_path / "m", b.run, a.run)
    assert contents(tmp_path / "n") == contents(tmp_path / "m")
    merge(tmp_path / "again", tmp_path / "m", a.run)
    cells = find_cells(tmp_path / "m")
    assert [p.name for p in find_cells(tmp_path / "again")] == [p.name for p in cells]


def test_one_run_may_be_written_elsewhere(runs: tuple[FakeRow, FakeRow], tmp_path: Path) -> None:
    merge(tmp_path / "m", runs[0].run)
    assert to_csv(load_board(tmp_path / "m")) == to_csv(load_board(runs[0].run))


@pytest.mark.parametrize("swapped", [False, True])
def test_rounding_is_looked_over_and_said(
    runs: tuple[FakeRow, FakeRow], tmp_path: Path, swapped: bool
) -> None:
    a, b = runs
    b.write("fgsm", 4.0, [x + 3e-8 for x in MOVED])
    merge(tmp_path / "m", *((b.run, a.run) if swapped else (a.run, b.run)))
    (group,) = load_board(tmp_path / "m").groups
    assert any("differ by rounding (at most 1e-6) in 1 cell;" in r for r in remarks(group))
    merge(tmp_path / "again", tmp_path / "m")
    (group,) = load_board(tmp_path / "again").groups
    assert group.rounded == 1
    (cell,) = [p for p in find_cells(tmp_path / "m") if "fgsm" in p.name and "resnet" in str(p)]
    stated = [r.run / cell.relative_to(tmp_path / "m") for r in runs]
    assert cell.read_bytes() == min(path.read_bytes() for path in stated)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_failed_cell_gives_way_to_a_finished_one(
    runs: tuple[FakeRow, FakeRow], tmp_path: Path, swapped: bool
) -> None:
    failing, finished = reversed(runs) if swapped else runs
    path = failing.write("fgsm", 4.0, error="BudgetError: one image left the ball")
    path.with_suffix(".csv").unlink()
    merge(tmp_path / "m", failing.run, finished.run)
    merged = tmp_path / "m" / path.relative_to(failing.run)
    assert read_cell(merged).status == "done"
    assert merged.with_suffix(".csv").exists()


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _other_logits(row: FakeRow) -> None:
    row.write("fgsm", 4.0, [x + 0.01 for x in MOVED])


def _other_images(row: FakeRow) -> None:
    row.write("fgsm", 4.0, MOVED, ids=[f"photo{i}" for i in range(8)])


def _edited_metrics(row: FakeRow) -> None:
    path = row.write("fgsm", 4.0, MOVED)
    metrics = json.loads(path.read_text())["metrics"]
    _edit(path, metrics=metrics | {"srocc": {"value": 0.99, "low": None, "high": None}})


def _damaged_columns(row: FakeRow) -> None:
    path = row.write("fgsm", 4.0, MOVED).with_suffix(".csv")
    path.write_text(path.read_text().replace("image0", "image9"))


def _image(row: FakeRow, name: str, data: bytes | None) -> None:
    if data is not None:
        (row.run / "images").mkdir(exist_ok=True)
        (row.run / name).write_bytes(data)
    _edit(
        row.write("fgsm", 4.0, MOVED), images=[{"image_id": "0", "clean": name, "attacked": name}]
    )


def _other_audit(row: FakeRow) -> None:
    for folder, text in ((row.run, "masked"), (row.run.parent / "a", "holds")):
        (folder / "audits").mkdir()
        (folder / "audits" / "live-cprl-seed0.html").write_text(text)


def _other_picture(row: FakeRow) -> None:
    _image(row, "images/0.png", b"two")
    _image(row.but(run=row.run.parent / "a"), "images/0.png", b"one")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_logits, "score of image 'image0' is 0.98"),
        (_other_images, "per-image columns are of other images"),
        (_edited_metrics, "although the per-image columns are the same"),
        (_damaged_columns, "does not match the hash"),
        (_other_audit, "differ and cannot both be audits/live-cprl-seed0.html"),
        (_other_picture, "differ and cannot both be images/0.png"),
        (lambda row: _image(row, "../a/run.json", None), "lies outside the run"),
        (lambda row: _image(row, "images/1.png", None), "images/1.png: a cell names it"),
    ],
)
def test_contradictions_and_damage_stop_with_one_line(
    runs: tuple[FakeRow, FakeRow],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[FakeRow], None],
    message: str,
) -> None:
    change(runs[1])
    before = sorted(tmp_path.iterdir())
    said = []
    for order in (("a", "b"), ("b", "a")):
        names = [str(tmp_path / name) for name in order]
        assert main(["report", *names, "--out", str(tmp_path / "m")]) == 2
        said.append(capsys.readouterr().err)
    assert said[0] == said[1]
    assert message in said[0]
    assert said[0].count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_contradiction_names_the_cell_and_both_files(runs: tuple[FakeRow, FakeRow]) -> None:
    _other_logits(runs[1])
    with pytest.raises(ResultsError, match=r"\(resnet, fgsm, eps 4\) is in two runs") as caught:
        merge_runs([row.run for row in runs])
    (path,) = runs[0].run.glob("cells/live/resnet/fgsm-eps4-*.json")
    for row in runs:
        assert str(row.run / path.relative_to(runs[0].run)) in str(caught.value)
    assert f"cell {read_cell(path).key} " in str(caught.value)


def test_images_audits_cards_splits_and_requests_come_along(
    runs: tuple[FakeRow, FakeRow], tmp_path: Path
) -> None:
    a, b = (row.run for row in runs)
    _image(runs[1], "images/0.png", b"picture")
    for run, name in ((a, "audits/x.json"), (b, "cards/deep/y.json"), (a, "cards/.y.json.tmp")):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("{}")
    for run, test in ((a, "1"), (b, "2")):
        (run / "splits").mkdir()
        shared = {"schema": 1, "origin": run.name, "train": ["0"], "test": ["1"]}
        split = {"schema": 1, "dataset": "live", "origin": "x", "train": ["0"], "test": [test]}
        (run / "splits" / "live.json").write_text(json.dumps(split))
        (run / "splits" / "demo.json").write_text(json.dumps(shared | {"dataset": "demo"}))
        asked = [{"command": ["run"]}, {"command": ["run", run.name]}]
        (run / "run.json").write_text(json.dumps({"schema": 1, "runs": asked}))
    merge(tmp_path / "m", a, b)
    found = contents(tmp_path / "m")
    assert found["images/0.png"] == b"picture"
    assert {"audits/x.json", "cards/deep/y.json"} <= set(found)
    assert not any(name.endswith(".tmp") for name in found)
    splits = sorted(name for name in found if name.startswith("splits/"))
    assert splits[0] == "splits/demo.json"
    assert len(splits) == 3
    assert all(name.startswith("splits/live-") for name in splits[1:])
    commands = [one["command"] for one in json.loads(found["run.json"])["runs"]]
    assert commands == [["run", "a"], ["run", "b"], ["run"]]
    manifest = json.loads(found["merged.json"])
    assert manifest["runs"] == ["a", "b"]
    assert set(manifest["files"]) == set(found) - {"merged.json"}


@pytest.mark.parametrize(
    ("given", "out", "message"),
    [
        (["a", "b"], None, "2 runs are merged into a folder; say which with --out DIR"),
        (["a", "b"], "a", "is one of the runs"),
        (["a", "b"], "full", "is no empty folder, and holds no merged.json"),
        (["a", "b"], "file", "is there and is no folder"),
        (["a", "b"], ".", "is the working directory"),
        (["a", "a"], "m", "is given twice"),
        (["a", "none"], "m", "there is no such folder"),
        (["a", "full"], "m", "it holds no cells"),
    ],
)
def test_a_wrong_request_is_one_line(
    runs: tuple[FakeRow, FakeRow],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    out: str | None,
    message: str,
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    assert main(["report", *given, *(["--out", out] if out else [])]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert contents(tmp_path) == before


def test_the_command_merges_and_prints_the_same_in_every_order(
    runs: tuple[FakeRow, FakeRow], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = (str(row.run) for row in runs)
    out = tmp_path / "m"
    assert main(["report", a, b, "--out", str(out), "--format", "csv,md"]) == 0
    said = capsys.readouterr().out
    for name in ("leaderboard.csv", "costs.csv", "leaderboard.md"):
        assert f"wrote {out / name}" in said
        assert (out / name).is_file()
    for order in ((a, b), (b, a), (str(out),)):
        assert main(["report", *order, "--out", "-", "--format", "md"]) == 0
        assert capsys.readouterr().out == (out / "leaderboard.md").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged"),
        ('{"schema": 2}', "another schema than 1"),
        ('{"schema": 1, "rounded": 3}', "'rounded' is no list"),
    ],
)
def test_a_damaged_list_of_merged_runs_is_one_line(
    runs: tuple[FakeRow, FakeRow], capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    (runs[0].run / "merged.json").write_text(text)
    assert main(["report", str(runs[0].run), "--format", "csv"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_what_a_run_added_to_merged_runs_is_not_replaced(
    runs: tuple[FakeRow, FakeRow], tmp_path: Path
) -> None:
    out = tmp_path / "m"
    merge(out, runs[0].run)
    (out / "report.html").write_text("made again")
    (out / "statistics-against-x.csv").write_text("made later")
    merge(out, runs[0].run)
    added = runs[0].but(run=out).write("pgd", 4.0)
    with pytest.raises(OutputError, match="holds cells/live/resnet/pgd-eps4.*would be lost"):
        check_out(out, [runs[1].run])
    with pytest.raises(OutputError, match="would be lost"):
        merge(out, runs[1].run)
    assert added.exists()


def test_a_merge_that_ends_early_leaves_the_folder_as_it_was(
    runs: tuple[FakeRow, FakeRow], tmp_path: Path
) -> None:
    out = tmp_path / "m"
    merge(out, runs[0].run)
    before = contents(out)

    def fill(folder: Path) -> None:
        (folder / "cells").mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_folder(out, fill, manifest="merged.json", facts={})
    assert contents(out) == before
    (tmp_path / ".m.killed.tmp" / "cells").mkdir(parents=True)
    merge(out, runs[0].run)
    assert contents(out) == before
    assert not list(tmp_path.glob(".m.*.tmp"))


def test_one_training_on_two_machines_is_one_card_and_other_weights_are_a_contradiction(
    runs: tuple[FakeRow, FakeRow], tmp_path: Path
) -> None:
    a, b = (row.run for row in runs)
    card = {"weights_sha256": "0" * 64, "losses": [0.5], "seconds": 3.0, "environment": {}}
    changes: list[dict[str, object]] = [{"seconds": 9.0}, {"environment": {"python": "3.12"}}]
    found = []
    for name, order in (("ab", changes), ("ba", changes[::-1])):  # whichever machine is run a
        for run, change in zip((a, b), order, strict=True):
            (run / "cards").mkdir(exist_ok=True)
            (run / "cards" / "key.json").write_text(json.dumps(card | change))
        merge(tmp_path / name, a, b)
        found.append((tmp_path / name / "cards" / "key.json").read_bytes())
    assert found[0] == found[1]
    assert json.loads(found[0])["weights_sha256"] == "0" * 64
    (b / "cards" / "key.json").write_text(json.dumps(card | {"weights_sha256": "1" * 64}))
    with pytest.raises(ResultsError, match=r"differ and cannot both be cards/key\.json"):
        merge_runs([a, b])
