from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, stats

from iqabench.resampling import Units, multiplicities, resampled_srocc
from iqabench.statistics.area import area, trapezoid_weights
from iqabench.statistics.damage import kept_order, pair_flips
from iqabench.statistics.msu import msu_scores, range_of
from iqabench.statistics.ranks import holm, rank_ranges
from iqabench.statistics.resampled import Resampled, weighted_sum
from iqabench.statistics.seeds import ENOUGH_SEEDS, combine

RNG = np.random.default_rng(23)
ALONE = Units.from_scenes([None] * 40)
CLEAN = RNG.normal(size=40).round(1)  # ties
ATTACKED = (CLEAN + RNG.normal(size=40)).round(1)
SCORES = 1 / (1 + np.exp(-CLEAN))
MOVED = 1 / (1 + np.exp(-ATTACKED))


def normal(value: float | None, *, scale: float = 0.01, units: int = 100) -> Resampled:
    """A number with normal resamples that have nothing to do with any other's."""
    seed = int.from_bytes(np.float64(value or 0).tobytes(), "little") % 2**32
    drawn = (value or 0) + scale * np.random.default_rng(seed).normal(size=4000)
    return Resampled(value, drawn, units)


def repeats(resamples: int) -> NDArray[np.int_]:
    """How often each of the 40 images is in each resample."""
    return multiplicities(40, resamples, 0).astype(int)[:, ALONE.of]


# Differences


def test_a_difference_is_paired() -> None:
    """Two rows that go up and down together differ by less than each is uncertain."""
    mos = RNG.normal(size=200)
    first = mos + RNG.normal(size=200)
    columns = np.stack([first, first + 0.1 * RNG.normal(size=200)])
    units = Units.from_scenes([None] * 200)
    drawn = resampled_srocc(mos, columns, units, resamples=500)
    one, two = (Resampled(0.7, drawn[:, i], 200) for i in (0, 1))
    difference = one - two
    np.testing.assert_allclose(difference.drawn, drawn[:, 0] - drawn[:, 1], atol=1e-12)
    assert difference.drawn.std() < 0.3 * one.drawn.std()


def test_a_difference_from_something_undefined_is_undefined() -> None:
    found = normal(0.5) - normal(None)
    assert found.value is None
    assert found.p is None
    assert found.estimate.low is None


def test_numbers_on_other_resamples_are_refused() -> None:
    with pytest.raises(ValueError, match="same resamples"):
        _ = normal(0.5) - normal(0.4, units=30)


# Holm and ranks


def test_holm_is_the_published_example() -> None:
    """Holm 1979 as in R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")."""
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_holm_rejects_what_stepping_down_rejects(p_values: list[float | None]) -> None:
    """The definition: reject the smallest while it is at most alpha / (hypotheses left)."""
    adjusted = holm(p_values)
    for alpha in (0.01, 0.05, 0.3):
        left = sorted((1.0 if p is None else p, i) for i, p in enumerate(p_values))
        rejected = set()
        while left and left[0][0] * len(left) <= alpha:
            rejected.add(left.pop(0)[1])
        found = {i for i, p in enumerate(adjusted) if p is not None and p <= alpha}
        assert found == {i for i in rejected if p_values[i] is not None}


def test_rows_far_apart_have_one_rank_each() -> None:
    assert rank_ranges([normal(0.1), normal(0.9), normal(0.5)]) == [(3, 3), (1, 1), (2, 2)]


def test_rows_that_cannot_be_told_apart_share_their_ranks() -> None:
    rows = [normal(0.500), normal(0.501), normal(0.9), normal(0.1)]
    assert rank_ranges(rows) == [(2, 3), (2, 3), (1, 1), (4, 4)]


def test_not_told_apart_does_not_carry_on_to_a_third_row() -> None:
    rows = [normal(0.50), normal(0.53), normal(0.56)]
    assert rank_ranges(rows) == [(2, 3), (1, 3), (1, 2)]


def test_an_undefined_row_has_no_range_and_takes_no_rank() -> None:
    assert rank_ranges([normal(0.1), normal(None), normal(0.9)]) == [(2, 2), None, (1, 1)]


def test_many_rows_need_clearer_differences() -> None:
    close = [normal(0.50, scale=0.005), normal(0.516, scale=0.005)]
    assert rank_ranges(close) == [(2, 2), (1, 1)]
    others = [normal(0.5 + 0.0001 * i, scale=0.005) for i in range(1, 12)]
    assert rank_ranges([*close, *others])[0] == (1, 13)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=6))
@settings(deadline=None, max_examples=30)
def test_a_rank_lies_in_its_range(values: list[float]) -> None:
    for value, found in zip(values, rank_ranges([normal(v) for v in values]), strict=True):
        assert found is not None
        assert found[0] <= 1 + sum(v > value for v in values)
        assert found[1] >= len(values) - sum(v < value for v in values)


# Area


def test_the_area_is_scipys_trapezoid_over_the_largest_eps() -> None:
    eps, srocc = [0.0, 0.5, 1.0, 4.0], [0.9, 0.4, -0.1, -0.6]
    found = area(eps, [normal(value) for value in srocc])
    assert found.value == pytest.approx(integrate.trapezoid(srocc, eps) / 4)
    drawn = np.stack([normal(value).drawn for value in srocc])
    np.testing.assert_allclose(found.drawn, integrate.trapezoid(drawn, eps, axis=0) / 4)


def test_a_curve_that_nothing_disturbs_has_area_one() -> None:
    assert area([0, 1, 8], [normal(1.0)] * 3).value == pytest.approx(1)


def test_an_undefined_point_leaves_no_area() -> None:
    assert area([0, 1], [normal(0.9), normal(None)]).value is None


@pytest.mark.parametrize("eps", [[0.0], [1.0, 2.0], [0.0, 2.0, 1.0], [0.0, 1.0, 1.0]])
def test_radii_that_make_no_area_are_refused(eps: list[float]) -> None:
    with pytest.raises(ValueError, match="ascend strictly from 0"):
        trapezoid_weights(eps)


# Rank damage


def test_pair_flips_count_pairs() -> None:
    flipped = total = 0.0
    for i in range(40):
        for j in range(i):
            before, after = np.sign(CLEAN[i] - CLEAN[j]), np.sign(ATTACKED[i] - ATTACKED[j])
            total += before != 0
            flipped += (before * after == -1) + 0.5 * (before != 0 and after == 0)
    assert pair_flips(CLEAN, ATTACKED, ALONE).value == pytest.approx(flipped / total)


def test_pair_flips_are_somers_d() -> None:
    expected = (1 - stats.somersd(CLEAN, ATTACKED).statistic) / 2
    assert pair_flips(CLEAN, ATTACKED, ALONE).value == pytest.approx(expected)


def test_pair_flips_on_resamples_are_somers_d_of_repeated_images() -> None:
    found = pair_flips(CLEAN, ATTACKED, ALONE, resamples=20)
    for drawn, row in zip(found.drawn, repeats(20), strict=True):
        expected = stats.somersd(np.repeat(CLEAN, row), np.repeat(ATTACKED, row)).statistic
        assert drawn == pytest.approx((1 - expected) / 2, abs=1e-6)


def test_pair_flips_at_their_ends() -> None:
    assert pair_flips(CLEAN, CLEAN, ALONE).value == pytest.approx(0)
    assert pair_flips(CLEAN, -CLEAN, ALONE).value == pytest.approx(1)
    assert pair_flips(CLEAN, np.zeros(40), ALONE).value == pytest.approx(0.5)
    assert pair_flips(np.zeros(40), CLEAN, ALONE).value is None


def test_kept_order_is_scipys_spearman() -> None:
    found = kept_order(CLEAN, ATTACKED, ALONE, resamples=20)
    assert found.value == pytest.approx(stats.spearmanr(CLEAN, ATTACKED).statistic)
    for drawn, row in zip(found.drawn, repeats(20), strict=True):
        expected = stats.spearmanr(np.repeat(CLEAN, row), np.repeat(ATTACKED, row)).statistic
        assert drawn == pytest.approx(expected)
    assert kept_order(CLEAN, np.zeros(40), ALONE).value is None


# MSU


def test_the_robustness_score_has_its_published_values() -> None:
    """A score of 50 that becomes 95 of 100 has R = 0.0458; swapped it would be 0.3245."""
    one = Units.from_scenes([None])
    there = msu_scores(np.array([0.50]), np.array([0.95]), one)
    back = msu_scores(np.array([0.95]), np.array([0.50]), one)
    assert there.robustness.value == pytest.approx(0.0458, abs=5e-5)
    assert back.robustness.value == pytest.approx(0.3245, abs=5e-5)


def test_a_score_that_does_not_change_counts_as_changed_by_a_millionth() -> None:
    still = msu_scores(np.array([0.5, 1.0]), np.array([0.5, 1.0]), Units.from_scenes([None] * 2))
    assert still.robustness.value == pytest.approx((np.log10(0.5e6) + 6) / 2)
    assert still.absolute_gain.value == 0
    assert still.wasserstein.value == 0


def test_gains_of_both_signs_average_out() -> None:
    both = msu_scores(np.array([0.4, 0.5]), np.array([0.5, 0.4]), Units.from_scenes([None] * 2))
    assert both.absolute_gain.value == pytest.approx(0, abs=1e-15)


def test_msu_scores_are_the_formulas_of_their_code() -> None:
    """score_methods.py, written out with its own scaler."""
    low, high = SCORES.min(), SCORES.max()
    s, a = (SCORES - low) / (high - low), (MOVED - low) / (high - low)
    sign = np.sign(a.mean() - s.mean())
    found = msu_scores(SCORES, MOVED, ALONE, low=low, high=high)
    expected = {
        "robustness": np.mean(np.log10(np.maximum(1 - s, s - 0) / (np.abs(s - a) + 1e-6))),
        "absolute_gain": np.mean(a - s),
        "relative_gain": np.mean(((a + 1) - (s + 1)) / (s + 1)),
        "wasserstein": stats.wasserstein_distance(s, a) * sign,
        "energy": stats.energy_distance(s, a) * sign,
    }
    assert {name: score.value for name, score in found} == pytest.approx(expected)
    assert range_of(SCORES) == (low, high)
    assert range_of(np.full(4, 0.5)) is None


def test_msu_scores_of_resamples_are_those_of_repeated_images() -> None:
    found = msu_scores(SCORES, MOVED, ALONE, resamples=10)
    for b, row in enumerate(repeats(10)):
        s, a = np.repeat(SCORES, row), np.repeat(MOVED, row)
        sign = np.sign(a.mean() - s.mean())
        assert found.absolute_gain.drawn[b] == pytest.approx(np.mean(a - s))
        assert found.wasserstein.drawn[b] == pytest.approx(sign * stats.wasserstein_distance(s, a))
        assert found.energy.drawn[b] == pytest.approx(sign * stats.energy_distance(s, a))


def test_a_fixed_range_does_not_depend_on_the_selection_of_images() -> None:
    """With their own range, the same shift looks different on half of the images."""
    scores = np.linspace(0.1, 0.9, 40)
    middle = slice(10, 30)
    half = Units.from_scenes([None] * 20)
    fixed = [
        msu_scores(scores, scores + 0.05, ALONE).absolute_gain.value,
        msu_scores(scores[middle], scores[middle] + 0.05, half).absolute_gain.value,
    ]
    assert fixed == pytest.approx([0.05, 0.05])
    own = []
    for part, units in ((scores, ALONE), (scores[middle], half)):
        low, high = range_of(part) or (0, 1)
        own.append(msu_scores(part, part + 0.05, units, low=low, high=high).absolute_gain.value)
    assert own == pytest.approx([0.05 / 0.8, 0.05 / (0.8 * 19 / 39)])


# Seeds


def test_few_seeds_give_an_interval_of_the_images_alone() -> None:
    rows = [normal(0.3), normal(0.5), normal(0.7)]
    found = combine(rows)
    assert (found.seeds, found.low, found.high) == (3, 0.3, 0.7)
    assert not found.resampled_seeds
    assert found.mean.value == pytest.approx(0.5)
    np.testing.assert_allclose(found.mean.drawn, np.mean([row.drawn for row in rows], axis=0))


def test_enough_seeds_are_resampled_too_and_widen_the_interval() -> None:
    values = np.linspace(0.3, 0.7, ENOUGH_SEEDS)
    found = combine([normal(float(value), scale=0.001) for value in values])
    assert found.resampled_seeds
    # The standard error of a mean of five, and Student's quantile with four degrees of freedom.
    assert found.mean.drawn.std() == pytest.approx(values.std() / np.sqrt(5), rel=0.05)
    assert found.mean.units == 5
    few = combine([normal(float(value), scale=0.001) for value in values[:4]])
    assert few.mean.drawn.std() < 0.001


def test_an_undefined_seed_leaves_no_mean() -> None:
    found = combine([normal(0.3), normal(None)])
    assert found.mean.value is None
    assert (found.low, found.high) == (None, None)


def test_weighted_sums_are_linear() -> None:
    one, two = normal(0.25), normal(0.5)
    found = weighted_sum([one, two], [2.0, -1.0])
    assert found.value == pytest.approx(0.0)
    np.testing.assert_allclose(found.drawn, 2 * one.drawn - two.drawn)
