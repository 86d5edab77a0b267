from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import write_biq2021

from iqabench.api import LabelMap, Row, Table
from iqabench.data import DataHome, OpenDataset, dataset
from iqabench.datasets.biq2021 import BIQ2021
from iqabench.errors import DataError, UnreadableImagesError
from iqabench.pixels import decode_image, hash_images, one_image, open_pixels
from iqabench.progress import Silent
from iqabench.sides import Geometry
from iqabench.splits import Split, load_split, make_split

SHARED = Path(__file__).parents[2] / "shared" / "data" / "biq2021"


def rows(count: int, *, per_scene: int = 0) -> list[Row]:
    return [
        Row(f"{i}.png", Path(f"{i}.png"), i / count, f"s{i // per_scene}" if per_scene else None)
        for i in range(count)
    ]


def table(count: int, *, per_scene: int = 0) -> Table:
    return Table(rows(count, per_scene=per_scene), LabelMap("x", 0, 1))


def test_the_official_layout_of_biq2021_is_read(tmp_path: Path) -> None:
    folder = write_biq2021(tmp_path)
    for root in (tmp_path, folder):
        found = BIQ2021().locate(root)
        assert found == folder
    read = BIQ2021().read(folder)
    assert [sum(r.part == p for r in read.rows) for p in ("train", "test")] == [24, 12]
    odd = next(r for r in read.rows if r.path.suffix == ".JPG")
    assert odd.image_id.endswith(".jpg")  # the label file's spelling, whatever the disk's
    assert read.has_official_split
    assert not read.has_scenes
    assert BIQ2021().locate(tmp_path / "elsewhere") is None


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real images are not beside the repository")
def test_the_real_biq2021_images_are_read() -> None:
    read = BIQ2021().read(SHARED)
    assert [sum(r.part == p for r in read.rows) for p in ("train", "test")] == [1500, 500]
    assert all(r.path.exists() for r in read.rows)
    assert 0 <= min(r.mos for r in read.rows) < 0.2 < 0.8 < max(r.mos for r in read.rows) <= 1


def _lose_images(folder: Path) -> None:
    for path in sorted((folder / "Images").glob("*(Tr*"))[:7]:
        path.unlink()


def _bad_number(folder: Path) -> None:
    path = folder / "Test (Images and MOS).csv"
    path.write_text(path.read_text().replace("0.9583", "good", 1))


def _beyond_the_scale(folder: Path) -> None:
    path = folder / "Test (Images and MOS).csv"
    path.write_text(path.read_text().replace("0.9583", "95.83", 1))


def _other_columns(folder: Path) -> None:
    path = folder / "Train (Images and MOS).csv"
    path.write_text(path.read_text().replace("Image Name", "name", 1))


def _latin(folder: Path) -> None:
    path = folder / "Test (Images and MOS).csv"
    path.write_bytes(path.read_bytes().replace(b"ss01", "ß".encode("latin-1"), 1))


def _half_a_row(folder: Path) -> None:
    path = folder / "Train (Images and MOS).csv"
    path.write_text(path.read_text() + "ss01 (Tr99).jpg\n")


def _no_file(folder: Path) -> None:
    path = folder / "Train (Images and MOS).csv"
    path.unlink()
    path.mkdir()


def _twice(folder: Path) -> None:
    path = folder / "Test (Images and MOS).csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_lose_images, r"7 of 24 listed images are not in .*Images: 'ss0"),
        (_bad_number, r"ss01 \(Te0\).jpg: label 'good' is no number"),
        (_beyond_the_scale, r"maps to 95.83, outside \[0, 1\]; the scale is 0..1"),
        (_other_columns, "expected the columns 'Image Name', 'MOS', found 'name'"),
        (_twice, "is listed more than once"),
        (_latin, r"biq2021: .*Test \(Images and MOS\).csv is no CSV file in UTF-8"),
        (_half_a_row, "line 26: no 'MOS'"),
        (_no_file, r"Train \(Images and MOS\).csv cannot be read"),
    ],
)
def test_wrong_labels_or_images_are_named(tmp_path: Path, damage: object, message: str) -> None:
    folder = write_biq2021(tmp_path)
    damage(folder)  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        BIQ2021().read(folder)


def test_a_label_map_is_constant_and_inverts_dmos() -> None:
    dmos = LabelMap("dmos", low=0, high=80, higher_is_better=False)
    assert [dmos(v) for v in (0, 40, 80)] == [1, 0.5, 0]


def test_a_split_without_scenes_goes_by_image_and_with_scenes_by_scene() -> None:
    by_image = make_split("x", table(100), seed=0)
    assert (len(by_image.train), len(by_image.test)) == (80, 20)
    by_scene = make_split("x", table(100, per_scene=10), seed=0)
    scenes = [{r.scene for r in side} for side in (by_scene.train, by_scene.test)]
    assert (len(scenes[0]), len(scenes[1])) == (8, 2)
    assert not scenes[0] & scenes[1]


def test_a_split_depends_on_its_seed_alone() -> None:
    again, other = (make_split("x", table(50, per_scene=5), seed=s) for s in (4, 5))
    assert again.fingerprint == make_split("x", table(50, per_scene=5), seed=4).fingerprint
    assert again.fingerprint != other.fingerprint
    backwards = Table(rows(50, per_scene=5)[::-1], LabelMap("x", 0, 1))
    tested = {r.image_id for r in make_split("x", backwards, seed=4).test}
    assert tested == {r.image_id for r in again.test}


def test_fewer_images_to_test_are_drawn_at_random_and_training_stays() -> None:
    whole = make_split("x", table(40), seed=0)
    some = whole.only(5, seed=0)
    assert some.train == whole.train
    assert len(some.test) == 5
    assert set(some.test) < set(whole.test)
    assert [r for r in whole.test if r in some.test] == list(some.test)  # the order stays
    assert some == whole.only(5, seed=0) != whole.only(5, seed=1)
    assert some.origin == "5 of 8 tested images, of: 4:1 by image, seed 0"
    assert whole.only(8, seed=0) is whole.only(99, seed=0) is whole


def test_a_kept_split_never_takes_the_place_of_another(tmp_path: Path) -> None:
    first, second = (make_split("many", table(10), seed=seed) for seed in (0, 1))
    paths = [split.keep(tmp_path) for split in (first, second, first, second)]
    assert [p.name for p in paths[:2]] == ["many.json", f"many-{second.fingerprint[:8]}.json"]
    assert paths[2:] == paths[:2]
    again = load_split(paths[1], "many", table(10))
    assert again.fingerprint == second.fingerprint


def test_a_saved_split_is_used_again(tmp_path: Path) -> None:
    whole = table(50, per_scene=5)
    split = make_split("x", whole, seed=1)
    split.save(tmp_path / "split.json")
    loaded = load_split(tmp_path / "split.json", "x", whole)
    assert (loaded.train, loaded.test) == (split.train, split.test)
    assert loaded.fingerprint == split.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": []}, "the test side is empty"),
        ({"train": []}, "the train side is empty"),
        ({"test": ["0.png", "9.png"], "train": ["0.png"]}, "1 images are on both sides"),
        ({"test": ["1.png"], "train": ["0.png"]}, "1 scenes are on both sides, such as 's0'"),
        ({"test": ["nope.png"]}, "names 1 images that x does not have, such as 'nope.png'"),
        ({"test": ["9.png", "9.png"]}, "names an image twice"),
        ({"dataset": "y"}, "is for 'y'"),
        ({"schema": 7}, "schema 7"),
        ({"train": 5}, "is no split file"),
    ],
    ids=str,
)
def test_a_bad_split_file_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    whole = table(10, per_scene=5)
    path = tmp_path / "split.json"
    make_split("x", whole, seed=0).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=message):
        load_split(path, "x", whole)


def test_a_split_file_that_is_missing_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_split(tmp_path / "none.json", "x", table(10))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match="no split file"):
        load_split(tmp_path / "bad.json", "x", table(10))


def test_one_scene_cannot_be_split() -> None:
    with pytest.raises(DataError, match="the train side is empty"):
        make_split("x", table(5, per_scene=5), seed=0)


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    Image.fromarray(pixels, mode).save(path)
    return path


def test_images_of_other_modes_become_rgb(tmp_path: Path) -> None:
    gray = np.full((20, 30), 100, np.uint8)
    deep = Image.fromarray(np.full((20, 30), 100 * 256 + 7, np.uint16))
    deep.save(tmp_path / "deep.png")
    Image.fromarray(gray).save(tmp_path / "gray.png")
    Image.fromarray(gray).convert("RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(gray).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    Image.fromarray(gray).convert("P").save(tmp_path / "palette.png")
    for path in sorted(tmp_path.iterdir()):
        pixels = decode_image(path, resize=20)
        assert pixels.shape == (20, 30, 3), path.name
        assert pixels.dtype == np.uint8
        assert abs(pixels.astype(int) - 100).max() <= 2, path.name


def test_images_are_upright_and_their_shorter_side_is_resized(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    Image.new("RGB", (60, 30)).save(tmp_path / "turned.jpg", exif=exif)
    assert decode_image(tmp_path / "turned.jpg", resize=15).shape == (30, 15, 3)


def test_pixels_that_are_too_many_or_floats_are_refused_in_our_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = save(tmp_path / "long.png", np.zeros((1, 30000, 3), np.uint8))
    with pytest.raises(UnreadableImagesError, match="would hold 768 megapixels, more than 64"):
        one_image(long, resize=160)
    floats = save(tmp_path / "float.tif", np.full((20, 20), 0.5, np.float32))
    with pytest.raises(UnreadableImagesError, match="pixels are floats"):
        one_image(floats, resize=16)
    large = save(tmp_path / "large.png", np.zeros((30, 40, 3), np.uint8))
    for limit in (1000, 100):  # Pillow warns, and fails
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        if limit == 1000:
            assert one_image(large, resize=16).shapes == [(16, 21)]
            open_pixels([large], hash_images([large]), resize=16, store=tmp_path / "store")
        else:
            with pytest.raises(UnreadableImagesError, match=r"large\.png \(more than 128 megapix"):
                one_image(large, resize=16)
    monkeypatch.setattr("iqabench.pixels.MOST_PIXELS", 1199)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**6)
    with pytest.raises(UnreadableImagesError, match="more than 0 megapixels"):
        one_image(large, resize=16)


def test_one_image_has_the_pixels_that_a_cache_has(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    path = save(tmp_path / "x.png", noise)
    cached = open_pixels([path], hash_images([path]), resize=20, store=tmp_path / "store")
    held = one_image(path, resize=20)
    assert np.array_equal(held.image(0), cached.image(0))
    assert torch.equal(held.centre_crops([0], 16), cached.centre_crops([0], 16))


def opened(tmp_path: Path, root: Path, resize: int = 32, crop: int = 24) -> OpenDataset:
    home = DataHome(root, tmp_path / "store", Silent())
    return home.open(dataset("biq2021"), Geometry(resize, crop), split=None, split_seed=0)


def test_the_pixel_cache_is_built_once_and_found_by_content(tmp_path: Path) -> None:
    folder = write_biq2021(tmp_path / "a")
    data = opened(tmp_path, tmp_path / "a")
    first = [batch[0].clone() for batch in data.test.batches(5)]
    caches = set((tmp_path / "store" / "pixels").iterdir())
    (tmp_path / "a").rename(tmp_path / "moved")
    again = opened(tmp_path, tmp_path / "moved")
    assert all(torch.equal(a, b[0]) for a, b in zip(first, again.test.batches(5), strict=True))
    assert set((tmp_path / "store" / "pixels").iterdir()) == caches
    assert again.test.fingerprint == data.test.fingerprint
    changed = tmp_path / "moved" / "biq2021" / "Images"
    victim = next(p for p in sorted(changed.iterdir()) if "(Te" in p.name)
    save(victim, np.zeros((40, 40, 3), np.uint8))
    assert folder.name == "biq2021"
    names = {r.path.name for r in again.test.rows}
    other = opened(tmp_path, tmp_path / "moved")
    touched = other.test if victim.name in names else other.train
    before = again.test if victim.name in names else again.train
    assert touched.fingerprint != before.fingerprint


def test_clean_images_are_on_the_8_bit_grid_and_centred(tmp_path: Path) -> None:
    write_biq2021(tmp_path)
    data = opened(tmp_path, tmp_path)
    images, mos, numbers = next(data.test.batches(4))
    assert images.shape == (4, 3, 24, 24)
    assert images.dtype == torch.float32
    assert torch.equal((images * 255).round() / 255, images)
    whole = torch.from_numpy(data.test.pixels.image(0).copy()).permute(2, 0, 1).float() / 255
    assert torch.equal(images[0], whole[:, 4:28, 4:28])
    assert mos.tolist() == pytest.approx([data.test.rows[i].mos for i in numbers])


def test_labels_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    write_biq2021(tmp_path)
    side = opened(tmp_path, tmp_path).test
    relabelled = tuple(replace(r, mos=r.mos / 2) for r in side.rows)
    assert replace(side, rows=relabelled).fingerprint != side.fingerprint
    wider = replace(side, geometry=Geometry(32, 32))
    assert wider.fingerprint != side.fingerprint


def test_every_unreadable_image_is_named_in_one_message_and_no_cache_is_left(
    tmp_path: Path,
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    good = save(tmp_path / "good.png", noise)
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes(good.read_bytes()[:2000])
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    paths = [good, truncated, text]
    with pytest.raises(DataError, match="2 of 3 images cannot be read") as caught:
        open_pixels(paths, hash_images(paths), resize=16, store=tmp_path / "store")
    assert "truncated.png" in str(caught.value)
    assert "text.jpg" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "store").rglob("pixels.u8"))


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{i}.png", np.zeros((20, 20, 3), np.uint8)) for i in range(3)]
    steps: list[tuple[int, int]] = []
    open_pixels(
        paths,
        hash_images(paths),
        resize=16,
        store=tmp_path / "store",
        on_progress=lambda done, total: steps.append((done, total)),
    )
    assert steps[-1] == (3, 3)


def test_data_sets_cannot_be_chained_and_missing_ones_say_where_to_get_them(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match="cannot be chained"):
        dataset("demo+biq2021")
    with pytest.raises(DataError, match=r"not found under .*; get it from https://github.com"):
        opened(tmp_path, tmp_path)


def test_the_demo_layout_is_read(tmp_path: Path) -> None:
    (tmp_path / "Images").mkdir()
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mos", "scene", "distortion", "strength"])
        for scene in range(5):
            name = f"s{scene}.png"
            save(tmp_path / "Images" / name, np.zeros((20, 20, 3), np.uint8))
            writer.writerow([name, "0.5", f"scene{scene}", "blur", "1"])
    demo = dataset("demo").component
    assert demo.locate(tmp_path) == tmp_path
    read = demo.read(tmp_path)
    assert read.has_scenes
    assert demo.proxy_labels
    split = make_split("demo", read, seed=0)
    assert isinstance(split, Split)
    assert (len(split.train), len(split.test)) == (4, 1)
