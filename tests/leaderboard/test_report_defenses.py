"""What ``report.html`` says of one defense, down to its images."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from leaderboard_runs import FakeRow
from PIL import Image
from report_pages import Page, page_of
from report_runs import audit, card, picture, saved, write_json, write_small

from iqabench.leaderboard import drilldown, pictures
from iqabench.leaderboard.drilldown import add_pictures, damaged, per_bin
from iqabench.leaderboard.load import load_board
from iqabench.leaderboard.pictures import Album
from iqabench.leaderboard.verdicts import audits_of, badge_at

DEFENSE = "defense-cprl-b=0.3"


def images_of(run: Path) -> tuple[list[dict[str, Any]], Album]:
    """Return the cells of a run's only data set as its page lists them, and their pictures."""
    loaded, album = load_board(run), Album()
    (group,) = loaded.groups
    found = damaged(group, per_bin(loaded))
    add_pictures(album, [found])
    return [cell.to_json() for cell in found.cells], album


@pytest.fixture
def row(tmp_path: Path) -> FakeRow:
    """A row of a run in a fresh folder."""
    return FakeRow(tmp_path / "run")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A small run with everything beside its cells."""
    run = tmp_path_factory.mktemp("small")
    write_small(run)
    return page_of(run)


def test_a_defense_has_a_page_with_parameters_card_audit_and_cells(small: Page) -> None:
    text = small.in_element(DEFENSE)
    for words in (
        "Parameters of cprl b 0.3",
        "epochs 3",
        "seconds 187.3",
        "loss, first and last epoch 0.5, 0.125",
        "masked half of it is taken away",
        "T6 is there a gradient? nowhere",
        "pgd 4",
        "recipe key 1a1a1a1a1a1a1a1a",
    ):
        assert words in text, words
    assert "T1" not in text
    assert small.data["losses"] == {f"{DEFENSE}-1": [0.5, 0.25, 0.125]}
    assert "Training card" not in small.in_element("defense-resnet")


def test_a_verdict_stands_in_the_table_of_its_eps_alone(row: FakeRow) -> None:
    row.write()
    row.write("fgsm", 1.0)
    row.write("fgsm", 4.0)
    write_json(row.run / "audits" / "a.json", audit("resnet", 4.0, "holds"))
    text = page_of(row.run).in_element("data-live")
    first, second = text.split("SROCC at eps = 4/255")
    assert "Verdict" not in first
    assert "Verdict" in second
    assert "holds" in second


@pytest.mark.parametrize(
    "changes",
    [{"seed": 1}, {"backbone": "vgg16"}, {"recipe": "other"}, {"dataset": "LIVE Challenge"}],
)
def test_an_audit_of_something_else_is_no_verdict_here(
    row: FakeRow, changes: dict[str, Any]
) -> None:
    row.write()
    (entry,) = load_board(row.run).entries
    own = audit("resnet", 4.0, "holds")
    assert audits_of(entry, [audit("resnet", 4.0, "holds", **changes), own]) == [own]


def test_an_audit_of_some_images_or_of_a_wrapped_defense_counts(row: FakeRow) -> None:
    row.write()
    (entry,) = load_board(row.run).entries
    some = audit("resnet", 4.0, "holds", dataset="LIVE (48 images)")
    wrapped = audit("jpeg+resnet", 4.0, "masked", attacked_as="resnet", sample={"n": 12})
    assert audits_of(entry, [some, wrapped]) == [some, wrapped]
    badge = badge_at([wrapped, some], 4.0)
    assert badge is not None
    assert (badge.word, badge.kind, badge.images) == ("holds", "good", "48")
    assert badge_at([wrapped, some], 2.0) is None


def test_a_card_of_other_weights_is_said(row: FakeRow) -> None:
    row.write()
    changed = card("0123456789abcdef", weights_sha256="cd" * 32)
    write_json(row.run / "cards" / "a.json", changed)
    assert "other weights than these results" in page_of(row.run).in_element("defense-resnet")


def test_saved_pictures_become_a_page_of_three_with_an_amplified_difference(
    small: Page, tmp_path: Path
) -> None:
    row = write_small(tmp_path)
    (group,) = small.data["groups"]
    (cell,) = [c for c in group["images"]["cells"] if "pictures" in c]
    assert group["entries"][cell["entry"]]["label"] == row.defense
    assert cell["factor"] == 31
    assert cell["left_out"] == 0
    places = {group["images"]["ids"][int(i)]: found for i, found in cell["pictures"].items()}
    assert set(places) == {"image0", "image7"}
    for image, level in (("image7", 128 + 31 * 4), ("image0", 128 - 31 * 4)):
        clean, attacked, moved = (small.data["pictures"][i] for i in places[image])
        assert pixels(moved) == {level}
        assert pixels(clean) == {100}
        assert pixels(attacked) == {104 if level > 128 else 96}


def pixels(uri: str) -> set[int]:
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(data)) as image:
        return set(np.asarray(image).reshape(-1).tolist())


def test_images_are_sorted_by_damage_in_score(small: Page) -> None:
    (group,) = small.data["groups"]
    mos, digits = group["images"]["mos"], small.data["digits"]
    assert len(group["images"]["cells"]) == 4
    for cell in group["images"]["cells"]:
        rows = np.asarray(cell["rows"]).reshape(-1, 3)
        sign = np.where(np.asarray([mos[i] for i in rows[:, 0]]) > digits / 2, 1, -1)
        damage = sign * (rows[:, 1] - rows[:, 2])
        assert len(rows) == 8
        assert (np.diff(damage) <= 1).all()


def test_a_large_run_keeps_the_worst_of_each_part_of_the_scale(
    row: FakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drilldown, "ROWS", 7)
    monkeypatch.setattr(drilldown, "FEWEST", 1)
    mos = (0.1, 0.11, 0.3, 0.31, 0.7, 0.71, 0.9, 0.91)
    row = row.but(mos=mos, clean=(0.0,) * 8)
    row.write()
    row.write("pgd", 4.0, [1, 2, 5, 3, -1, -1.5, -4, -3])
    (cell,), _ = images_of(row.run)
    assert cell["rows"][::3] == [2, 6, 1, 5]


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        ("missing", "images/one/image7.png is missing or cannot be read."),
        ("text", "images/one/image7.png is no PNG file that can be read."),
        ("size", "A clean and an attacked picture differ in size."),
        ("outside", "../secret.png lies outside the run and was not read."),
        ("mode", "images/one/image7.png is no 8-bit PNG file in colour or grey."),
        ("unknown", "A saved picture is of no image of this cell."),
    ],
)
def test_a_picture_that_cannot_be_shown_is_one_line(row: FakeRow, change: str, remark: str) -> None:
    row.write()
    one = saved(row.run, "image7", 100, 104)
    path = row.run / one["attacked"]
    if change == "missing":
        path.unlink()
    elif change == "text":
        path.write_text("nothing")
    elif change == "size":
        Image.new("RGB", (3, 3)).save(path)
    elif change == "mode":
        Image.new("I;16", (16, 12)).save(path)
    elif change == "outside":
        one["attacked"] = picture(row.run, "../secret.png", 1)
    else:
        one["image_id"] = "nobody"
    row.write("pgd", 4.0, images=[one])
    (cell,), album = images_of(row.run)
    assert cell["pictures"] == {}
    assert cell["remarks"] == [remark]
    assert album.uris == []


def test_pictures_beyond_the_budget_are_counted_and_the_most_damaged_come_first(
    row: FakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    row.write()
    images = []
    for number in range(3):
        image, noise = f"image{number}", rng.uniform(0, 200, size=(12, 16, 3))
        clean = picture(row.run, f"images/clean/{image}.png", noise)
        attacked = picture(row.run, f"images/one/{image}.png", noise + 1)
        images.append({"image_id": image, "clean": clean, "attacked": attacked})
    one = sum((row.run / images[0][kind]).stat().st_size for kind in ("clean", "attacked"))
    monkeypatch.setattr(pictures, "BUDGET", 2 * one)
    row.write("pgd", 4.0, [0, 4, 2, -1, 1, 2, 3, 4], images=images)
    (cell,), _ = images_of(row.run)
    assert list(cell["pictures"]) == ["1"]
    assert cell["left_out"] == 2


def test_figures_of_a_defense_are_on_its_page(row: FakeRow) -> None:
    row.write()
    picture(row.run, "figures/resnet/landscape.png", 7)
    (row.run / "figures/resnet/activations.png").write_text("no picture")
    page = page_of(row.run)
    text = page.in_element("defense-resnet")
    assert "Landscape" in text
    assert "figures/resnet/activations.png is no PNG file" in text
    assert page.tags.count("img") == 1
