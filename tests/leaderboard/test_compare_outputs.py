"""What a comparison with a paper tells: notes, lines on a terminal, and files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from compared_papers import FGSM, FILE, attacked, paper, row_of_paper
from leaderboard_runs import FakeRow
from rich.console import Console

from iqabench.cli import main
from iqabench.leaderboard.compare import Comparison, compare
from iqabench.leaderboard.compare_tables import notes, to_json
from iqabench.leaderboard.compare_terminal import render
from iqabench.leaderboard.load import load_board


@pytest.fixture
def row(tmp_path: Path) -> FakeRow:
    """A row under all conditions of ``FILE``."""
    return row_of_paper(tmp_path / "run")


def test_what_the_paper_leaves_open_is_told(row: FakeRow) -> None:
    row.write(FGSM, 1.0, attacked(row), label="fgsm:objective=reflect")
    text = "\n".join(notes(compare(load_board(row.run), paper())))
    for part in ("recipe epochs=50", "attack read as fgsm:objective=reflect", "It has no seeds."):
        assert part in text
    assert "The objective is not said." in text
    assert "lr=" not in text


def test_weak_attacks_and_stronger_ones_are_told(row: FakeRow) -> None:
    row.write()
    row.write(FGSM, 1.0, label="fgsm:objective=reflect")
    row.write("pgd", 1.0, [-x for x in row.clean])
    comparison = compare(load_board(row.run), paper())
    assert "lowest SROCC over every attack it met: -0.9" in "\n".join(notes(comparison))
    document = json.loads(to_json(comparison))
    (weak,) = [d for d in document["lines"] if (d["table"], d["dataset"]) == ("1", "LIVE")]
    assert weak["attack_too_weak"] is True
    assert weak["worst_srocc"] < -0.9 < 0.9 < weak["value"]
    assert "~ attack too weak" in shown(comparison)


def shown(comparison: Comparison, width: int = 80, *, with_unmeasured: bool = False) -> str:
    console = Console(width=width, record=True, file=None, force_terminal=False, quiet=False)
    with console.capture() as captured:
        render(comparison, console, with_unmeasured=with_unmeasured)
    return captured.get()


def test_the_terminal_lists_what_is_measured_and_counts_the_rest(row: FakeRow) -> None:
    row.write()
    comparison = compare(load_board(row.run), paper())
    text = shown(comparison)
    assert max(map(len, text.splitlines())) <= 80
    assert "Table 2: Base on LIVE, clean" in text
    assert "after logistic mapping" in text
    assert "Table 3: Small" not in text
    assert "Table 3: Small on LIVE, clean\n  not measured: SRCC 0.3" in shown(
        comparison, with_unmeasured=True
    )
    counts = {table: dict(count) for table, count in comparison.counts().items()}
    assert counts["1"] == {"not measured": 2}
    assert counts["3"] == {"not measured": 2}
    assert sum(counts["2"].values()) == 3


def test_the_command_writes_every_published_value(
    row: FakeRow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row.write()
    row.write(FGSM, 1.0, attacked(row), label="fgsm:objective=reflect")
    assert main(["compare", str(row.run), "--with", "cprl-paper"]) == 0
    out = capsys.readouterr().out
    written = row.run / "compare-cprl-paper.csv"
    assert f"wrote {written}" in out
    assert "Table 4: ResNet on LIVE, clean" in out
    table = list(csv.DictReader(io.StringIO(written.read_text())))
    assert len({(d["table"], d["method"], d["dataset"], d["attack"], d["metric"]) for d in table})
    assert len(table) == 300
    (clean,) = [
        d
        for d in table
        if (d["table"], d["method"], d["dataset"], d["metric"]) == ("4", "ResNet", "LIVE", "SROCC")
    ]
    assert clean["verdict"] in ("reproduced", "not reproduced")
    assert clean["published"] == "0.8807"
    assert clean["few_scenes"] == "false"
    assert "0.0750" in [d["published"] for d in table]  # printed zeros stay
    first = written.read_bytes()
    assert main(["compare", str(row.run), "--with", "cprl-paper", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["lines"]) == 300
    assert document["counts"]["5"]["not measured"] == 36
    assert written.read_bytes() == first
    mine = tmp_path / "my.yaml"
    mine.write_text(FILE.replace("@", "0.1"))
    assert main(["compare", str(row.run), "--with", str(mine), "--all"]) == 0
    assert "not measured: SRCC 0.3" in capsys.readouterr().out
    assert (row.run / "compare-mine.csv").is_file()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--with", "cprl-papr"], "Did you mean 'cprl-paper'?"),
        (["--with", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        ([], "the following arguments are required: --with"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_code_2(
    row: FakeRow, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    row.write()
    assert main(["compare", str(row.run), *flags]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not list(row.run.glob("compare-*"))


def test_a_run_without_anything_of_the_paper_says_so(row: FakeRow) -> None:
    row.but(defense="other").write()
    comparison = compare(load_board(row.run), paper())
    assert notes(comparison) == ["Nothing in this run is of a method and an attack of the paper."]
    assert {one.verdict for one in comparison.lines} == {"not measured"}
