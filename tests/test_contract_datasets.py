"""The contract suite over the data sets, and over readers with one fault each."""

# The mutants have the signatures of the methods that they take the place of.
# mypy: allow-untyped-defs

from __future__ import annotations

import csv
import random
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import write_biq2021

from iqabench.api import DataError, Dataset, LabelMap, Row, Table, resolve_images
from iqabench.registry import DATASETS
from iqabench.testing import check_dataset

DOC = "A reader for a test.\n\nIt has one fault at most."
SCALE = LabelMap("labels.csv, column mos", low=0.0, high=1.0)


def write_labelled(root: Path) -> Path:
    """Six images and a table of them, as the demo and the mutants below read it."""
    (root / "Images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mos", "scene", "distortion"])
        for number in range(6):
            pixels = generator.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "Images" / f"{number}.png")
            writer.writerow([f"{number}.png", 0.1 + 0.15 * number, f"scene{number // 2}", "noise"])
    return root


def test_biq2021_keeps_the_contract(tmp_path: Path) -> None:
    folder = write_biq2021(tmp_path, train=5, test=3)
    listed = (folder / "Train (Images and MOS).csv").read_text(encoding="utf-8")
    assert listed.startswith("Image Name,MOS,,")
    assert [p for p in (folder / "Images").iterdir() if p.suffix == ".JPG"]
    check_dataset(DATASETS.get("biq2021"), tmp_path)
    check_dataset(DATASETS.get("biq2021"), folder)


def test_the_demo_keeps_the_contract(tmp_path: Path) -> None:
    check_dataset(DATASETS.get("demo"), write_labelled(tmp_path))


def lines(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True, kw_only=True)
class Reader(Dataset):
    """Reads what ``write_labelled`` writes.

    What the mutants below are made of; it breaks no rule itself.
    """

    summary = "six images"

    title = "six"
    homepage = "https://example.org"
    licence = "none"
    expected_images = 6

    def locate(self, root: Path) -> Path | None:
        return root if (root / "labels.csv").is_file() else None

    def read(self, folder: Path) -> Table:
        listed = lines(folder)
        paths = resolve_images([r["image"] for r in listed], folder / "Images", source="six")
        rows = [
            Row(r["image"], path, SCALE(float(r["mos"])))
            for r, path in zip(listed, paths, strict=True)
        ]
        return Table(rows, SCALE)


def rows(self: Dataset, folder: Path) -> list[Row]:
    return list(Reader().read(folder).rows)


def lists_one_twice(self, folder):
    found = rows(self, folder)
    return Table([*found, found[0]], SCALE)


def guesses_paths(self, folder):
    found = [replace(r, path=r.path.with_suffix(".bmp")) for r in rows(self, folder)]
    return Table(found, SCALE)


def skips_missing_images(self, folder):
    images = folder / "Images"
    found = [r for r in lines(folder) if (images / r["image"]).is_file()]
    return Table([Row(r["image"], images / r["image"], float(r["mos"])) for r in found], SCALE)


def dies_of_missing_images(self, folder):
    for line in lines(folder):
        (folder / "Images" / line["image"]).stat()
    return Reader().read(folder)


def forgets_the_scale(self, folder):
    return Table([replace(r, mos=100 * r.mos) for r in rows(self, folder)], SCALE)


def scale_of_what_is_loaded(self, folder):
    found = rows(self, folder)
    scale = LabelMap("labels.csv", min(r.mos for r in found), max(r.mos for r in found))
    return Table([replace(r, mos=scale(r.mos)) for r in found], scale)


def hidden_scale_of_what_is_loaded(self, folder):
    found = rows(self, folder)
    top = max(r.mos for r in found)
    return Table([replace(r, mos=r.mos / top) for r in found], SCALE)


def shuffles(self, folder):
    found = rows(self, folder)
    random.shuffle(found)
    return Table(found, SCALE)


def half_a_split(self, folder):
    first, *rest = rows(self, folder)
    return Table([replace(first, part="train"), *rest], SCALE)


def wrong_side(self, folder):
    side: Any = "validation"
    return Table([replace(r, part=side) for r in rows(self, folder)], SCALE)


def no_table(self, folder):
    return SimpleNamespace(rows=rows(self, folder), labels=SCALE)


def anywhere(self, root):
    return root


def only_from_outside(self, root):
    inside = root / "six"
    return inside if inside.is_dir() else None


DATASET: list[tuple[dict[str, Any], str]] = [
    ({"title": ""}, r"has no title"),
    ({"homepage": None}, r"has no homepage"),
    ({"licence": " "}, r"has no licence"),
    ({"expected_images": "6"}, r"expects '6' images"),
    ({"published_count": 6}, r"has the published count 6, no PublishedCount"),
    ({"locate": lambda self, root: None}, r"does not find its files in"),
    ({"locate": anywhere}, r"in an empty folder, where None is due"),
    ({"locate": only_from_outside}, r"but not when that folder itself is the root"),
    ({"read": lists_one_twice}, r"raised DataError in read: .*'0.png' is listed more than once"),
    ({"read": guesses_paths}, r"lists '0.png' at .*0.bmp, where no file is"),
    ({"read": skips_missing_images}, r"raises no DataError in read when the image '3.png' is gone"),
    ({"read": dies_of_missing_images}, r"raises FileNotFoundError in read, not DataError"),
    ({"read": forgets_the_scale}, r"raised DataError in read: .*maps to 10, outside \[0, 1\]"),
    ({"read": scale_of_what_is_loaded}, r"maps labels by what was loaded"),
    ({"read": hidden_scale_of_what_is_loaded}, r"maps labels by what was loaded"),
    ({"read": shuffles}, r"changes python's global random state in read"),
    ({"read": half_a_split}, r"some rows a side of the official split and others none"),
    ({"read": wrong_side}, r"puts '0.png' on the side 'validation'"),
    ({"read": no_table}, r"reads a SimpleNamespace, no Table"),
]


def variant(**members: Any) -> type[Dataset]:
    made = type("Mutant", (Reader,), {"__doc__": DOC, "__module__": __name__, **members})
    return dataclass(frozen=True, kw_only=True)(made)


@pytest.mark.parametrize(("members", "message"), DATASET)
def test_a_broken_reader_is_caught(members: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_labelled(tmp_path / "six")
    root = tmp_path if members.get("locate") is only_from_outside else tmp_path / "six"
    with pytest.raises(AssertionError, match=rf"^Mutant .*{message}"):
        check_dataset(variant(**members), root)


def test_rows_in_another_order_each_time_are_caught(tmp_path: Path) -> None:
    turns = iter(range(9))

    def read(self: Dataset, folder: Path) -> Table:
        found = rows(self, folder)
        turn = next(turns)
        return Table([*found[turn:], *found[:turn]], SCALE)

    with pytest.raises(AssertionError, match="^Mutant gives other rows when it reads again"):
        check_dataset(variant(read=read), write_labelled(tmp_path))


def test_the_reader_that_the_mutants_are_made_of_keeps_the_contract(tmp_path: Path) -> None:
    check_dataset(Reader, write_labelled(tmp_path))


def test_the_check_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    write_labelled(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    check_dataset(Reader, tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_reader_that_refuses_a_shorter_list_passes(tmp_path: Path) -> None:
    def read(self: Dataset, folder: Path) -> Table:
        if len(lines(folder)) < 6:
            raise DataError("six: the label file is cut short")
        return Reader().read(folder)

    check_dataset(variant(read=read), write_labelled(tmp_path))
