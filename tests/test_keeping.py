"""Attacked images that a run keeps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from planned_runs import CPU, plan_of
from support import Workplace, grid_images, side_of
from torch import Tensor

from iqabench.api import Attack, Noise, Regressor
from iqabench.cli import main
from iqabench.errors import BudgetError, ConfigError
from iqabench.keeping import Keeper, Saving, can_keep, read_png
from iqabench.progress import Silent
from iqabench.results import find_cells, read_cell, read_columns
from iqabench.running import Runner

FLAGS = ("--defense", "resnet", "--dataset", "biq2021", "--eps", "0.5,4")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    made = Workplace(tmp_path_factory.mktemp("keeping"))
    assert made.run(*FLAGS, "--attack", "fgsm:objective=reflect", "--save-images", "5") == 0
    return made


def kept(run: Path) -> dict[float, list[dict[str, str]] | None]:
    records = [read_cell(path) for path in find_cells(run)]
    return {record.cell["eps_255"]: record.images for record in records}


def test_whole_radii_keep_the_same_images_and_no_other_cell_keeps_any(place: Workplace) -> None:
    found = kept(place.out)
    assert found[0.0] is None
    assert found[0.5] is None
    images = found[4.0]
    assert images is not None
    assert len(images) == 5
    assert len({one["image_id"] for one in images}) == 5


def test_the_files_are_what_was_scored_after_rounding(place: Workplace) -> None:
    (path,) = (p for p in find_cells(place.out) if read_cell(p).cell["eps_255"] == 4)
    record = read_cell(path)
    table = read_columns(path, record)
    for one in record.images or ():
        clean, attacked = (
            read_png(place.out / one[kind]).astype(int) for kind in ("clean", "attacked")
        )
        moved = np.abs(attacked - clean).max()
        row = table["image_id"].index(one["image_id"])
        assert moved == table["linf_8bit_255"][row] <= 4
        mse = ((attacked - clean) / 255.0).__pow__(2).mean()
        assert table["psnr"][row] == pytest.approx(-10 * np.log10(mse), abs=0.2)


@dataclass(frozen=True, kw_only=True)
class Halting(Attack):
    """May fail at one image, which is in the last batch."""

    summary = "halting"
    at: str

    def perturb(
        self, regressor: Regressor, images: Tensor, mos: Tensor, eps: float, noise: Noise
    ) -> Tensor:
        if eps and self.at in noise.image_ids:
            raise RuntimeError("boom")
        return (images + eps).clamp(0, 1)


@pytest.mark.parametrize(
    ("at", "failures", "folders"),
    [("ss03 (Te11).jpg", 1, ["clean"]), ("nowhere", 0, ["KEY", "clean"])],
)
def test_a_cell_that_fails_late_keeps_no_images(
    place: Workplace, tmp_path: Path, at: str, failures: int, folders: list[str]
) -> None:
    plan = plan_of(place, [Halting(at=at)], eps=[2], batch_size=4)
    runner = Runner(tmp_path, place.store, CPU, Silent(), Saving(None))
    assert len(runner.execute(plan).failures) == failures
    names = {path.name for path in (tmp_path / "images").iterdir()}
    assert sorted("KEY" if len(name) > 5 else name for name in names) == folders


def test_a_cell_that_kept_too_few_is_computed_again_with_the_same_numbers(
    place: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    def scores() -> list[Any]:
        cells = sorted(find_cells(place.out))
        return [read_columns(path, read_cell(path))["score"] for path in cells]

    before = scores()
    flags = (*FLAGS, "--attack", "fgsm:objective=reflect", "--save-images")
    assert place.run(*flags, "3") == 0
    assert "0 cells computed" in capsys.readouterr().err
    assert place.run(*flags, "all") == 0
    assert "1 cells computed" in capsys.readouterr().err
    assert len(kept(place.out)[4.0] or ()) == 12
    assert scores() == before
    one = (kept(place.out)[4.0] or [])[0]
    (place.out / one["attacked"]).unlink()
    assert place.run(*flags, "all") == 0
    assert "1 cells computed" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "some", "1.5", ""])
def test_a_request_that_is_none_is_refused(
    place: Workplace, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = place.folder / "refused"
    assert main(["run", "--out", str(run), *place.places(), *FLAGS, "--save-images", text]) == 2
    assert f"--save-images {text}" in capsys.readouterr().err
    assert not run.exists()
    with pytest.raises(ConfigError):
        Saving.parse(text)


def keeper(run: Path, *, eps_255: float = 2, bounded: bool = True) -> Keeper:
    side = side_of(grid_images())
    return Keeper(run, "0" * 16, side, Saving(None).numbers(side), eps_255, bounded)


def test_images_that_moved_too_far_are_not_kept(tmp_path: Path) -> None:
    images = grid_images()
    moved = images.clone()
    moved[3, 0, 0, 0] += 3 / 255
    with pytest.raises(BudgetError, match=r"moved by 3/255, more than eps = 2/255"):
        keeper(tmp_path).keep(images, moved, range(6))
    keeper(tmp_path, eps_255=3).keep(images, moved, range(6))
    keeper(tmp_path, bounded=False).keep(images, moved, range(6))


def test_a_damaged_clean_image_is_written_again(tmp_path: Path) -> None:
    images = grid_images()
    first = keeper(tmp_path)
    first.keep(images, images, [0])
    path = tmp_path / first.kept[0]["clean"]
    Image.new("RGB", (8, 8)).save(path)
    keeper(tmp_path).keep(images, images, [0])
    assert np.array_equal(read_png(path), (images[0] * 255).permute(1, 2, 0).round().byte().numpy())


def test_a_smaller_number_is_part_of_a_larger_one() -> None:
    side = side_of(torch.cat([grid_images(seed=seed) for seed in range(5)]))
    some = [Saving(count).numbers(side) for count in (1, 7, 20, None)]
    assert some[0] < some[1] < some[2] < some[3] == frozenset(range(30))


def test_eight_bits_use_up_whole_grey_levels_alone() -> None:
    assert [can_keep(eps) for eps in (0.5, 1, 1.5, 4.0)] == [False, True, False, True]


def test_a_cell_file_from_before_is_read(place: Workplace) -> None:
    path = next(iter(find_cells(place.out)))
    document = json.loads(path.read_text())
    del document["images"]
    other = place.folder / path.name
    other.write_text(json.dumps(document))
    assert read_cell(other).images is None
