"""Ratios in one run, with so much slack that only a regression by half fails."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import cprl_activation
import peak_memory
import planning
import pytest
import sweeps
import torch
from subject import regressor_of, run, side_of, sweep_of
from timing import Row, at_least, at_most, race, ratio, table

from iqabench.budget import round_to_8bit
from iqabench.contracts.ascent import pixel_gradient
from iqabench.distances import Ruler

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_sweep_of_six_radii_beats_a_loop_that_takes_six_gradients() -> None:
    side, eps_255 = side_of(2, 96), sweeps.FGSM_EPS
    plain, ours = regressor_of("resnet"), regressor_of("resnet", speed="exact")
    images, noise = side.pixels.centre_crops(range(2), 96), side.noise(0, range(2), "attack")

    def loop() -> None:
        with torch.no_grad():
            plain(images)
        for eps in eps_255:
            _, rise = pixel_gradient(lambda net, x, n: net.logit(x, n), plain, images, noise)
            with torch.no_grad():
                plain((images + eps / 255 * rise.sign()).clamp(0, 1))

    def sweep() -> None:
        run(sweep_of("fgsm:objective=raise", ours, side), eps_255)

    laps = race({"loop": loop, "sweep": sweep}, 3)
    assert ratio(laps, "loop", "sweep") > 1.25  # 2.3 where nothing else runs


def test_a_sweep_of_six_radii_is_one_gradient_and_six_scores() -> None:
    side, network = side_of(3, 64), regressor_of("resnet", "demo_net")
    made: list[bool] = []
    network.get_submodule("backbone").register_forward_hook(
        lambda *_: made.append(torch.is_grad_enabled())
    )
    sweep = sweep_of("fgsm:objective=reflect", network, side)
    found = run(sweep, sweeps.FGSM_EPS)
    assert made == [True, *[False] * 6]
    assert len(sweep.clean.scores) == 3
    assert all(len(found[eps].columns.array("score")) == 3 for eps in sweeps.FGSM_EPS)


def test_measuring_distances_costs_little_beside_the_network() -> None:
    side, network = side_of(4, 160), regressor_of("resnet", speed="exact")
    images = side.pixels.centre_crops(range(4), 160)
    moved = (images + 4 / 255).clamp(0, 1)

    def score() -> None:
        with torch.no_grad():
            network(moved)

    laps = race({"score": score, "ruler": lambda: Ruler(images)(moved, round_to_8bit(moved))}, 3)
    assert ratio(laps, "ruler", "score") < 0.3  # 0.1 where nothing else runs; it was 0.6


def test_cprl_s_activation_is_not_much_slower_than_relu() -> None:
    for row in cprl_activation.measure(3, images=2, size=96):
        assert row.measured < 3, row


def test_planning_and_looking_for_files_grow_with_the_cells() -> None:
    ratios = [row for row in planning.measure(2, cells=3000) if row.unit == "x"]
    assert len(ratios) == 2
    for row in ratios:
        assert row.measured < 20, row


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is unknown on Windows")
def test_memory_does_not_grow_with_the_images() -> None:
    row, _ = peak_memory.measure(1, few=100, many=1500)
    assert row.measured < 100


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries that are imported
def test_contests_against_other_libraries_run() -> None:
    pytest.importorskip("torchattacks")
    rows = sweeps.measure(1, images=2, size=64, backbone="demo_net")
    whats = [row.what for row in rows]
    assert "FGSM, 6 eps, exact, over torchattacks" in whats
    assert "PGD-10, 4 eps, folded, over torchattacks" in whats
    apart = [row.measured for row in rows if "largest difference" in row.what]
    assert len(apart) >= 4
    assert max(apart) < 1e-3  # the loops do the same work; half the eps moves scores by 5e-3


def test_contestants_take_turns() -> None:
    calls: list[str] = []
    found = race({name: partial(calls.append, name) for name in "ab"}, 2)
    assert calls == ["a", "b"] * 3
    assert {name: len(seconds) for name, seconds in found.items()} == {"a": 2, "b": 2}


def test_a_ratio_is_that_of_the_middle_round() -> None:
    assert ratio({"a": [2.0, 9.0, 3.0], "b": [1.0, 1.0, 2.0]}, "a", "b") == 2.0


def test_a_row_says_whether_its_goal_is_met() -> None:
    rows = [at_least("a", 3, 2.5, "how"), at_most("b", 5, 4.0, "how", "%")]
    rows.append(Row("c", "none", 1.0, "s", None, "how"))
    assert [row.holds for row in rows] == [False, True, None]
    lines = table(rows).splitlines()
    assert lines[2] == "| a | at least 3 x | 2.5 x | **no** | how |"
    assert len(lines) == 5


def test_every_script_is_run_by_all_and_named_in_the_page() -> None:
    import all as whole

    shared = {
        "all",
        "timing",
        "subject",
        "rivals",
        "ray_scaling",
    }  # the last needs a cluster: docs/scaling.md
    assert {path.stem for path in BENCHMARKS.glob("*.py")} - shared == set(whole.NAMES)
    page = whole.PAGE.read_text()
    assert whole.BEGIN in page
    assert page.index(whole.BEGIN) < page.index(whole.END)
    for name in whole.NAMES:
        assert f"`{name}.py`" in page
