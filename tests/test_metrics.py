from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from iqabench import metrics
from iqabench.metrics import agreement
from iqabench.resampling import multiplicities

RNG = np.random.default_rng(5)
MOS = RNG.random(60).round(1)  # many ties
LOGITS = MOS * 2 + RNG.normal(size=60)
SCORES = 1 / (1 + np.exp(-LOGITS))
ALONE: list[str | None] = [None] * 60
SCENES: list[str | None] = [f"s{i // 6}" for i in range(60)]


def values(**changes: np.ndarray) -> dict[str, float | None]:
    given = {"mos": MOS, "scores": SCORES, "logits": LOGITS} | changes
    found = agreement(given["mos"], given["scores"], given["logits"], ALONE)
    return {name: e.value for name, e in found.estimates.items()}


def test_values_are_scipys() -> None:
    found = values()
    assert found["srocc"] == pytest.approx(stats.spearmanr(MOS, LOGITS).statistic)
    assert found["krocc"] == pytest.approx(stats.kendalltau(MOS, LOGITS).statistic)
    assert found["plcc"] == pytest.approx(stats.pearsonr(MOS, SCORES).statistic)
    assert found["mse"] == pytest.approx(np.mean((MOS - SCORES) ** 2))
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((MOS - SCORES) ** 2)))


def test_signs_are_kept() -> None:
    found = values(scores=1 - SCORES, logits=-LOGITS)
    assert found["srocc"] == pytest.approx(-stats.spearmanr(MOS, LOGITS).statistic)
    assert found["srocc"] is not None
    assert found["srocc"] < 0


def test_ranks_come_from_logits_where_float32_scores_tie() -> None:
    logits = np.arange(60.0) + 20
    scores = (1 / (1 + np.exp(-logits.astype(np.float32)))).astype(np.float64)
    assert len(np.unique(scores)) == 1
    found = values(mos=np.arange(60) / 60, scores=scores, logits=logits)
    assert found["srocc"] == pytest.approx(1)
    assert found["plcc"] is None


def test_a_constant_is_undefined_and_not_zero() -> None:
    found = agreement(MOS, np.full(60, 0.5), np.zeros(60), ALONE)
    for name in ("srocc", "plcc", "krocc"):
        assert found.estimates[name] == metrics.Estimate(None)
    assert found.estimates["mse"].value is not None


@pytest.mark.parametrize("scenes", [ALONE, SCENES], ids=["images", "scenes"])
def test_intervals_are_those_of_a_plain_bootstrap(scenes: list[str | None]) -> None:
    """The weighted algebra against sorting every resample with scipy."""
    found = agreement(MOS, SCORES, LOGITS, scenes, resamples=200, seed=3)
    units = [s or str(i) for i, s in enumerate(scenes)]
    names, unit_of = np.unique(units, return_inverse=True)
    generator = np.random.default_rng([3, len(names)])
    counts = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=200)
    drawn: dict[str, list[float]] = {"srocc": [], "krocc": [], "plcc": [], "mse": []}
    for count in counts:
        rows = np.repeat(np.arange(60), count[unit_of])
        drawn["srocc"].append(stats.spearmanr(MOS[rows], LOGITS[rows]).statistic)
        drawn["krocc"].append(stats.kendalltau(MOS[rows], LOGITS[rows]).statistic)
        drawn["plcc"].append(stats.pearsonr(MOS[rows], SCORES[rows]).statistic)
        drawn["mse"].append(float(np.mean((MOS[rows] - SCORES[rows]) ** 2)))
    for name, resamples in drawn.items():
        low, high = np.quantile(resamples, [0.025, 0.975])
        assert found.estimates[name].low == pytest.approx(low, abs=1e-9)
        assert found.estimates[name].high == pytest.approx(high, abs=1e-9)


def test_scenes_are_resampled_where_images_share_them_and_few_are_marked() -> None:
    by_scene = agreement(MOS, SCORES, LOGITS, SCENES)
    assert (by_scene.resampled, by_scene.units, by_scene.images) == ("scenes", 10, 60)
    assert by_scene.to_json()["few_scenes"] is True
    by_image = agreement(MOS, SCORES, LOGITS, ALONE)
    assert (by_image.resampled, by_image.units) == ("images", 60)
    assert by_image.to_json()["few_scenes"] is False


def test_kendall_is_the_same_in_blocks() -> None:
    weights = multiplicities(60, 20, 0).T
    whole = metrics.concordance(MOS, LOGITS, weights, block=512)
    blocks = metrics.concordance(MOS, LOGITS, weights, block=7)
    np.testing.assert_allclose(whole, blocks, rtol=1e-6)


def test_one_image_gives_no_correlation_and_no_crash() -> None:
    found = agreement(MOS[:1], SCORES[:1], LOGITS[:1], [None])
    assert found.estimates["srocc"].value is None
    assert found.estimates["mse"].value is not None
