from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from leaderboard_runs import FakeRow

from iqabench.cli import main
from iqabench.files import write_text
from iqabench.leaderboard import site
from iqabench.leaderboard.load import Board
from iqabench.leaderboard.site import find_runs
from iqabench.leaderboard.tables import to_csv
from iqabench.progress import Reporter

REVERSED = (4, 3, 2, 1, -1, -2, -3, -4)
HALF = (-4, -3, -2, -1, -1.5, 2, 3, 4)


class Links(HTMLParser):
    """Every address and every anchor of a page, and its text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.anchors: list[str] = []
        self.text = ""
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = ("src", "srcset", "href", "action", "data", "poster")
        self.addresses += [value or "" for name, value in attrs if name in named]
        self.anchors += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.text += data


def _quick(folder: Path, board: Board, reporter: Reporter) -> list[Path]:
    """Stand in for the drawing of figures and pages, which takes seconds."""
    for name in ("leaderboard.csv", "leaderboard.json", "statistics.csv", "report.html"):
        write_text(folder / name, to_csv(board))
    return []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "write_outputs", _quick)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three runs at different depths, one of them damaged, beside what is no run."""
    folder = tmp_path / "runs"
    row = FakeRow(folder / "a & <b>", reference=True, resamples=20)
    row.write()
    row.write("fgsm", 4.0, REVERSED)
    better = row.but(defense="cprl<script>", reference=False, weights="cd" * 32)
    better.write()
    better.write("fgsm", 4.0, HALF)
    better.write("pgd", 4.0, REVERSED)
    FakeRow(folder / "x" / "y" / "deep", proxy=True, title="demo", resamples=20).write()
    broken = FakeRow(folder / "x" / "broken", resamples=20).write()
    broken.write_text(broken.read_text().replace('"seed": 0', '"seed": 1'))
    FakeRow(folder / "1" / "2" / "3" / "too-deep", resamples=20).write()
    FakeRow(folder / ".hidden", resamples=20).write()
    asked = [{"command": ["run"]}, {"date": "2025-11-20"}, {"date": "2025-11-22"}]
    write_text(folder / "a & <b>" / "run.json", json.dumps({"schema": 1, "runs": asked}))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_runs_are_found_up_to_three_folders_below(runs: Path) -> None:
    found = [path.relative_to(runs).as_posix() for path in find_runs(runs)]
    assert found == ["a & <b>", "x/broken", "x/y/deep"]
    assert find_runs(runs / "a & <b>") == [runs / "a & <b>"]


@pytest.mark.usefixtures("quick")
def test_a_site_lists_every_run_and_a_damaged_one_does_not_stop_it(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = runs / "a & <b>" / "audits" / "live-cprl-seed0.html"
    write_text(audit, "audit")
    findings = [{"verdict": "masked", "eps_255": 4.0}]
    write_text(audit.with_suffix(".json"), json.dumps({"findings": findings}))
    out = tmp_path / "site"
    assert main(["site", str(runs), "--out", str(out)]) == 1
    captured = capsys.readouterr()
    assert captured.out == f"wrote {out / 'index.html'}\n"
    (line,) = [line for line in captured.err.splitlines() if "run x/broken" in line]
    assert line.startswith("run x/broken: damaged: cells/live/resnet/clean-eps0-")
    assert "1 of 3 runs are damaged" in captured.err
    page = Links(out / "index.html")
    text = " ".join(page.text.split())
    for part in (
        "3 runs of iqabench",
        "2025-11-20 to 2025-11-22",
        "demo proxy labels",
        "n = 8 images, 95 % intervals over 8 images.",
        "live-cprl-seed0: masked at eps 4",
        "no attack was run",
        "This run is damaged and has no page: cells/live/resnet/clean-eps0-",
        "cprl<script>",
    ):
        assert part in text, part
    for address in page.addresses:
        if address.startswith("#"):
            assert address[1:] in page.anchors
        else:
            assert (out / unquote(address)).is_file(), address
    assert not any(re.match(r"[a-z]+:|/", address) for address in page.addresses)
    assert len(set(page.anchors)) == len(page.anchors)
    assert "<script>" not in (out / "index.html").read_text()
    assert str(tmp_path) not in (out / "index.html").read_text()
    assert len(list((out / "runs").iterdir())) == 2


@pytest.mark.usefixtures("quick")
def test_the_best_row_stands_beside_the_undefended_one_and_what_else_it_met(
    runs: Path, tmp_path: Path
) -> None:
    main(["site", str(runs / "a & <b>"), "--out", str(tmp_path / "site")])
    text = " ".join(Links(tmp_path / "site" / "index.html").text.split())
    number = "0.9760.886 to 1.000\N{MINUS SIGN}1.000 over all it met"
    undefended = "\N{MINUS SIGN}1.000\N{MINUS SIGN}1.000 to \N{MINUS SIGN}1.000"
    assert text.count(f"cprl<script>first of 2 {number} {undefended}") == 2


@pytest.mark.usefixtures("quick")
def test_a_site_has_the_same_bytes_twice_and_replaces_itself_alone(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for out in (one, two, one):
        assert main(["site", str(runs), "--out", str(out), "--json"]) == 1
    assert contents(one) == contents(two)
    last = capsys.readouterr().out.split("\n}\n")[-2] + "\n}"
    assert [run["error"] != "" for run in json.loads(last)["runs"]] == [False, True, False]
    (one / "CNAME").write_text("iqa.example")
    assert main(["site", str(runs), "--out", str(one)]) == 2
    assert "holds CNAME, which site.json does not list" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folder", "out", "message"),
    [
        ("none", "site", "there is no such folder"),
        ("empty", "site", "no folder up to 3 below it holds cells"),
        ("runs", "runs", "is no empty folder, and holds no site.json"),
        ("runs", "file", "is there and is no folder"),
    ],
)
def test_a_wrong_request_is_one_line(
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    folder: str,
    out: str,
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    before = contents(tmp_path)
    assert main(["site", str(tmp_path / folder), "--out", str(tmp_path / out)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert contents(tmp_path) == before
    assert runs.is_dir()


def test_a_site_holds_the_page_and_the_data_of_a_run(tmp_path: Path) -> None:
    row = FakeRow(tmp_path / "run", resamples=20)
    row.write()
    row.write("fgsm", 4.0, REVERSED)
    assert main(["site", str(tmp_path), "--out", str(tmp_path / "site")]) == 0
    names = sorted(contents(tmp_path / "site"))
    assert names == [
        "index.html",
        *sorted(
            f"runs/run/{name}"
            for name in (
                *("costs.csv", "costs.json", "leaderboard.csv", "leaderboard.json"),
                *("figures/curves-live.png", "figures/curves-live.svg", "report.html"),
                *("statistics.csv", "statistics.json"),
            )
        ),
        "site.json",
    ]
