from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from iqabench import resampling
from iqabench.resampling import (
    FINE_RESAMPLES,
    Units,
    expanded_interval,
    interval,
    multiplicities,
    p_value,
    resampled_srocc,
    resamples_for,
    smallest_p,
)

RNG = np.random.default_rng(17)
ALONE: list[str | None] = [None] * 24
SCENES: list[str | None] = [f"s{i // 4}" for i in range(24)]


def test_units_are_scenes_where_images_share_them() -> None:
    units = Units.from_scenes(["b", "a", "b", None])
    assert (units.resampled, units.count) == ("scenes", 3)
    assert units.of[0] == units.of[2]
    assert len({units.of[0], units.of[1], units.of[3]}) == 3
    assert Units.from_scenes(ALONE).resampled == "images"
    assert Units.from_scenes(ALONE).count == 24


def test_few_scenes_are_scenes_and_fewer_than_thirty() -> None:
    assert Units.from_scenes([f"s{i}" for i in range(29)]).few_scenes
    assert not Units.from_scenes([f"s{i}" for i in range(30)]).few_scenes
    assert not Units.from_scenes([None] * 5).few_scenes


@pytest.mark.parametrize("resamples", [50, 2500], ids=["kept", "in blocks"])
def test_blocks_hold_the_same_resamples_whatever_their_size(
    resamples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first thousand fine resamples are those of the intervals in cell files."""
    units = Units.from_scenes(SCENES)
    whole = np.random.default_rng([3, 6]).multinomial(6, np.full(6, 1 / 6), size=resamples)
    np.testing.assert_array_equal(units.weights(resamples, seed=3), whole.T[units.of])
    for size in (24 * 7, 24 * 10_000):
        monkeypatch.setattr(resampling, "_BLOCK", size)
        blocks = np.concatenate([*units.blocks(resamples, seed=3)], axis=1)
        np.testing.assert_array_equal(blocks, units.weights(resamples, seed=3))


@settings(deadline=None, max_examples=40)
@given(
    values=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 3)), min_size=3, max_size=9
    )
)
def test_resampled_srocc_is_scipys_on_repeated_images(
    values: list[tuple[int, int, int]],
) -> None:
    reference = np.array([v[0] for v in values], dtype=float)
    columns = np.array([[v[1] for v in values], [v[2] for v in values]], dtype=float)
    units = Units.from_scenes([None] * len(values))
    found = resampled_srocc(reference, columns, units, resamples=8, seed=1)
    weights = multiplicities(len(values), 8, 1).astype(int)
    for b, row in enumerate(weights[:, units.of]):
        x = np.repeat(reference, row)
        for c, column in enumerate(columns):
            y = np.repeat(column, row)
            if np.ptp(x) == 0 or np.ptp(y) == 0:
                assert np.isnan(found[b, c])
            else:
                assert found[b, c] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_the_expanded_interval_is_students_for_a_mean() -> None:
    """For normal resamples with variance s^2 (u - 1) / u^2 it is the t interval, by design."""
    for units in (5, 30, 500):
        sample = RNG.normal(size=units)
        drawn = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
        drawn = sample.mean() + drawn * sample.std(ddof=0) / np.sqrt(units)
        low, high = expanded_interval(drawn, float(sample.mean()), units)
        half = stats.t.ppf(0.975, units - 1) * sample.std(ddof=1) / np.sqrt(units)
        assert low == pytest.approx(sample.mean() - half, rel=2e-3, abs=1e-3)
        assert high == pytest.approx(sample.mean() + half, rel=2e-3, abs=1e-3)


def test_the_p_value_is_students_for_a_mean() -> None:
    sample = RNG.normal(size=12) + 0.4
    drawn = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    drawn = sample.mean() + drawn * sample.std(ddof=0) / np.sqrt(12)
    expected = stats.ttest_1samp(sample, 0).pvalue
    assert p_value(drawn, 12) == pytest.approx(expected, rel=0.01)


@settings(deadline=None, max_examples=60)
@given(shift=st.floats(-4, 4), units=st.integers(5, 600))
def test_zero_lies_in_the_interval_as_the_p_value_says(shift: float, units: int) -> None:
    drawn = np.random.default_rng(3).normal(size=10_000) + shift
    low, high = expanded_interval(drawn, shift, units)
    p = p_value(drawn, units)
    assert low is not None
    assert high is not None
    assert p is not None
    assert 0 < p <= 1
    if not 0.045 < p < 0.055:
        assert (p > 0.05) == (low <= 0 <= high)


def test_equal_rows_have_a_p_value_of_one() -> None:
    assert p_value(np.zeros(100), 20) == pytest.approx(1)


def test_no_p_value_is_less_than_the_resamples_can_tell() -> None:
    drawn = np.full(1000, 0.3)
    assert p_value(drawn, 500) == pytest.approx(smallest_p(1000, 500))
    assert smallest_p(1000, 10_000) == pytest.approx(2 / 1001, rel=0.01)
    assert smallest_p(10_000, 500) < smallest_p(10_000, 5) < 0.05
    assert smallest_p(10_000, 1) == 1


def test_many_pairs_are_resampled_until_a_correction_leaves_something_to_tell() -> None:
    assert resamples_for(1, 500) == resamples_for(45, 500) == FINE_RESAMPLES
    many = resamples_for(231, 50)
    assert many > FINE_RESAMPLES
    assert 231 * smallest_p(many, 50) <= 0.025 < 231 * smallest_p(many // 2, 50)
    assert resamples_for(100_000, 50) == FINE_RESAMPLES  # no number of them would do
    assert resamples_for(1, 1) == FINE_RESAMPLES


def test_too_many_undefined_resamples_leave_no_interval() -> None:
    drawn = np.linspace(0, 1, 100)
    drawn[:10] = np.nan
    assert interval(drawn, 0.5)[0] is not None
    drawn[10] = np.nan
    assert interval(drawn, 0.5) == (None, None)
    assert expanded_interval(drawn, 0.5, 30) == (None, None)
    assert p_value(drawn, 30) is None


def test_one_unit_and_no_value_leave_no_interval() -> None:
    drawn = np.linspace(0, 1, 100)
    assert expanded_interval(drawn, 0.5, 1) == (None, None)
    assert p_value(drawn, 1) is None
    assert expanded_interval(drawn, None, 30) == (None, None)
