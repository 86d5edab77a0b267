"""S-CNN trained on synthetic distortions: the command, and what it writes."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from photographs import NATURAL, photograph
from PIL import Image, features
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import grid_images

from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.cli import main
from iqabench.datasets.demo_images import PHOTOGRAPHS
from iqabench.defenses.dbcnn import DBCNNNet
from iqabench.pixels import Pixels as Cache
from iqabench.pixels import open_pixels
from iqabench.pretraining.distortions import DISTORTIONS
from iqabench.pretraining.output import Output
from iqabench.pretraining.scnn import SCNN
from iqabench.pretraining.sources import find_sources
from iqabench.progress import Silent

SMALL = ["--epochs", "2", "--resize", "36", "--crop", "32", "--batch-size", "16"]


def write_photographs(folder: Path, count: int, side: int) -> Path:
    """Windows of natural images in two folders, of two formats."""
    (folder / "deeper").mkdir(parents=True)
    for number, scene in zip(range(count), NATURAL, strict=False):
        place = folder / ("deeper/b.JPG" if number == 1 else f"{scene}.png")
        Image.fromarray(photograph(scene, side)).save(place, quality=98)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image either")
    return folder


class Place:
    """Photographs, a store, and the command on them."""

    def __init__(self, folder: Path, count: int = 3, side: int = 48) -> None:
        self.folder = folder
        self.images = write_photographs(folder / "images", count, side)
        self.out = folder / "scnn.safetensors"

    def run(self, *flags: str, out: Path | None = None) -> int:
        command = ["pretrain-scnn", "--images", str(self.images), "--out", str(out or self.out)]
        places = ["--store", str(self.folder / "store"), "--device", "cpu", "--threads", "1"]
        return main([*command, *places, *SMALL, *flags])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A finished pre-training, for tests that leave its file alone."""
    place = Place(tmp_path_factory.mktemp("trained"))
    assert place.run() == 0
    return place


@pytest.fixture
def place(trained: Place, tmp_path: Path) -> Place:
    """The same photographs, and nothing trained."""
    shutil.copytree(trained.folder / "images", tmp_path / "images")
    place = object.__new__(Place)
    place.folder, place.images = tmp_path, tmp_path / "images"
    place.out = tmp_path / "scnn.safetensors"
    return place


def about(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        said: dict[str, Any] = json.loads(file.metadata()["iqabench"])
    return said


def test_the_file_says_how_it_was_made(trained: Place) -> None:
    said = about(trained.out)
    request = said["request"]
    numbers = ("images", "epochs", "resize", "crop", "batch_size", "lr", "final_lr", "seed")
    assert [request[n] for n in numbers] == [3, 2, 36, 32, 16, 0.1, 1e-4, 0]
    assert re.fullmatch("[0-9a-f]{64}", request["sources_sha256"])
    assert said["trained_on"] == 2
    held = said["held_out"]
    assert (held["images"], held["distorted_images"]) == (1, 39)
    right = held["type_accuracy"] * 39
    by_type = sum(held["type_accuracy_of"][d.name] * len(d.levels) for d in DISTORTIONS)
    assert by_type == pytest.approx(right)
    assert held["class_accuracy"] <= held["type_accuracy"] <= 1
    assert len(said["losses"]) == 2
    assert said["environment"]["iqabench"]
    assert not list(trained.folder.glob("*.part"))


def test_dbcnn_has_the_trained_features(trained: Place) -> None:
    network = SCNN()
    network.load_state_dict(load_file(trained.out))
    network.eval()
    defense = Chain.parse(f"dbcnn:scnn={trained.out}")
    regressor = defense.build(BackboneSpec("demo_net", "none").build()).eval()
    assert isinstance(regressor, DBCNNNet)
    images = grid_images(2, 32)
    seen: list[torch.Tensor] = []
    for branch in (network.features, regressor.scnn):
        branch.register_forward_hook(lambda module, given, found: seen.append(found))
    with torch.no_grad():
        network(images)
        regressor(images)
    assert torch.equal(seen[0], seen[1])
    assert float(seen[0].std()) > 0


def interrupted_after_the_first_epoch(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    save = Output.save_part

    def save_and_stop(self: Output, *given: Any) -> None:
        save(self, *given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Output, "save_part", save_and_stop)
        assert place.run() == 130
    assert not place.out.exists()


def test_an_interrupted_training_goes_on_and_ends_with_the_same_bytes(
    place: Place,
    trained: Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupted_after_the_first_epoch(place, monkeypatch)
    left = place.folder / f".{place.out.name}.part.0a_b1c2d.tmp"
    left.write_bytes(b"half")
    assert place.run() == 0
    assert "going on after epoch 1 of 2" in capsys.readouterr().err
    assert place.out.read_bytes() == trained.out.read_bytes()
    assert sorted(p.name for p in place.folder.iterdir()) == sorted(
        ["images", "store", place.out.name, f".{place.out.name}.lock"]
    )


def test_a_training_that_was_spoiled_starts_again_and_a_finished_one_is_found(
    place: Place,
    trained: Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupted_after_the_first_epoch(place, monkeypatch)
    part = place.folder / f"{place.out.name}.part"
    part.write_bytes(part.read_bytes()[:9999])
    capsys.readouterr()
    assert place.run("--json") == 0
    captured = capsys.readouterr()
    assert f"{part} is damaged: starting again" in captured.err
    whole = trained.out.read_bytes()
    assert place.out.read_bytes() == whole
    assert json.loads(captured.out) == {"out": str(place.out), **about(trained.out)}
    assert place.run() == 0
    captured = capsys.readouterr()
    assert "of this very request: nothing to do" in captured.err
    assert f"--defense dbcnn:scnn={place.out}" in captured.out
    assert place.out.read_bytes() == whole


class Heard(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.mark.parametrize(
    ("said", "weight", "message"),
    [
        ({}, 1.0, None),
        ({}, 2.0, "is damaged: starting again"),
        ({"request": {"seed": 1, "lr": 0.1}}, 1.0, "another request (other seed): starting again"),
        ({"request": {"seed": 0}}, 1.0, "another request (other lr): starting again"),
        ({"request": None}, 1.0, "is damaged: starting again"),
    ],
    ids=["its own", "other weights", "other seed", "less asked", "nothing asked"],
)
def test_only_the_state_of_the_same_request_is_gone_on_from(
    tmp_path: Path, said: dict[str, Any], weight: float, message: str | None
) -> None:
    output = Output(tmp_path / "x.safetensors", {"seed": 0, "lr": 0.1})
    reporter = Heard()
    assert output.unfinished(reporter) is None
    output.save_part({"a": torch.ones(2)}, {"losses": [0.5]})
    header = json.dumps(about(output.part) | said)
    save_file({"a": torch.full((2,), weight)}, output.part, {"iqabench": header})
    found = output.unfinished(reporter)
    if message is None:
        assert found is not None
        assert found[0]["a"].tolist() == [1, 1]
        assert found[1]["losses"] == [0.5]
        assert not reporter.warnings
    else:
        assert found is None
        assert len(reporter.warnings) == 1
        assert message in reporter.warnings[0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--images", "/nowhere"], "folder /nowhere of --images is not there"),
        (["--images", "{images}/deeper"], "holds 1 images: at least 2 are needed"),
        (["--out", "scnn.pkl"], "--out scnn.pkl: give a file that ends in .safetensors"),
        (["--out", "/proc/none/a.safetensors"], "cannot write /proc/none/a.safetensors"),
        (["--crop", "40"], "--crop 40 is larger than --resize 36"),
        (["--crop", "16"], "--crop 16: give 32 to 4096 pixels"),
        (["--resize", "5000"], "--resize 5000: give 32 to 4096 pixels"),
        (["--epochs", "0"], "--epochs 0: give at least 1"),
        (["--batch-size", "1"], "--batch-size 1: give at least 4"),
        (["--seed", "-1"], "--seed -1: give at least 0"),
        (["--lr", "nan"], "--lr nan and --final-lr 0.0001"),
        (["--lr", "inf"], "--lr inf and"),
        (["--final-lr", "0"], "--final-lr 0: give a rate above 0"),
        (["--final-lr", "1"], "--lr 0.1 and --final-lr 1"),
        (["--epochs", "many"], "invalid int value: 'many'"),
        (["--images", ""], "an empty path names nothing"),
        (["--threads", "0"], "threads must be at least 1"),
        (["--device", "tpu"], "unknown device 'tpu'"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_a_wrong_request_gets_one_line_and_writes_nothing(
    place: Place, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert place.run(*(flag.format(images=place.images) for flag in flags)) == 2
    assert_one_line(capsys, message)
    assert {p.name for p in place.folder.iterdir()} <= {"images", "store"}


def assert_one_line(capsys: pytest.CaptureFixture[str], message: str) -> None:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("iqabench: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_an_image_that_cannot_be_read_is_named(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = place.images / "deeper" / "b.JPG"
    broken.write_bytes(broken.read_bytes()[:100])
    assert place.run() == 2
    assert_one_line(capsys, f"1 of 3 images cannot be read: {broken}")
    assert not place.out.exists()


def test_pillow_without_jpeg_2000_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = features.check
    monkeypatch.setattr(features, "check", lambda name: name != "jpg_2000" and there(name))
    assert place.run() == 2
    assert_one_line(capsys, "this Pillow was built without JPEG 2000")


def test_a_file_that_is_there_is_kept_unless_it_is_the_result(
    place: Place, trained: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(trained.out, place.out)
    assert place.run("--epochs", "3", "--seed", "4") == 2
    assert_one_line(capsys, "is of another request (other epochs, seed, sources_sha256)")
    assert place.out.read_bytes() == trained.out.read_bytes()
    place.out.write_bytes(b"mine")
    assert place.run() == 2
    assert_one_line(capsys, "is there and is no undamaged file of pretrain-scnn")
    assert place.out.read_bytes() == b"mine"


def test_a_file_that_appears_meanwhile_is_not_replaced(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def slowly(*given: Any, **options: Any) -> Cache:
        place.out.write_bytes(b"mine")
        return open_pixels(*given, **options)

    monkeypatch.setattr("iqabench.pretraining.scnn.open_pixels", slowly)
    assert place.run() == 2
    assert_one_line(capsys, "is there and is no undamaged file of pretrain-scnn")
    assert place.out.read_bytes() == b"mine"


def test_two_processes_do_not_write_one_file(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    with FileLock(place.folder / f".{place.out.name}.lock"):
        assert place.run() == 2
    assert_one_line(capsys, f"another process is making {place.out}")


def test_a_training_that_diverges_fails(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.run("--lr", "1e30", "--final-lr", "1e30") == 1
    assert_one_line(capsys, "pre-training S-CNN diverged")
    assert not place.out.exists()


@pytest.mark.slow
def test_it_learns_to_name_distortions_of_images_it_has_not_seen(tmp_path: Path) -> None:
    place = Place(tmp_path, count=len(PHOTOGRAPHS), side=96)
    flags = ["--resize", "96", "--crop", "64", "--epochs", "10", "--lr", "0.02"]
    assert place.run(*flags) == 0
    said = about(place.out)
    held = said["held_out"]
    assert held["distorted_images"] == 117
    assert said["losses"][-1] < math.log(39) - 0.4 < said["losses"][0] + 0.4
    assert held["class_accuracy"] > 3 / 39  # chance is 1 / 39, with a standard error of 1.5 %
    assert held["type_accuracy"] > 0.2  # one type for all is right in 5 / 39


class TestSources:
    def test_a_fifth_is_held_out_by_name_and_seed(self, tmp_path: Path) -> None:
        for number in range(11):
            (tmp_path / f"{number}.png").write_bytes(bytes([number]))
        held = []
        for seed in (0, 0, 1):
            found = find_sources(tmp_path, seed=seed, reporter=Silent())
            names = {s.name for s in found.train}, {s.name for s in found.held_out}
            assert [len(side) for side in names] == [9, 2]
            assert set.union(*names) == {f"{n}.png" for n in range(11)}
            held.append(names[1])
        assert held[0] == held[1] != held[2]
        for number in range(11):
            (tmp_path / f"{number}.png").write_bytes(bytes([number + 100]))
        found = find_sources(tmp_path, seed=0, reporter=Silent())
        assert {s.name for s in found.held_out} == held[0]

    def test_no_content_is_on_both_sides(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2"), ("d", b"2")):
            (tmp_path / f"{name}.png").write_bytes(content)
        found = find_sources(tmp_path, seed=0, reporter=Silent())
        assert sorted(s.name for s in (*found.train, *found.held_out)) == ["a.png", "c.png"]
        (tmp_path / "c.png").unlink()
        (tmp_path / "d.png").unlink()
        flags = ["--out", str(tmp_path / "x.safetensors"), *SMALL]
        assert main(["pretrain-scnn", "--images", str(tmp_path), *flags]) == 2
        assert_one_line(capsys, "holds 1 images (2 files with the same bytes): at least 2")


def test_show_dbcnn_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "dbcnn"]) == 0
    assert "iqabench pretrain-scnn --images DIR --out scnn.safetensors" in capsys.readouterr().out
