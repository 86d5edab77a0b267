"""Figures from the command line, beside the numbers of a run with the same flags."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import InstallPlugin
from PIL import Image
from safetensors.torch import load_file
from support import Workplace

from iqabench.backbones import BackboneSpec
from iqabench.chains import Chain
from iqabench.cli import main
from iqabench.pixels import decode_image
from iqabench.results import find_cells, read_cell, read_columns

ATTACK = "fgsm:objective=reflect"


class Studio:
    """A workplace whose `run` has attacked every test image at 4/255, to compare figures with."""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        flags = ("--dataset", "biq2021", "--attack", ATTACK, "--eps", "4")
        assert place.run(*flags) == 0
        for path in find_cells(place.out):
            record = read_cell(path)
            if record.cell["attack"]["spec"] != "none" and record.cell["eps_255"]:
                self.cell = read_columns(path, record)

    def draw(self, out: Path, *words: str) -> int:
        command, *flags = words
        places = self.place.places()
        return main([command, *flags, "--dataset", "biq2021", "--out", str(out), *places])

    def image(self, image_id: str) -> Path:
        folder = self.place.data / "biq2021" / "Images"
        return next(p for p in folder.iterdir() if p.name.lower() == image_id.lower())

    def expected(self, number: int, column: str = "score") -> float:
        return float(self.cell[column][number])


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(Workplace(tmp_path_factory.mktemp("studio")))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def files(out: Path, name: str) -> None:
    assert sorted(p.name for p in out.iterdir()) == [f"{name}.{k}" for k in ("csv", "png", "svg")]
    with Image.open(out / f"{name}.png") as opened:
        assert min(opened.size) > 300
    assert "<dc:date>" not in (out / f"{name}.svg").read_text()


def test_a_twin_has_the_numbers_of_the_run_with_the_same_flags(
    studio: Studio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image_id, mos = str(studio.cell["image_id"][2]), studio.expected(2, "mos")
    image = str(studio.image(image_id))
    code = studio.draw(tmp_path / "out", "show-attack", image, "--eps", "4", "--mos", f"{mos!r}")
    assert code == 0
    captured = capsys.readouterr()
    assert captured.out.split() == [
        str(tmp_path / "out" / f"show-attack.{kind}") for kind in ("png", "svg", "csv")
    ]
    assert "training" not in captured.err, "the checkpoint of the run is used"
    files(tmp_path / "out", "show-attack")
    (row,) = rows(tmp_path / "out" / "show-attack.csv")
    for column in ("score", "logit", "score_8bit", "linf_255", "psnr", "clean_score"):
        assert float(row[column]) == pytest.approx(studio.expected(2, column), abs=2e-5), column
    assert float(row["linf_255"]) <= 4.001
    assert float(row["factor"]) == pytest.approx(127.5 / 4, rel=1e-4)
    assert row["mos_from"] == "given"


def test_without_a_label_the_clean_score_is_told_and_said(
    studio: Studio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "photo of mine.png"
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    Image.fromarray(noise).save(image)
    assert studio.draw(tmp_path / "out", "show-attack", str(image), "--json") == 0
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["mos"] == pytest.approx(answer["clean_score"])
    assert answer["mos_from"] == "clean score"
    assert "clean score" in captured.err
    flags = ["show-attack", str(image), "--attack", "fgsm"]
    assert studio.draw(tmp_path / "out", *flags) == 0
    assert "moved nothing" in capsys.readouterr().err
    for attack in ("fgsm:objective=rank_reverse", "pgd:steps=2,objective=reflect,threshold=median"):
        assert studio.draw(tmp_path / "out", *flags[:3], attack) == 0


def test_a_landscape_goes_through_the_image_and_its_fgsm_twin(
    studio: Studio, tmp_path: Path
) -> None:
    image_id = str(studio.cell["image_id"][3])
    flags = ["landscape", "--image-id", image_id, "--points", "5", "--batch-size", "7"]
    both = [*flags, "--defense", "resnet", "--defense", "cprl"]
    assert studio.draw(tmp_path / "a", *both) == 0
    files(tmp_path / "a", "landscape")
    table = rows(tmp_path / "a" / "landscape.csv")
    assert len(table) == 2 * 25
    at = {
        (r["defense"], float(r["alpha_255"]), float(r["beta_255"])): float(r["score"])
        for r in table
    }
    clean, attacked = studio.expected(3, "clean_score"), studio.expected(3)
    assert at["resnet", 0, 0] == pytest.approx(clean, abs=2e-5)
    assert at["resnet", 4, 0] == pytest.approx(attacked, abs=2e-5)
    assert at["resnet", 0, 4] != pytest.approx(attacked, abs=2e-5)
    assert studio.draw(tmp_path / "b", *both) == 0
    for kind in ("csv", "svg", "png"):
        name = f"landscape.{kind}"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_landscape_may_follow_a_surrogate_where_there_is_one(
    studio: Studio, tmp_path: Path
) -> None:
    image = str(studio.image(str(studio.cell["image_id"][0])))
    flags = ["landscape", "--image", image, "--points", "3", "--direction-from", "soft_rank"]
    assert studio.draw(tmp_path, *flags, "--defense", "cprl", "--defense", "resnet") == 0
    sources = {r["defense"]: r["gradient_from"] for r in rows(tmp_path / "landscape.csv")}
    assert sources == {"cprl": "soft_rank", "resnet": "own"}


def test_a_gradient_of_zero_is_no_direction(
    studio: Studio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(studio.image(str(studio.cell["image_id"][0])))
    assert studio.draw(tmp_path / "out", "landscape", "--image", image, "--attack", "fgsm") == 1
    assert "there is no direction" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def _mean(studio: Studio, column: str) -> float:
    return sum(studio.expected(i, column) for i in range(12)) / 12


def test_activations_are_the_means_of_the_layer(
    studio: Studio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert studio.draw(tmp_path, "activations", "--eps", "4", "--batch-size", "5", "--json") == 0
    files(tmp_path, "activations")
    table = rows(tmp_path / "activations.csv")
    natural = [float(r["natural"]) for r in table]
    assert natural == sorted(natural, reverse=True)
    assert [int(r["place"]) for r in table] == list(range(1, len(table) + 1))
    net = Chain.parse("resnet").build(BackboneSpec("demo_net", "none", True).build())
    (weights,) = (studio.place.store / "checkpoints").glob("*-resnet-*/*.safetensors")
    net.load_state_dict(load_file(weights))
    paths = [studio.image(str(i)) for i in studio.cell["image_id"]]
    pixels = np.stack([decode_image(p, resize=32) for p in paths])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    moving = images.clone().requires_grad_()
    away = torch.where(torch.tensor([float(v or 0) for v in studio.cell["mos"]]) > 0.5, -1.0, 1.0)
    (gradient,) = torch.autograd.grad((away * net.eval().logit(moving)).sum(), moving)
    attacked = (images + 4 / 255 * gradient.sign()).clamp(0, 1)
    values: list[float] = []
    every: list[torch.Tensor] = []
    for column, shown in (("natural", images), ("adversarial", attacked)):
        with torch.no_grad():
            every.append(net.backbone(shown).mean((2, 3)))  # type: ignore[operator]
        means = every[-1].mean(0)
        values = [float(r[column]) for r in table]
        assert values == pytest.approx([float(means[int(r["channel"])]) for r in table], abs=1e-4)
    assert natural != pytest.approx(values, abs=1e-3)
    moved = (every[1] - every[0]).abs().mean(0)
    assert [float(r["moved"]) for r in table] == pytest.approx(
        [float(moved[int(r["channel"])]) for r in table], abs=1e-4
    )
    answer = json.loads(capsys.readouterr().out)
    apart = [
        abs(studio.expected(i, "score") - studio.expected(i, "clean_score")) for i in range(12)
    ]
    assert answer["mean_absolute_score_change"] == pytest.approx(sum(apart) / 12, abs=2e-5)
    assert answer["mean_absolute_change"] == pytest.approx(float(moved.mean()), abs=1e-4)
    change = answer["mean_score_attacked"] - answer["mean_score"]
    assert abs(change) < answer["mean_absolute_score_change"] - 1e-3, "some went up, some down"
    assert answer["mean_score"] == pytest.approx(_mean(studio, "clean_score"), abs=2e-5)
    assert answer["mean_score_attacked"] == pytest.approx(_mean(studio, "score"), abs=2e-5)


def test_activations_of_some_images_and_another_layer(
    studio: Studio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--layer", "stages.0.act", "--images", "5", "--defense", "cprl:mask=random"]
    assert studio.draw(tmp_path, "activations", *flags, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["layer"], answer["images"]) == ("stages.0.act", 5)
    assert len(rows(tmp_path / "activations.csv")) == 24


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["show-attack", "/nowhere.png"], "/nowhere.png (No such file"),
        (["show-attack", ""], "an empty path names no file"),
        (["show-attack", "BROKEN"], "broken.png ("),
        (["show-attack", "GOOD", "--defense", "resnett"], "Did you mean 'resnet'?"),
        (["show-attack", "GOOD", "--attack", "fgms"], "Did you mean 'fgsm'?"),
        (["show-attack", "GOOD", "--mos", "1.5"], "mos 1.5 is no label"),
        (["show-attack", "GOOD", "--eps", "1,2"], "a figure has one eps"),
        (["show-attack", "GOOD", "--eps", "0"], "eps 0 moves nothing"),
        (["show-attack", "GOOD", "--seed", "0,1"], "a figure has one seed"),
        (["show-attack", "GOOD", "--attack", "fgsm", "--attack", "pgd"], "one attack, found 2"),
        (["landscape", "--image", "GOOD", "--attack", "fgsm", "--attack", "pgd"], "one attack"),
        (["show-attack", "GOOD", "--defense", "resnet", "--defense", "cprl"], "one defense fits"),
        (["show-attack", "GOOD", "--device", "tpu"], "unknown device"),
        (["landscape"], "--image --image-id is required"),
        (["landscape", "--image-id", "none"], "no image 'none' among the 12"),
        (["landscape", "--image", "GOOD", "--points", "4"], "odd number"),
        (["landscape", "--image", "GOOD", "--direction-from", "mask"], "unknown surrogate 'mask'"),
        (["activations", "--layer", "stages.9.act"], "There are: stages.0.act"),
        (["activations", "--images", "0"], "images: input should be greater"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_a_wrong_request_gets_one_line_and_leaves_nothing(
    studio: Studio,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    good, broken = tmp_path / "good.png", tmp_path / "broken.png"
    Image.new("RGB", (40, 40), (9, 99, 200)).save(good)
    broken.write_bytes(good.read_bytes()[:60])
    words = [{"GOOD": str(good), "BROKEN": str(broken)}.get(f, f) for f in flags]
    before = sorted((studio.place.store / "checkpoints").iterdir())
    assert studio.draw(tmp_path / "out", *words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.startswith("iqabench: ")
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert sorted((studio.place.store / "checkpoints").iterdir()) == before, "nothing was trained"


def test_a_folder_that_cannot_be_written_is_known_before_the_work(
    studio: Studio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert studio.draw(tmp_path / "file" / "out", "activations") == 2
    assert "is a file" in capsys.readouterr().err


LEAVER = '''
from dataclasses import dataclass
from iqabench.api import Attack

@dataclass(frozen=True, kw_only=True)
class Leaver(Attack):
    """Moves further than it may."""
    summary = "x"
    paper = "x"
    year = 2020
    def perturb(self, regressor, images, mos, eps, noise):
        return (images + 2 * eps).clamp(0, 1)
'''


def test_an_attack_that_leaves_the_ball_is_not_drawn(
    studio: Studio,
    tmp_path: Path,
    install_plugin: InstallPlugin,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install_plugin("acme", {"iqabench.attacks": {"leaver": "leaver:Leaver"}}, {"leaver": LEAVER})
    image = str(studio.image(str(studio.cell["image_id"][0])))
    for words in (["show-attack", image], ["activations"]):
        assert studio.draw(tmp_path / "out", *words, "--attack", "leaver", "--eps", "2") == 1
        assert "more than eps = 2/255" in capsys.readouterr().err
    words = ["landscape", "--image", image, "--attack", "leaver"]
    assert studio.draw(tmp_path / "out", *words) == 2
    assert "follows the gradient" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
