"""Label files as tables of text, and where the parts of a data set are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from iqabench.api import (
    DataError,
    LabelMap,
    Row,
    Table,
    collect,
    find_home,
    find_near,
    nearby,
    read_csv,
    read_headings,
    read_number,
)


def rows(path: Path, text: str, *columns: str, separators: str = ",") -> list[dict[str, str]]:
    path.write_text(text, encoding="utf-8")
    return list(read_csv(path, *columns, source="x", separators=separators))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


def test_empty_fields_after_the_last_heading_are_allowed(path: Path) -> None:
    read = rows(path, "image,MOS,,\n a.jpg , 0.5,,\n,,,\nb.jpg,1,, ,\n", "image", "MOS")
    assert read == [{"image": "a.jpg", "MOS": "0.5"}, {"image": "b.jpg", "MOS": "1"}]
    assert rows(path, ",image\n0,a.jpg\n", "image") == [{"image": "a.jpg"}]  # an index


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "image,MOS\na,1\nb,12,5\n",
            "line 3: '5' after the last of 2 columns; numbers need a deci",
        ),
        ("image,MOS,,\na,12,5,,\n", "line 2: '5' after the last of 2 columns"),
        ("image,MOS,MOS\na,1,2\n", "labels.csv: 2 columns are headed 'MOS'"),
        ("image,MOS,a,a\nb,,1,2\n", "line 2: no 'MOS'"),
        ("image\na\n", "expected the columns 'image', 'MOS', found 'image'"),
        ("", "expected the columns 'image', 'MOS', found nothing"),
        ('image,MOS\n"a', "is no CSV file in UTF-8"),
    ],
)
def test_a_table_that_would_be_misread_is_refused(path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        rows(path, text, "image", "MOS")
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"x: {path}")


def test_a_page_of_the_web_in_place_of_a_table_is_said_in_a_short_line(path: Path) -> None:
    with pytest.raises(DataError) as caught:
        rows(path, "<html>" + "some words of a page, " * 9000 + "\n", "image")
    assert "found '<html>some words of a page', 'some words of a page'" in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))
    with pytest.raises(DataError) as caught:
        rows(path, "<html>" * 9000 + "\n", "image")
    assert len(str(caught.value)) < 500 + len(str(path))
    with pytest.raises(DataError) as caught:
        read_number("x" * 9000, source="x")
    assert len(str(caught.value)) < 200


def test_the_separator_is_the_one_that_the_header_has(path: Path) -> None:
    text = "image;MOS\na, b.jpg;12,5\n"
    assert rows(path, text, "MOS", separators=",;") == [{"image": "a, b.jpg", "MOS": "12,5"}]
    assert read_headings(path, source="x", separators=",;") == ["image", "MOS"]
    assert rows(path, "image,MOS\na;b,1\n", separators=",;") == [{"image": "a;b", "MOS": "1"}]


def test_two_labels_of_one_image_are_refused() -> None:
    image = Path("a.jpg")
    with pytest.raises(DataError, match="x: 'a.jpg', 'A.JPG' are one image, a.jpg"):
        Table([Row("a.jpg", image, 0.5), Row("A.JPG", image, 0.6)], LabelMap("x", 0, 1))


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_the_folder_that_holds_most_is_the_home(tmp_path: Path) -> None:
    def home(root: Path) -> Path | None:
        parts = [lambda f, n=name: (f / n).exists() for name in ("images", "labels")]
        return find_home(root, "acme", "ACME-main", parts=parts)

    assert home(tmp_path) is None
    touch(tmp_path / "labels")
    assert home(tmp_path) == tmp_path
    touch(tmp_path / "Acme" / "images")
    assert home(tmp_path) == tmp_path / "Acme"  # images count for more than labels
    touch(tmp_path / "Acme" / "acme-main" / "images", tmp_path / "Acme" / "acme-main" / "labels")
    assert home(tmp_path) == tmp_path / "Acme" / "acme-main"
    touch(tmp_path / "other" / "images")
    assert home(tmp_path / "Acme" / "acme-main") == tmp_path / "Acme" / "acme-main"


def test_other_parts_are_looked_for_inside_above_and_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "data" / "acme" / "ACME-main"
    touch(tmp_path / "labels", tmp_path / "data" / "other" / "labels", inside / "images")

    def found(folder: Path) -> Path | None:
        return find_near(folder, "Labels", "acme", "acme-main", "beside")

    assert found(inside) is None  # not outside the data root, not in a folder of another name
    places = [
        tmp_path / "data" / "beside" / "labels",
        tmp_path / "data" / "labels",
        tmp_path / "data" / "acme" / "labels",
        inside / "beside" / "labels",
        inside / "labels",
    ]
    for place in places:  # each comes before those in front of it
        touch(place)
        assert found(inside) == place
    monkeypatch.chdir(inside)
    for place in reversed(places):
        assert (found(Path()) or Path()).resolve() == place
        place.unlink()
    assert found(Path()) is None
    assert nearby(Path(), "acme") == [Path()]


def test_everything_that_is_wrong_is_in_one_line() -> None:
    def fail(what: str) -> None:
        raise DataError(f"x: {what} is missing")

    assert collect("x", lambda: 1, lambda: "a") == [1, "a"]
    with pytest.raises(DataError) as caught:
        collect("x", lambda: fail("a"), lambda: 1, lambda: fail("b"))
    assert str(caught.value) == "x: a is missing; b is missing"
