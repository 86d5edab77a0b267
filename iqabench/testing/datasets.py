"""What every data set reader has to keep."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from iqabench.contracts.dataset import Dataset, LabelMap, PublishedCount, Row, Table
from iqabench.errors import DataError
from iqabench.testing.components import check_component
from iqabench.testing.rules import asking, require, untouched

_TEXT = (".csv", ".tsv", ".txt")
_FACTS = ("title", "homepage", "licence")


def check_dataset(dataset: type[Dataset] | Dataset, folder: Path) -> None:
    """Check a reader against every rule of its contract.

    Nothing in ``folder`` is changed: where a file has to be missing or shorter, links to it are put
    together in a temporary folder.

    Args:
        dataset: A class, which is checked with its defaults, or an instance of one.
        folder: A data root in which the data set is, whole or as a few made images in its official
            layout; or the folder of the data set itself.

    Raises:
        BrokenRuleError: It breaks a rule; the message says which.
    """
    __tracebackhide__ = True
    component = check_component(dataset)
    who = type(component).__name__
    require(isinstance(component, Dataset), who, "is no Dataset")
    for name in _FACTS:
        text = getattr(component, name, None)
        require(isinstance(text, str) and bool(text.strip()), who, f"has no {name}")
    count = getattr(component, "expected_images", None)
    counted = isinstance(count, int) and count >= 0
    require(counted, who, f"expects {count!r} images, no number; 0 where it varies")
    said = getattr(component, "published_count", None)
    told = said is None or isinstance(said, PublishedCount)
    require(told, who, f"has the published count {said!r}, no PublishedCount")
    found = _check_locate(component, who, folder)
    table = _read(component, who, found)
    for row in table.rows:
        _check_row(row, who)
    sides = {row.part is None for row in table.rows}
    require(len(sides) == 1, who, "gives some rows a side of the official split and others none")
    again = _read(component, who, found)
    require(list(again.rows) == list(table.rows), who, "gives other rows when it reads again")
    require(again.labels == table.labels, who, "gives another label map when it reads again")
    with tempfile.TemporaryDirectory() as place:
        _check_missing_image(component, who, found, table, Path(place))
    with tempfile.TemporaryDirectory() as place:
        _check_constant_map(component, who, found, table, Path(place))


def _check_locate(dataset: Dataset, who: str, root: Path) -> Path:
    with asking(who, "locate"):
        found = dataset.locate(root)
        require(found is not None, who, f"does not find its files in {root}")
        assert found is not None
        require(isinstance(found, Path) and found.is_dir(), who, f"locates {found!r}, no folder")
        inside = dataset.locate(found)
    require(inside == found, who, f"finds {found} but not when that folder itself is the root")
    with tempfile.TemporaryDirectory() as empty, asking(who, "locate in an empty folder"):
        nothing = dataset.locate(Path(empty))
    require(nothing is None, who, f"locates {nothing} in an empty folder, where None is due")
    return found


def _read(dataset: Dataset, who: str, folder: Path) -> Table:
    with untouched(who, "read"), asking(who, "read"):
        table = dataset.read(folder)
    require(isinstance(table, Table), who, f"reads a {type(table).__name__}, no Table")
    require(isinstance(table.labels, LabelMap), who, "reads a table without a LabelMap")
    return table


def _check_row(row: Row, who: str) -> None:
    named = isinstance(row.image_id, str) and bool(row.image_id)
    require(named, who, f"gives {row.image_id!r} as an image id")
    there = isinstance(row.path, Path) and row.path.is_file()
    require(there, who, f"lists {row.image_id!r} at {row.path}, where no file is")
    inside = isinstance(row.mos, float) and -1e-6 <= row.mos <= 1 + 1e-6
    require(inside, who, f"gives {row.image_id!r} the mos {row.mos!r}, no float in [0, 1]")
    known = row.part in (None, "train", "test")
    require(known, who, f"puts {row.image_id!r} on the side {row.part!r}, not 'train' or 'test'")


def _check_missing_image(
    dataset: Dataset, who: str, folder: Path, table: Table, place: Path
) -> None:
    gone = table.rows[len(table.rows) // 2]
    gone_path = gone.path.absolute()
    if not _link(folder, place, lambda path: path.absolute() != gone_path):
        return
    refuses = False
    try:
        with untouched(who, "read"):
            dataset.read(place)
    except DataError:
        refuses = True
    except Exception as e:
        shown = f"raises {type(e).__name__} in read, not DataError"
        require(False, who, f"{shown}, when the image {gone.image_id!r} is missing: {e}")
    require(refuses, who, f"raises no DataError in read when the image {gone.image_id!r} is gone")


def _check_constant_map(
    dataset: Dataset, who: str, folder: Path, table: Table, place: Path
) -> None:
    """Leave out the images with the highest and lowest label, wherever a text file lists them.

    A map made from what was loaded then changes; a constant one does not. Labels in another format,
    and readers that refuse a shorter list, go unchecked.
    """
    ordered = sorted(table.rows, key=lambda row: row.mos)
    listed = re.compile(
        "|".join(
            rf"(?<![\w.-]){re.escape(r.image_id)}(?![\w.-])" for r in (ordered[0], ordered[-1])
        )
    )
    if not _link(folder, place, lambda path: path.suffix.lower() not in _TEXT):
        return
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix.lower() in _TEXT:
            # latin-1 gives every byte back as it was, whatever the encoding is.
            lines = path.read_text(encoding="latin-1").splitlines(keepends=True)
            kept = "".join(line for line in lines if not listed.search(line))
            target = place / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(kept.encode("latin-1"))
    try:
        shorter = dataset.read(place)
    except DataError:
        return
    rule = "maps labels by what was loaded: the map must be constant, never its min and max"
    require(shorter.labels == table.labels, who, rule)
    before = {row.image_id: row.mos for row in table.rows}
    same = all(abs(before.get(row.image_id, row.mos) - row.mos) < 1e-9 for row in shorter.rows)
    require(same, who, rule)


def _link(folder: Path, place: Path, keep: Callable[[Path], bool]) -> bool:
    """Link the files of a folder in another place; return whether the system allows it."""
    try:
        for path in folder.rglob("*"):
            if path.is_file() and keep(path):
                target = place / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(path.absolute())
    except OSError:
        return False
    return True
