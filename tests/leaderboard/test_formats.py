from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from leaderboard_runs import FakeRow
from rich.console import Console

from iqabench.cli import main
from iqabench.leaderboard import costs_terminal
from iqabench.leaderboard.columns import sheet
from iqabench.leaderboard.formats import FORMATS
from iqabench.leaderboard.latex import escape, to_latex
from iqabench.leaderboard.load import Board, load_board
from iqabench.leaderboard.markdown import to_markdown
from iqabench.leaderboard.rank import standings
from iqabench.results import CellRecord, read_cell, write_cell

NASTY = r"a_b%c#d~e^f&g$h{i}j\k"
"""One of each character that LaTeX reads as something else."""
N = 60
ORDER = tuple(range(1, N + 1))
MOS = tuple((i + 0.5) / N for i in range(N))
REVERSED = tuple(-x for x in ORDER)


def shuffled(step: int) -> list[float]:
    """Return an order of the images that has little to do with their labels."""
    return [float((step * i) % (N + 1)) for i in ORDER]


def write_board(run: Path) -> Path:
    """Write four rows: one clearly best at eps 4, two alike, and one reversed and failed."""
    row = FakeRow(run, mos=MOS, clean=ORDER, resamples=20)
    best, near = list(ORDER), [float(x) for x in ORDER]
    near[0], near[1] = near[1], near[0]
    for name, fgsm, reflect in (
        ("resnet", REVERSED, REVERSED),
        ("cprl:b=0.3", best, best),
        ("lwta", shuffled(8), shuffled(17)),
        (NASTY, REVERSED, None),
    ):
        one = row.but(defense=name, weights=f"{len(name):02d}" * 32, reference=name == "resnet")
        one.write(logits=near if name == "lwta" else None)
        one.write("fgsm", 4.0, fgsm)
        one.write("fgsm", 1.0, best)
        if reflect is None:
            one.write("pgd:objective=reflect", 4.0, error="BudgetError: 3 images left the ball")
        else:
            one.write("pgd:objective=reflect", 4.0, reflect)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_board(tmp_path_factory.mktemp("formats") / "run")


@pytest.fixture(scope="module")
def board(run: Path) -> Board:
    return load_board(run)


def table_rows(text: str) -> dict[str, list[str]]:
    """Return the fields of each line of a LaTeX table, by its first field."""
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0]
    split = (line.removesuffix(" \\\\").split(" & ") for line in body.splitlines())
    return {fields[0]: [f.strip() for f in fields[1:]] for fields in split}


def test_the_best_of_a_column_is_bold_and_what_is_like_it_has_a_dagger(board: Board) -> None:
    rows = table_rows(to_latex(board, [4.0]))
    assert rows["cprl:b=0.3"][1] == r"\textbf{1.000}"
    assert rows["resnet (reference)"][1] == "$-$1.000"
    assert rows["cprl:b=0.3"][0] == r"\underline{1.000}"
    assert rows["lwta"][0] == r"1.000\rlap{$^{\dagger}$}"
    text = to_latex(board, [4.0])
    assert "Bold: the highest of its column, told apart from every other row." in text
    assert r"$^{\dagger}$~Cannot be told apart from the highest of its column, which is" in text
    assert "corrected by Holm for all pairs" in text


def test_marks_agree_with_the_ranks_that_images_leave_open(tmp_path: Path) -> None:
    for reflect, is_alone in ((ORDER, False), (shuffled(17), True)):
        row = FakeRow(tmp_path / str(is_alone), mos=MOS, clean=ORDER, resamples=20)
        for name, logits in (("a", ORDER), ("b", reflect), ("c", REVERSED)):
            one = row.but(defense=name, weights=name * 64)
            one.write()
            one.write("fgsm", 4.0, ORDER)
            one.write("pgd", 4.0, logits)
        (group,) = load_board(row.run).groups
        (standing,), found = standings(group), sheet(group)
        lowest = found.columns[-1]
        assert lowest.label == "lowest"
        assert [entry.label for entry in found.entries] == [r.entry.label for r in standing.rows]
        assert (standing.rows[0].rank_range == (1, 1)) == lowest.fields[0].is_best == is_alone
        assert lowest.fields[0].is_highest != is_alone
        assert [f.is_like_highest for f in lowest.fields] == [False, not is_alone, False]


def test_weak_attacks_and_failures_are_marked_and_explained(board: Board) -> None:
    text = to_latex(board)
    rows = table_rows(text)
    assert rows["resnet (reference)"][1] == r"1.000\rlap{$^{\dagger w}$}"
    assert r"\emph{failed}" in rows[escape(NASTY)]
    assert "$^{w}$~Attack too weak: it takes less than 0.1 SROCC" in text
    assert "Failed cells: 1." in text
    assert "% failed: a_b%c#d~e^f&g$h{i}j\\k, pgd:objective=reflect, eps 4: Budget" in text
    assert text.count(r"\begin{tabular}") == 1
    assert r"\multicolumn{1}{c}{$\varepsilon = 1/255$}" in text
    assert r"\label{tab:iqabench-live}" in text
    assert "w}$}" not in to_latex(board, [4.0])


def test_intervals_stand_below_the_numbers(board: Board) -> None:
    with_intervals = to_latex(board, [4.0], intervals=True)
    assert r"{\scriptsize 1.000 to 1.000}" in with_intervals
    assert r"\scriptsize" not in to_latex(board, [4.0])


def test_proxy_labels_and_backbones_are_said(tmp_path: Path) -> None:
    row = FakeRow(tmp_path, proxy=True)
    row.write()
    row.but(backbone="vgg16", weights="cd" * 32).write()
    text = to_latex(load_board(tmp_path))
    assert "SROCC on LIVE (proxy labels) without attack" in text
    assert "Proxy labels: computed by a formula" in text
    assert "defense & backbone & clean" in text
    assert r"resnet (vgg16) & vgg16 & " in text
    markdown = to_markdown(load_board(tmp_path))
    assert "## LIVE (proxy labels)" in markdown
    assert "- Proxy labels: computed by a formula" in markdown


def test_radii_that_do_not_fit_go_to_further_tables(tmp_path: Path) -> None:
    row = FakeRow(tmp_path, mos=MOS[:8])
    row.write()
    attacks = [f"pgd:objective=reflect,steps={n}" for n in (10, 20, 40)]
    for attack in attacks:
        for eps in (1.0, 2.0, 4.0, 8.0):
            row.write(attack, eps)
    text = to_latex(load_board(tmp_path))
    labels = re.findall(r"\\label\{(.*)\}", text)
    assert len(labels) > 1
    assert len(set(labels)) == len(labels)
    assert text.count("\\toprule") == len(labels)
    assert text.count("varepsilon = 2/255$}") == 1


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b & 50% #1", r"a\_b \& 50\% \#1"),
        ("~^\\", r"\textasciitilde{}\textasciicircum{}\textbackslash{}"),
        ("{$}", r"\{\$\}"),
        ("[x]*", "{[}x]{*}"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"),
        ("a---b", "a-{}-{}-b"),
        ("two\n lines\x00", "two lines{[}U+0000]"),
        ("Größe 図", "Größe {[}U+56F3]"),
    ],
)
def test_names_are_printed_as_they_are(text: str, escaped: str) -> None:
    assert escape(text) == escaped


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX (pdflatex) is not installed")
def test_the_tables_compile(run: Path, board: Board, tmp_path: Path) -> None:
    everything = NASTY + "<>|`\"[]*--- ÀŒßšžÿ\u56f3\x01 '"
    tables = [to_latex(board), to_latex(board, [4.0], intervals=True)]
    tables += [table.replace(escape(NASTY), escape(everything)) for table in tables]
    head = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
    (tmp_path / "paper.tex").write_text(head + "\n".join(tables) + "\\end{document}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert made.returncode == 0, made.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 5000


def test_markdown_has_a_table_per_eps_with_intervals_and_marks(board: Board) -> None:
    text = to_markdown(board)
    lines = text.splitlines()
    heads = [i for i, line in enumerate(lines) if line.startswith("| rank")]
    assert len(heads) == 2
    columns = {line.replace(r"\|", "").count("|") for line in lines[heads[1] : heads[1] + 6]}
    assert columns == {8}
    assert "n = 60 images; 95 % intervals over 60 images." in text
    assert "resnet (reference)" in text
    assert r"**1.000** (1.000 to 1.000)\~" in text
    assert "- \\~ attack too weak" in text
    assert r"a\_b%c\#d\~e^f\&g\$h\{i\}j\\k" in text
    assert "### Failed cells" in text
    assert "BudgetError: 3 images left the ball" in text
    assert "eps = 1/255" not in to_markdown(board, [4.0])


def test_a_data_set_without_a_radius_is_shown_without_it(tmp_path: Path) -> None:
    for title, eps in (("LIVE", 1.0), ("VCL", 4.0)):
        row = FakeRow(tmp_path, title=title, dataset=title.lower())
        row.write()
        row.write("fgsm", eps)
    board = load_board(tmp_path)
    markdown, latex = to_markdown(board, [4.0]), to_latex(board, [4.0])
    assert markdown.count("| rank") == 1
    assert "## LIVE\n\nn = 8" in markdown
    assert "Nothing was attacked here at the radii that are shown." in markdown
    assert latex.count(r"\begin{tabular}") == 2
    assert latex.count("fgsm &") + latex.count(r"fgsm \\") == 1


def test_formats_are_written_by_name(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--format", "md,tex", "--format", "csv", "--eps", "4"]) == 0
    names = sorted(path.name for path in run.iterdir() if path.is_file())
    assert names == ["costs.csv", "leaderboard.csv", "leaderboard.md", "leaderboard.tex"]
    said = capsys.readouterr().out
    assert all(f"wrote {run / name}" in said for name in names)


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "html"])
def test_a_format_is_printed_and_nothing_is_written(
    run: Path, board: Board, capsys: pytest.CaptureFixture[str], format: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.parent.rglob("*")}
    assert main(["report", str(run), "--format", format, "--out", "-"]) == 0
    first = capsys.readouterr().out
    assert main(["report", str(run), "--format", format, "--out", "-"]) == 0
    assert capsys.readouterr().out == first
    assert "cprl:b=0.3" in first
    assert {path: path.stat().st_mtime_ns for path in run.parent.rglob("*")} == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--format", "latex"], "unknown format 'latex'"),
        (["--format", "markdown,"], "unknown format 'markdown'"),
        (["--format", "tex", "--eps", "3"], "nothing was attacked at eps 3; there are: 1, 4"),
        (["--format", "tex", "--eps", "four"], "eps 'four' is not a number"),
        (["--format", "csv", "--eps", "4"], "--eps chooses what md and tex show"),
        (["--eps", "4"], "--eps chooses what md and tex show"),
        (["--format", "md", "--intervals"], "--intervals is for LaTeX tables"),
        (["--out", "-"], "--out - prints one format"),
        (["--out", "-", "--format", "md,tex"], "--out - prints one format"),
        (["--out", "-", "--format", "json", "--json"], "--out - prints one format"),
        (["--out", "-", "--format", "csv", "--costs"], "--out - prints one format"),
        (["--out", "table.tex", "--format", "tex"], "for a file, print: --format tex --out -"),
    ],
    ids=" ".join,
)
def test_a_wrong_request_is_one_line(
    run: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main(["report", str(run), *flags]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def cell_with_costs(path: Path, seconds: float, memory: float) -> None:
    """Give a cell what an attack moved and took."""
    record = read_cell(path)
    distance = {"linf_255_max": 4.0, "l2_mean": 0.5, "psnr_mean": 41.25, "ssim_mean": 0.98}
    cost = {"forwards": 11.0, "backwards": 10.0, "queries": 300, "eps_255_together": [1.0, 4.0]}
    cost |= {"seconds": seconds, "peak_memory_mb": memory}
    changed = CellRecord(**{**vars(record), "distance": distance, "cost": cost})
    text = path.with_suffix(".csv").read_text()
    write_cell(path.parents[3], changed, None)
    path.with_suffix(".csv").write_text(text)


def test_costs_stand_beside_a_leaderboard_that_does_not_depend_on_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    for name, seconds, memory in (("a", 16.0, 1500.0), ("b", 99.0, 2500.0)):
        row = FakeRow(tmp_path / name)
        row.write()
        cell_with_costs(row.write("fgsm", 4.0), seconds, memory)
        assert main(["report", str(row.run), "--format", "csv,json"]) == 0
        capsys.readouterr()
        printed.append([(row.run / f"leaderboard.{x}").read_bytes() for x in ("csv", "json")])
    assert printed[0] == printed[1]
    attacked = {row["attack"]: row for row in csv.DictReader(io.StringIO(printed[0][0].decode()))}
    assert attacked["fgsm"]["psnr_mean"] == "41.25"
    assert attacked["per-image worst"]["psnr_mean"] == ""
    standing = json.loads(printed[0][1])["datasets"][0]["standings"][0]
    assert standing["rows"][0]["results"][0]["distance"]["l2_mean"] == 0.5
    with (tmp_path / "a" / "costs.csv").open() as file:
        clean, fgsm = csv.DictReader(file)
    assert clean["peak_memory_mb"] == ""
    assert (fgsm["seconds_per_image"], fgsm["queries"]) == ("2.0", "300")
    assert fgsm["eps_255_together"] == "1 4"
    document = json.loads((tmp_path / "a" / "costs.json").read_text())
    assert document["datasets"][0]["lines"][1]["forwards"] == 11.0
    assert main(["report", str(tmp_path / "a"), "--format", "csv", "--costs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == document


@pytest.mark.parametrize("width", [80, 200])
def test_costs_fit_a_terminal(tmp_path: Path, width: int) -> None:
    row = FakeRow(tmp_path, defense="cprl:b=0.3,mask=own,pns=false,rank=descending")
    row.write()
    cell_with_costs(row.write("pgd:objective=reflect", 4.0), 16.0, 1500.0)
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    costs_terminal.render(load_board(tmp_path), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for number in ("41.25", "0.9800", "0.5", "11", "10", "300", "2", "1500"):
        assert f" {number} " in text, number
    assert text.count(" defense ") == (2 if width == 80 else 1)
    assert "several radii together" in " ".join(text.split())
