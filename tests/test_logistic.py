from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from iqabench import logistic
from iqabench.logistic import mapped_plcc
from iqabench.metrics import Estimate, agreement

RNG = np.random.default_rng(5)
SCORES = RNG.uniform(size=120)
CURVE = 0.1 + 0.8 / (1 + np.exp(-(SCORES - 0.4) / 0.07))
MOS = CURVE + RNG.normal(scale=0.05, size=120)
NONE = [None] * 120


def independent(mos: np.ndarray, scores: np.ndarray) -> float:
    """The same least squares by another solver, from a grid of starts."""

    def residual(b: np.ndarray) -> np.ndarray:
        curve = (b[0] - b[1]) / (1 + np.exp(-(scores - b[2]) / abs(b[3]))) + b[1]
        return np.asarray(curve - mos)

    fits = [
        optimize.least_squares(residual, [top, 1 - top, middle, 0.1], method="trf")
        for top in (0.0, 1.0)
        for middle in (0.2, 0.5, 0.8)
    ]
    best = min(fits, key=lambda fit: fit.cost)
    return float(stats.pearsonr(best.fun + mos, mos).statistic * np.sign(best.x[0] - best.x[1]))


def test_a_logistic_relation_is_found() -> None:
    assert mapped_plcc(CURVE, SCORES, NONE, resamples=0).value == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_it_equals_another_solver_and_keeps_the_sign(sign: int) -> None:
    mos = 0.5 + sign * (MOS - 0.5)
    found = mapped_plcc(mos, SCORES, NONE, resamples=0).value
    assert found == pytest.approx(independent(mos, SCORES), abs=1e-5)
    raw = stats.pearsonr(mos, SCORES).statistic
    assert sign * found > sign * raw + 0.02  # type: ignore[operator]


def test_scale_and_offset_of_scores_do_not_matter() -> None:
    one = mapped_plcc(MOS, SCORES, NONE, resamples=0).value
    other = mapped_plcc(MOS, 1e4 * SCORES - 3e5, NONE, resamples=0).value
    assert one == pytest.approx(other, abs=1e-6)


def test_a_straight_line_needs_no_curve() -> None:
    mos = SCORES + RNG.normal(scale=0.1, size=120)
    raw = stats.pearsonr(mos, SCORES).statistic
    assert mapped_plcc(mos, SCORES, NONE, resamples=0).value == pytest.approx(raw, abs=0.01)


@pytest.mark.parametrize(
    ("mos", "scores"),
    [(MOS, np.full(120, 0.5)), (np.full(120, 0.5), SCORES), (MOS[:4], SCORES[:4])],
    ids=["constant scores", "constant labels", "as many images as parameters"],
)
def test_what_cannot_be_fitted_is_undefined(mos: np.ndarray, scores: np.ndarray) -> None:
    assert mapped_plcc(mos, scores, [None] * len(mos)) == Estimate(None)


def test_a_fit_that_does_not_converge_is_undefined(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("Optimal parameters not found")

    monkeypatch.setattr(optimize, "curve_fit", fail)
    assert mapped_plcc(MOS, SCORES, NONE) == Estimate(None)


def test_a_fit_worse_than_a_straight_line_is_undefined(monkeypatch: pytest.MonkeyPatch) -> None:
    def poor(*args: object, **kwargs: object) -> tuple[np.ndarray, None]:
        return np.array([1.0, 0.0, 1.7, 0.01]), None

    monkeypatch.setattr(optimize, "curve_fit", poor)
    assert mapped_plcc(MOS, SCORES, NONE) == Estimate(None)


def test_the_slopes_are_the_derivatives() -> None:
    x, b = np.linspace(-2, 2, 9), np.array([0.9, 0.1, 0.3, -0.4])
    steps = np.eye(4) * 1e-6
    numeric = [
        (logistic._logistic(x, *(b + h)) - logistic._logistic(x, *(b - h))) / 2e-6 for h in steps
    ]
    assert logistic._slopes(x, *b) == pytest.approx(np.stack(numeric, axis=1), abs=1e-7)


def test_an_image_that_is_drawn_twice_counts_twice() -> None:
    times = RNG.integers(0, 4, size=120)
    x = (SCORES - SCORES.mean()) / SCORES.std()
    weighted = logistic._fit(x, MOS, times.astype(float), 500)
    drawn = np.repeat(np.arange(120), times)
    repeated = logistic._fit(x[drawn], MOS[drawn], np.ones(len(drawn)), 500)
    assert weighted == pytest.approx(repeated, abs=1e-6)
    assert weighted != pytest.approx(mapped_plcc(MOS, SCORES, NONE, resamples=0).value, abs=1e-5)


def test_the_interval_resamples_scenes_as_the_other_metrics_do() -> None:
    scenes = [f"scene{i % 6}" for i in range(120)]
    by_image = mapped_plcc(MOS, SCORES, NONE, resamples=60)
    by_scene = mapped_plcc(MOS, SCORES, scenes, resamples=60)
    assert by_image.value == by_scene.value
    assert (by_image.low, by_image.high) != (by_scene.low, by_scene.high)
    for found in (by_image, by_scene):
        assert found.value is not None
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.value < found.high
    raw = agreement(MOS, SCORES, SCORES, scenes, resamples=60).estimates["plcc"]
    line = mapped_plcc(SCORES + 0.1 * MOS, SCORES, scenes, resamples=20)
    assert raw.value is not None
    assert line.value is not None
    assert line.value > raw.value
