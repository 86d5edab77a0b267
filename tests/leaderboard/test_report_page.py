"""``report.html`` as a whole: one safe file with what a reader must know."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib import resources
from pathlib import Path

import pytest
from leaderboard_runs import FakeRow, write_whole_run
from report_pages import Page, page_of
from report_runs import EVIL, write_commands, write_small

from iqabench.leaderboard.assets import OWN, VENDORED, embedded_json, read
from iqabench.leaderboard.html import to_html
from iqabench.leaderboard.load import load_board
from iqabench.leaderboard.pages import breakable
from iqabench.leaderboard.run_files import read_run_files


@pytest.fixture
def row(tmp_path: Path) -> FakeRow:
    """A row of a run in a fresh folder."""
    return FakeRow(tmp_path / "run")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A run that uses everything at once."""
    return page_of(write_whole_run(tmp_path_factory.mktemp("run")))


def test_the_page_names_no_other_file(whole: Page) -> None:
    elsewhere = [a for a in whole.addresses if not a.startswith(("data:image/png;base64,", "#"))]
    assert elsewhere == []
    assert not {"link", "iframe", "object", "base"} & set(whole.tags)
    assert not re.search(r"url\(|@import", whole.style)
    assert "http" not in whole.style


def test_every_link_leads_to_a_place_of_the_page(whole: Page) -> None:
    places = {f"#{identifier}" for identifier in whole.identifiers}
    places |= {
        f"#images-{cell['key']}" for g in whole.data["groups"] for cell in g["images"]["cells"]
    }
    links = [address for address in whole.addresses if address.startswith("#")]
    assert len(links) > 40
    assert set(links) <= places
    assert len(whole.identifiers) == len(set(whole.identifiers))


def test_the_policy_allows_the_scripts_of_the_page_and_no_others(whole: Page) -> None:
    assert "default-src 'none'" in whole.policy
    assert "unsafe" not in whole.policy
    allowed = set(re.findall(r"'sha256-([^']+)'", whole.policy))
    hashes = {
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (*whole.scripts[1:], whole.style)
    }
    assert hashes == allowed
    assert len(whole.scripts) == 1 + len(VENDORED) + len(OWN)


def test_no_script_can_end_its_element_early() -> None:
    for name in (*VENDORED, *OWN):
        text = read(name)
        assert "</script" not in text.lower()
        assert "<!--" not in text
        assert "\r" not in text


def test_vendored_files_are_those_that_the_readme_names() -> None:
    folder = resources.files("iqabench.leaderboard").joinpath("vendor")
    readme = folder.joinpath("README.md").read_text(encoding="utf-8")
    files = [item for item in folder.iterdir() if item.name != "README.md"]
    assert len(files) == 5
    for item in files:
        assert re.search(
            rf"`{re.escape(item.name)}`.*{hashlib.sha256(item.read_bytes()).hexdigest()}", readme
        ), item.name


def test_embedded_json_holds_no_markup() -> None:
    value = {"a": "</script><!--", "b": "x & y > z \u2028"}
    text = str(embedded_json(value))
    assert not re.search(r"[<>&\u2028]", text)
    assert json.loads(text) == value


def test_labels_are_text_on_the_page(row: FakeRow) -> None:
    evil = row.but(defense=EVIL, title=f"Set {EVIL}", backbone='b"><b>', recipe="<i>")
    evil.write()
    evil.write("fgsm", 4.0, label='att"ack<img src=x>')
    evil.write("pgd", 4.0, error=f"ValueError: {EVIL}")
    write_commands(row.run, ["run", EVIL])
    page = page_of(row.run)
    assert not {"i"} & set(page.tags)
    assert page.tags.count("script") == 1 + len(VENDORED) + len(OWN)
    assert page.tags.count("img") == 1
    assert page.data["groups"][0]["entries"][0]["label"] == EVIL
    for words in (f"ValueError: {EVIL}", f"Set {EVIL}", 'att"ack<img src=x>', 'b"><b>'):
        assert words in page.text
    assert f"iqabench run '{EVIL}'" in page.in_element("about-the-numbers")


def test_a_breakable_label_stays_escaped() -> None:
    assert breakable("pgd:a=<b>") == "pgd:<wbr>a=<wbr>&lt;b&gt;"


def test_the_page_shows_what_a_reader_must_know(whole: Page) -> None:
    for words in (
        "proxy labels",
        "few scenes",
        "attack too weak",
        "BudgetError: 3 images left the ball",
        "bootstrap over 6 scenes",
        "n = 48 images",
        "not run",
        "recipe key",
        "0a0a0a0a0a0a0a0a",
        "2.5.1",
    ):
        assert words in whole.text, words


def test_a_page_of_clean_cells_only_has_no_figure(row: FakeRow) -> None:
    row.write()
    page = page_of(row.run)
    assert "img" not in page.tags
    assert "No attack has been run" in page.text
    assert page.data["groups"][0]["panels"] == []


def test_undefined_numbers_are_called_undefined(row: FakeRow) -> None:
    row.write()
    row.write("fgsm", 4.0, [0.5] * 8)
    assert "undefined" in page_of(row.run).text


def test_two_builds_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_small(tmp_path / name)
    one, two = (to_html(load_board(tmp_path / name)) for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("cards/a.json", "[]"),
        ("cards/a.json", '{"schema": 7, "recipe_key": "x", "weights_sha256": "y"}'),
        ("audits/a.json", "{not json"),
        ("audits/a.json", '{"schema": 1, "defense": "a", "dataset": "b", "findings": [3]}'),
        ("run.json", '{"runs": 3}'),
    ],
)
def test_a_damaged_file_beside_the_cells_is_one_line(
    row: FakeRow, name: str, document: str
) -> None:
    row.write()
    (row.run / name).parent.mkdir(exist_ok=True)
    (row.run / name).write_text(document)
    (remark,) = read_run_files(load_board(row.run)).remarks
    assert remark.startswith(f"{name} could not be read")


def test_published_numbers_stand_beside_ours(tmp_path: Path) -> None:
    row = FakeRow(tmp_path, defense="nt:strength=1+resnet", dataset="live")
    row.but(defense="resnet:dropout=0,pool=avg").write()
    text = page_of(tmp_path).in_element("data-live")
    assert "Published numbers beside ours" in text
    assert "not comparable" in text
