"""KonIQ-10k in its official layouts, with made images under real names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from official_layouts import (
    KONIQ_ROWS,
    KONIQ_SCORES,
    KONIQ_SETS,
    koniq_mos,
    write_koniq_images,
    write_koniq_scores,
    write_koniq_sets,
)

from iqabench.datasets.koniq import KonIQ
from iqabench.errors import DataError
from iqabench.testing import check_dataset

NAMES = [name for name, _ in KONIQ_ROWS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Both sizes and both label files."""
    made = tmp_path / "koniq10k"
    for size in ("1024x768", "512x384"):
        write_koniq_images(made / size)
    write_koniq_scores(made / KONIQ_SCORES)
    write_koniq_sets(made / KONIQ_SETS)
    return made


def test_each_label_file_has_its_own_scale(folder: Path) -> None:
    small, hundred = koniq_mos()
    scores, sets = KonIQ().read(folder), KonIQ(labels="sets").read(folder)
    assert [row.mos for row in scores.rows] == pytest.approx([(m - 1) / 4 for m in small])
    assert [row.mos for row in sets.rows] == pytest.approx([m / 100 for m in hundred])
    assert [row.image_id for row in scores.rows] == [row.image_id for row in sets.rows] == NAMES
    assert (scores.labels.low, scores.labels.high, scores.labels.higher_is_better) == (1, 5, True)
    assert (sets.labels.low, sets.labels.high, sets.labels.higher_is_better) == (0, 100, True)
    assert scores.labels.source != sets.labels.source
    assert not scores.has_scenes


@pytest.mark.parametrize("labels", ["scores", "sets"])
def test_answers_are_shares_of_five_steps_from_counts_or_shares(folder: Path, labels: str) -> None:
    rows = KonIQ(labels=labels).read(folder).rows  # type: ignore[arg-type]
    expected = [0, 0, 25 / 105, 73 / 105, 7 / 105]
    for row in rows:
        assert row.opinions == pytest.approx(expected, abs=1e-3)


def test_answers_that_are_left_out_are_unknown_and_impossible_ones_are_refused(
    folder: Path,
) -> None:
    path = folder / KONIQ_SCORES
    text = path.read_text()
    path.write_text(text.replace(",0,0,25,73,7,", ",,0,25,73,7,", 1))
    rows = KonIQ(labels="scores").read(folder).rows
    assert [row.opinions is None for row in rows].count(True) == 1
    path.write_text(text.replace(",0,0,25,73,7,", ",-1,0,25,73,7,", 1))
    with pytest.raises(DataError, match="c1 to c5"):
        KonIQ(labels="scores").read(folder)


@pytest.mark.parametrize("labels", ["scores", "sets"])
def test_the_official_sets_are_the_split_and_validation_is_trained_on(
    folder: Path, labels: str
) -> None:
    read = KonIQ(labels=labels).read(folder)  # type: ignore[arg-type]
    sides = {"training": "train", "validation": "train", "test": "test"}
    assert [row.part for row in read.rows] == [sides[part] for _, part in KONIQ_ROWS]
    assert read.has_official_split


def test_without_being_told_the_labels_that_are_there_are_taken(folder: Path) -> None:
    assert KonIQ().read(folder) == KonIQ(labels="scores").read(folder)
    (folder / KONIQ_SCORES).unlink()
    assert KonIQ().read(folder) == KonIQ(labels="sets").read(folder)


def test_without_the_file_of_sets_there_is_no_official_split(folder: Path) -> None:
    (folder / KONIQ_SETS).unlink()
    assert {row.part for row in KonIQ().read(folder).rows} == {None}


def test_either_size_is_read_and_the_larger_comes_first(folder: Path) -> None:
    def size(reader: KonIQ) -> set[str]:
        return {row.path.parent.name for row in reader.read(folder).rows}

    assert size(KonIQ()) == size(KonIQ(size="1024x768")) == {"1024x768"}
    assert size(KonIQ(size="512x384")) == {"512x384"}
    shutil.rmtree(folder / "1024x768")
    assert size(KonIQ()) == {"512x384"}
    with pytest.raises(
        DataError, match=r"images are missing: .*1024x768; unpack koniq10k_1024x768"
    ):
        KonIQ(size="1024x768").read(folder)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("koniq10k/512x384", "koniq10k"),
        ("KonIQ-10k/1024x768", "KonIQ-10k"),
        ("koniq/koniq10k_1024x768/1024x768", "koniq"),
        ("koniq10k_512x384/512x384", "."),
        ("koniq10k_512x384", "koniq10k_scores_and_distributions"),
        ("koniq/koniq10k/512X384", "koniq/koniq10k"),
        ("koniq10k/koniq10k_1024x768/koniq10k_1024x768/1024x768", "koniq10k"),
        ("koniq10k/1024x768", "."),
        ("1024x768", "koniq10k"),
        ("koniq10k_1024x768/1024x768", "koniq10k"),
        ("KonIQ-10k/1024x768", "koniq10k_scores_and_distributions"),
    ],
)
def test_every_known_folder_is_found(tmp_path: Path, images: str, labels: str) -> None:
    write_koniq_images(tmp_path / images)
    write_koniq_scores(tmp_path / labels / KONIQ_SCORES)
    found = KonIQ().locate(tmp_path)
    assert found is not None
    assert KonIQ().locate(found) == found
    rows = KonIQ().read(found).rows
    assert {row.path.parent for row in rows} == {tmp_path / images}


@pytest.mark.parametrize("place", [".", "koniq10k_1024x768", "koniq10k_1024x768/1024x768"])
def test_labels_are_found_from_a_folder_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    write_koniq_images(tmp_path / "koniq10k" / "koniq10k_1024x768" / "1024x768")
    write_koniq_scores(tmp_path / "koniq10k" / KONIQ_SCORES)
    monkeypatch.chdir(tmp_path / "koniq10k" / place)
    assert len(KonIQ().read(Path()).rows) == len(NAMES)


def _no_scores(folder: Path) -> None:
    (folder / KONIQ_SCORES).unlink()


def _no_labels(folder: Path) -> None:
    (folder / KONIQ_SCORES).unlink()
    (folder / KONIQ_SETS).unlink()


def _swapped(folder: Path) -> None:
    write_koniq_sets(folder / KONIQ_SCORES)


def _no_images(folder: Path) -> None:
    shutil.rmtree(folder / "1024x768")
    shutil.rmtree(folder / "512x384")


def _lose_images(folder: Path) -> None:
    for name in NAMES[3:5]:
        (folder / "1024x768" / name).unlink()


def _lose_small_images_too(folder: Path) -> None:
    _lose_images(folder)
    (folder / "512x384" / NAMES[0]).unlink()


def _empty_large(folder: Path) -> None:
    for path in (folder / "1024x768").iterdir():
        path.unlink()


def _twice_in_sets(folder: Path) -> None:
    path = folder / KONIQ_SETS
    first = path.read_text().splitlines()[1]
    path.write_text(
        f"{path.read_text()}{first.replace('training', 'test').upper()}\n".replace("TEST", "test")
    )


def _twice_but_for_case(folder: Path) -> None:
    path = folder / KONIQ_SCORES
    path.write_text(path.read_text().replace(NAMES[1], NAMES[0].upper()))
    (folder / KONIQ_SETS).unlink()


def _decimal_commas(folder: Path) -> None:
    path = folder / KONIQ_SCORES
    path.write_text(path.read_text().replace(",0.53,", ",0,53,"))


def _lose_labels_and_images(folder: Path) -> None:
    _no_labels(folder)
    _no_images(folder)


def _other_set(folder: Path) -> None:
    path = folder / KONIQ_SETS
    path.write_text(path.read_text().replace("validation", "extra", 1))


def _short_sets(folder: Path) -> None:
    path = folder / KONIQ_SETS
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))


def _hundred(folder: Path) -> None:
    path = folder / KONIQ_SCORES
    path.write_text(path.read_text().replace("4.31,", "88.39,", 1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_labels, f"{KONIQ_SCORES} or {KONIQ_SETS} is missing; get it from the page"),
        (_swapped, "expected the columns 'image_name', 'MOS', 'MOS_zscore', found 'image_name'"),
        (_no_images, "images are missing: .*1024x768 or 512x384; unpack koniq10k_512x384.zip"),
        (
            _lose_images,
            "2 of 20 listed images are not in .*1024x768: .*; 512x384 is complete: koniq:size=512",
        ),
        (_empty_large, "20 of 20 .* in .*1024x768: .*; 512x384 is complete: koniq:size=512x384"),
        (_lose_small_images_too, "2 of 20 listed images are not in .*1024x768: '[^;]*'$"),
        (_twice_in_sets, f"{KONIQ_SETS}: '{NAMES[0].upper()}' is listed more than once"),
        (_twice_but_for_case, f"'{NAMES[0]}', '{NAMES[0].upper()}' are one image, .*{NAMES[0]}"),
        (_decimal_commas, "line 2: .* after the last of 10 columns"),
        (_lose_labels_and_images, f"{KONIQ_SETS} is missing; .*; the images are missing: "),
        (_other_set, "is in the set 'extra', not"),
        (_short_sets, f"2 of 20 images of {KONIQ_SCORES} are not in {KONIQ_SETS}, such as"),
        (_hundred, r"maps to 21.8\d*, outside \[0, 1\]; the scale is 1..5"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_a_line(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    if damage is not _lose_labels_and_images:
        assert KonIQ().locate(folder) == KonIQ().locate(folder.parent) == folder
    with pytest.raises(DataError, match=message) as caught:
        KonIQ().read(folder)
    assert str(caught.value).startswith(("koniq: ", "KonIQ-10k "))
    assert "\n" not in str(caught.value)


def test_labels_that_were_asked_for_are_not_changed_for_others(folder: Path) -> None:
    _no_scores(folder)
    with pytest.raises(DataError, match=f"{KONIQ_SCORES} is missing; .* with koniq:labels=sets"):
        KonIQ(labels="scores").read(folder)


def test_a_part_of_koniq_is_known_by_a_name_of_its_own_alone(tmp_path: Path) -> None:
    write_koniq_images(tmp_path / "other" / "1024x768")
    assert KonIQ().locate(tmp_path / "other") is None
    write_koniq_sets(tmp_path / "other" / KONIQ_SETS)
    assert KonIQ().locate(tmp_path / "other") == tmp_path / "other"
    (tmp_path / "archive" / "koniq10k_512x384" / "512x384").mkdir(parents=True)
    assert KonIQ().locate(tmp_path / "archive") is not None


def test_koniq_keeps_the_contract(folder: Path) -> None:
    check_dataset(KonIQ, folder.parent)
    check_dataset(KonIQ(labels="sets", size="512x384"), folder)
