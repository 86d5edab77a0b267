from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from support import Linear, Workplace, grid_images, side_of
from torch import Tensor

from iqabench.api import Attack, Noise, Regressor
from iqabench.attacks.fgsm import FGSM
from iqabench.attacks.pgd import PGD
from iqabench.cli import main
from iqabench.conditions import Conditions
from iqabench.figures.minimal import MinimalEps, minimal_eps, radii
from iqabench.figures.subject import Subject

CHANGE, LARGEST = 0.1, 8.0
EITHER = (FGSM(objective="raise"), FGSM(objective="lower"))


def subjects_of(
    regressor: Regressor, attacks: Sequence[Attack] = EITHER, batch_size: int = 4
) -> list[Subject]:
    entry = cast(
        Any,
        SimpleNamespace(
            chain=SimpleNamespace(label="x"), data=SimpleNamespace(train=None, test=None)
        ),
    )
    conditions = Conditions(0, 2, 2, batch_size, torch.device("cpu"))
    regressor.eval().requires_grad_(False)
    return [Subject(entry, regressor, attack, {}, conditions) for attack in attacks]


def test_on_a_linear_regressor_it_is_the_first_radius_that_is_enough() -> None:
    images = grid_images(40)
    regressor = Linear(scale=0.3)
    found = minimal_eps(subjects_of(regressor), side_of(images), CHANGE, LARGEST)
    logits = regressor.logit(images).double()
    reach = float(regressor.weight.abs().sum()) * torch.from_numpy(radii(LARGEST)) / 255
    moved = torch.stack([logits[:, None] + sign * reach for sign in (1, -1)]).sigmoid()
    enough = (moved - logits.sigmoid()[:, None]).abs().amax(0) >= CHANGE
    expected = [radii(LARGEST)[row.int().argmax()] if row.any() else np.inf for row in enough]
    assert found.eps_255.tolist() == expected
    assert len(set(expected)) > 3
    assert np.inf not in expected
    assert (np.abs(found.scores - found.clean) >= CHANGE).all()


class Watched(Linear):
    """Counts the images whose gradient is asked for."""

    gradients = 0

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        self.gradients += len(images) * images.requires_grad
        return super().logit(images, noise)


def test_an_image_is_attacked_six_times_at_most() -> None:
    images, regressor = grid_images(40), Watched(scale=0.3)
    minimal_eps(subjects_of(regressor, EITHER[:1]), side_of(images), CHANGE, LARGEST)
    self_check = 4
    assert regressor.gradients <= 6 * len(images) + self_check


def test_the_batch_size_changes_nothing() -> None:
    images, regressor = grid_images(7), Linear(scale=0.3)
    attacks = [PGD(objective="raise", steps=2)]
    first, second = (
        minimal_eps(subjects_of(regressor, attacks, size), side_of(images), CHANGE, LARGEST)
        for size in (1, 16)
    )
    assert first.eps_255.tolist() == second.eps_255.tolist()


class Stubborn(Linear):
    """Even images have a saturated score that nothing moves."""

    def logit(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        dark = images.mean((1, 2, 3)) < 0.3
        return torch.where(dark, 30.0 + 0 * images.sum((1, 2, 3)), super().logit(images, noise))


def test_what_cannot_be_moved_is_above_the_largest_radius() -> None:
    images = grid_images(10)
    images[::2] *= 0.3
    images = (images * 255).round() / 255
    found = minimal_eps(subjects_of(Stubborn(scale=0.3)), side_of(images), CHANGE, LARGEST)
    assert np.isinf(found.eps_255[::2]).all()
    assert np.isfinite(found.eps_255[1::2]).all()
    assert found.moved == 0.5


def example(eps_255: list[float], scenes: list[str | None] | None = None) -> MinimalEps:
    count = len(eps_255)
    side = side_of(grid_images(count), scenes)
    nothing = np.zeros(count)
    return MinimalEps("x", side, nothing, CHANGE, LARGEST, np.array(eps_255), nothing)


def test_the_median_counts_what_is_above_and_says_when_it_is_above_itself() -> None:
    inf = np.inf
    assert example([1.0, inf, 2.0, 4.0, inf]).median.value == 4.0
    assert example([1.0, inf, inf]).median.value is None
    wide = example([1.0] * 4 + [2.0] * 4 + [inf] * 4).median
    assert (wide.value, wide.low, wide.high) == (2.0, 1.0, None)


def test_the_interval_resamples_scenes_where_there_are_any() -> None:
    values = [1.0] * 20 + [4.0] * 20
    of_images = example(values).median
    of_scenes = example(values, [*("a" * 20), *("b" * 20)]).median
    assert of_images.value == of_scenes.value == 1.0
    assert example(values[:20]).median.low == example(values[:20]).median.high == 1.0
    assert (of_scenes.low, of_scenes.high) == (1.0, 4.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("minimal"))


def test_the_command_agrees_with_a_run(
    place: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--dataset", "biq2021", "--defense", "resnet", "--attack", "fgsm:objective=both"]
    assert place.run(*flags, "--eps", "2,4") == 0
    moves: dict[float, list[float]] = {}
    for path in place.out.rglob("fgsm*.csv"):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        eps = float(path.name.split("eps")[1].split("-")[0])
        moves[eps] = [abs(float(r["score"]) - float(r["clean_score"])) for r in rows]
    change = float(np.median(moves[4.0]))
    capsys.readouterr()
    words = ["minimal-eps", *flags, "--eps", "4", "--change", f"{change:.9g}", "--json"]
    assert main([*words, "--out", str(tmp_path), *place.places()]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["defenses"]
    with (tmp_path / "minimal-eps.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == answer["images"] == 12
    found = [float(row["minimal_eps_255"] or "inf") for row in table]
    for eps, at_two, at_four in zip(found, moves[2.0], moves[4.0], strict=True):
        assert (eps <= 4) == (at_four >= change - 1e-7)
        assert (eps <= 2) == (at_two >= change - 1e-7)
    assert answer["moved"] == pytest.approx(np.isfinite(found).mean())
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".csv", ".png", ".svg"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--change", "0"], "change 0: scores lie in [0, 1]"),
        (["--change", "nan"], "change nan: scores lie in [0, 1]"),
        (["--attack", "uap"], "uap is fitted at one radius"),
        (["--eps", "0"], "eps 0 moves nothing"),
        (["--images", "0"], "images: input should be"),
        (
            [f for n in range(7) for f in ("--defense", f"nt:weight=0.{n + 1}+resnet")],
            "6 defenses fit",
        ),
    ],
    ids=lambda x: " ".join(x[:2]) if isinstance(x, list) else "",
)
def test_a_wrong_request_gets_one_line(
    place: Workplace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    words = ["minimal-eps", "--dataset", "biq2021", *flags, "--out", str(tmp_path / "out")]
    assert main([*words, *place.places()]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_ends_of_the_radii() -> None:
    regressor = Linear(scale=0.3)
    subject = subjects_of(regressor)
    found = minimal_eps(subject, side_of(grid_images(4)), 1.0, LARGEST)
    assert np.isinf(found.eps_255).all()
    again = minimal_eps(subject, side_of(grid_images(4)), 1e-6, LARGEST)
    assert (again.eps_255 == radii(LARGEST)[0]).all()
