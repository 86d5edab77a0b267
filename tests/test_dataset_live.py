"""LIVE release 2 in its official layout, with made images under the real names."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from official_layouts import LIVE_COPIES, LIVE_IMAGES, LIVE_SCENES, cell, live_tables, write_live
from scipy.io import loadmat, savemat

from iqabench.datasets.live import LIVE
from iqabench.errors import DataError
from iqabench.splits import make_split
from iqabench.testing import check_dataset


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_live(tmp_path_factory.mktemp("live") / "databaserelease2")


@pytest.fixture
def copied(official: Path, tmp_path: Path) -> Path:
    """The same folder, to be damaged."""
    return Path(shutil.copytree(official, tmp_path / "databaserelease2"))


def test_every_distorted_image_has_the_score_of_its_number(official: Path) -> None:
    read = LIVE().read(official)
    tables = live_tables()
    by_id = {row.image_id: row for row in read.rows}
    position = 0
    for kind, count in LIVE_IMAGES.items():
        for number in range(1, count + 1):
            row = by_id.pop(f"{kind}/img{number}.bmp", None)
            assert (row is None) == (number in LIVE_COPIES[kind])
            if row is not None:
                dmos = tables["dmos_new"][position]
                assert row.mos == pytest.approx(1 - (dmos + 2.640) / (111.775 + 2.640), abs=1e-6)
                std = tables["dmos_std"][position]
                assert row.spread == pytest.approx(std / (111.775 + 2.640))
                assert row.scene == tables["refnames"][position]
                assert (row.path.parent.name, row.path.name) == (kind, f"img{number}.bmp")
                assert row.distortion == kind
            position += 1
    assert position == 982
    assert not by_id
    assert not read.has_official_split


def test_counts_ranges_and_direction_are_the_published_ones(official: Path) -> None:
    rows = LIVE().read(official).rows
    assert len(rows) == LIVE.expected_images == 779
    kinds = Counter(row.distortion for row in rows)
    assert list(kinds.items()) == [
        ("jp2k", 169),
        ("jpeg", 175),
        ("wn", 145),
        ("gblur", 145),
        ("fastfading", 145),
    ]
    assert {row.scene for row in rows} == {f"{scene}.bmp" for scene in LIVE_SCENES}
    tables = live_tables()
    worst = tables["dmos_new"].argmax()
    assert min(rows, key=lambda r: r.mos).scene == tables["refnames"][worst]
    assert [min(r.mos for r in rows), max(r.mos for r in rows)] == pytest.approx([0, 1], abs=1e-5)


def test_the_split_keeps_scenes_apart(official: Path) -> None:
    split = make_split("live", LIVE().read(official), seed=0)
    sides = [{row.scene for row in side} for side in (split.train, split.test)]
    assert [len(side) for side in sides] == [23, 6]


def test_the_scores_of_the_release_are_taken_only_if_told(official: Path) -> None:
    old, new = LIVE(labels="dmos").read(official), LIVE().read(official)
    assert old.labels.source == "LIVE dmos.mat, dmos"
    assert (old.labels.low, old.labels.high, old.labels.higher_is_better) == (0, 84.489, False)
    assert new.labels.source == "LIVE dmos_realigned.mat, dmos_new"
    assert [r.image_id for r in old.rows] == [r.image_id for r in new.rows]
    assert {row.spread for row in old.rows} == {None}  # the release has none
    second = live_tables()["dmos"][1]
    assert old.rows[0].mos == pytest.approx(1 - second / 84.489)  # jp2k/img1 is a copy


def test_scores_without_standard_deviations_are_read(copied: Path) -> None:
    savemat(copied / "dmos_realigned.mat", {"dmos_new": live_tables()["dmos_new"][None]})
    assert {row.spread for row in LIVE().read(copied).rows} == {None}


def test_the_ends_of_a_scale_are_known_to_three_decimals(copied: Path) -> None:
    table = live_tables()["dmos"]
    table[table.argmax()] = 84.4894
    orgs = live_tables()["orgs"][None]
    savemat(copied / "dmos.mat", {"dmos": table[None], "orgs": orgs})
    assert min(row.mos for row in LIVE(labels="dmos").read(copied).rows) == 0
    table[table.argmax()] = 84.52
    savemat(copied / "dmos.mat", {"dmos": table[None], "orgs": orgs})
    with pytest.raises(DataError, match=r"outside \[0, 1\]; the scale is 0..84.489"):
        LIVE(labels="dmos").read(copied)


@pytest.mark.parametrize(
    "place", ["databaserelease2", "LIVEIQA_release2", "LIVE", "live/DatabaseRelease2", "."]
)
def test_every_known_folder_is_found(official: Path, tmp_path: Path, place: str) -> None:
    target = tmp_path / "root" / place
    target.mkdir(parents=True)
    for path in official.iterdir():
        (target / path.name).symlink_to(path)
    found = LIVE().locate(tmp_path / "root")
    assert found == target
    assert len(LIVE().read(found).rows) == 779


def test_layouts_that_differ_in_case_and_place_are_read(tmp_path: Path) -> None:
    folder = write_live(tmp_path / "databaserelease2", realigned="..", jp2k="jp2K")
    read = LIVE().read(folder)
    assert read.rows[0].path.parent.name == "jp2K"
    assert read.rows[0].image_id == "jp2k/img2.bmp"


@pytest.mark.parametrize("realigned", ["live", ".", "LIVEIQA_release2"])
def test_the_realigned_scores_may_lie_around_the_release(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, realigned: str
) -> None:
    release = tmp_path / "live" / "databaserelease2"
    release.mkdir(parents=True)
    (tmp_path / realigned).mkdir(exist_ok=True, parents=True)
    for path in official.iterdir():
        other = path.name == "dmos_realigned.mat"
        ((tmp_path / realigned if other else release) / path.name).symlink_to(path)
    for root in (tmp_path, release.parent, release):
        assert LIVE().locate(root) == release
    monkeypatch.chdir(release)
    assert LIVE().locate(Path()) == Path()
    for folder in (release, Path()):
        assert len(LIVE().read(folder).rows) == 779


def test_orgs_of_the_realigned_file_do_if_they_are_complete(tmp_path: Path) -> None:
    folder = write_live(tmp_path / "whole", release=False, realigned_orgs=982)
    assert len(LIVE().read(folder).rows) == 779
    savemat(folder / "dmos.mat", {"dmos": live_tables()["dmos"][None]})
    assert len(LIVE().read(folder).rows) == 779
    folder = write_live(tmp_path / "short", release=False)
    with pytest.raises(
        DataError, match="orgs, which tells copies .* take dmos.mat of the release .*779"
    ):
        LIVE().read(folder)


def _without_realigned(folder: Path) -> None:
    (folder / "dmos_realigned.mat").unlink()


def _without_refnames(folder: Path) -> None:
    (folder / "refnames_all.mat").unlink()


def _without_images(folder: Path) -> None:
    for number in (2, 3, 4):
        (folder / "wn" / f"img{number}.bmp").unlink()


def _images_gone_everywhere(folder: Path) -> None:
    for kind in LIVE_IMAGES:
        (folder / kind / "img2.bmp").unlink()


def _without_folders(folder: Path) -> None:
    shutil.rmtree(folder / "wn")
    shutil.rmtree(folder / "jpeg")
    _without_refnames(folder)


def _without_labels(folder: Path) -> None:
    for path in folder.glob("*.mat"):
        path.unlink()


def _only_labels(folder: Path) -> None:
    for kind in LIVE_IMAGES:
        shutil.rmtree(folder / kind)


def _numbers_for_scenes(folder: Path) -> None:
    savemat(folder / "refnames_all.mat", {"refnames_all": np.arange(982.0)[None]})


def _one_scene(folder: Path) -> None:
    names = cell(["bikes.bmp"] * 982, (1, 982))
    savemat(folder / "refnames_all.mat", {"refnames_all": names})


def _a_scene_without_a_name(folder: Path) -> None:
    names = [name.replace("bikes.bmp", "") for name in live_tables()["refnames"]]
    savemat(folder / "refnames_all.mat", {"refnames_all": cell(names, (1, 982))})


def _no_mat(folder: Path) -> None:
    (folder / "dmos_realigned.mat").write_text("a page of the web server instead of a file")


def _other_variable(folder: Path) -> None:
    savemat(folder / "dmos_realigned.mat", {"dmos": np.zeros((1, 982))})


def _too_short(folder: Path) -> None:
    savemat(folder / "dmos_realigned.mat", {"dmos_new": np.zeros((1, 779))})


def _not_a_number(folder: Path) -> None:
    new = loadmat(folder / "dmos_realigned.mat")["dmos_new"]
    new[0, 1] = np.nan
    savemat(folder / "dmos_realigned.mat", {"dmos_new": new})


def _zero_orgs(folder: Path) -> None:
    savemat(folder / "dmos.mat", {"dmos": np.zeros((1, 982)), "orgs": np.zeros((1, 982))})


def _swapped_orgs(folder: Path) -> None:
    orgs = live_tables()["orgs"].astype(float)
    orgs[:227] = orgs[:227][::-1]
    savemat(folder / "dmos.mat", {"dmos": np.zeros((1, 982)), "orgs": orgs[None]})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_realigned, "dmos_realigned.mat is missing; it is a separate .* live:labels=dmos"),
        (_without_refnames, "refnames_all.mat is missing; it is part of the release"),
        (_without_images, "3 of 145 listed images are not in .*wn: 'img2.bmp', 'img3.bmp'"),
        (
            _images_gone_everywhere,
            "1 of 169 listed images are not in .*jp2k: 'img2.bmp'; .*jpeg: .*wn: .*gblur: .*fading",
        ),
        (_without_folders, "refnames_all.mat is missing; .* lacks the images in jpeg, wn; unpack"),
        (_without_labels, "dmos_realigned.mat is missing; .* orgs, .*refnames_all.mat is missing"),
        (_only_labels, "databaserelease2 lacks the images in jp2k, jpeg, wn, gblur, fastfading;"),
        (_numbers_for_scenes, "refnames_all.mat: 'refnames_all' holds '0.0', but texts should"),
        (_one_scene, "refnames_all.mat names 1 references, not 29; take it as it was published"),
        (_a_scene_without_a_name, "refnames_all.mat names 28 references, not 29"),
        (_no_mat, "dmos_realigned.mat is no MATLAB file; download it again, or save it"),
        (_other_variable, "expected the variable 'dmos_new', found 'dmos'"),
        (_too_short, "dmos_new has 779 entries, not 982"),
        (_not_a_number, "label of 'jp2k/img2.bmp' maps to nan"),
        (_zero_orgs, "orgs marks 0 copies of references in jp2k, not 58; take dmos.mat"),
        (_swapped_orgs, "the two files are not in the same order"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_a_line(
    copied: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(copied)
    assert LIVE().locate(copied) == LIVE().locate(copied.parent) == copied
    with pytest.raises(DataError, match=message) as caught:
        LIVE().read(copied)
    assert str(caught.value).startswith(("live: ", "LIVE "))
    assert "\n" not in str(caught.value)


def test_a_folder_with_one_common_name_alone_is_not_live(tmp_path: Path) -> None:
    (tmp_path / "jpeg").mkdir()
    assert LIVE().locate(tmp_path) is None
    (tmp_path / "wn").mkdir()
    assert LIVE().locate(tmp_path) == tmp_path


def test_references_need_not_be_there(copied: Path) -> None:
    shutil.rmtree(copied / "refimgs")
    for number in LIVE_COPIES["wn"]:
        (copied / "wn" / f"img{number}.bmp").unlink()
    assert len(LIVE().read(copied).rows) == 779


def test_live_keeps_the_contract(official: Path) -> None:
    check_dataset(LIVE, official.parent)
    check_dataset(LIVE(labels="dmos"), official)
