"""Seed noise: Student's numbers against scipy, and what single trainings and repeats can say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from segwright.metrics.seeds import Noise, pooled_noise, seed_difference, spread, student_cdf, student_quantile


@settings(max_examples=60, deadline=None)
@given(st.floats(0.001, 0.999), st.floats(0.6, 300))
def test_students_quantile_is_scipys(share: float, freedom: float) -> None:
    assert student_quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-9, abs=1e-9)
    assert student_cdf(1.3, freedom) == pytest.approx(stats.t.cdf(1.3, freedom), abs=1e-12)


def test_wrong_arguments_are_refused() -> None:
    for share, freedom in ((0.0, 3), (1.0, 3), (0.5, 0)):
        with pytest.raises(ValueError, match="inside 0..1"):
            student_quantile(share, freedom)
    with pytest.raises(ValueError, match="no score"):
        spread([])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_a_spread_is_students_interval(values: list[float]) -> None:
    found = spread(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.deviation == pytest.approx(np.std(values, ddof=1), abs=1e-15)
    if found.deviation > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)


def test_two_repeated_settings_are_compared_as_welch_says() -> None:
    one, other = [0.61, 0.63, 0.62, 0.60], [0.55, 0.58, 0.53]
    found = seed_difference(spread(one), spread(other), None)
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval()
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.verdict, found.assumed) == ("better", False)
    back = seed_difference(spread(other), spread(one), None)
    assert back is not None
    assert back.verdict == "worse"
    same = seed_difference(spread([0.5, 0.5]), spread([0.5, 0.5]), None)
    assert same is not None
    assert (same.low, same.high, same.verdict) == (0, 0, "within seed noise")


def test_a_single_training_borrows_the_noise_of_the_repeated_ones() -> None:
    repeated, single = spread([0.60, 0.62, 0.64]), spread([0.635])
    noise = pooled_noise([repeated, single])
    assert noise == Noise(pytest.approx(0.02), 2)  # type: ignore[arg-type]
    found = seed_difference(single, repeated, noise)
    assert found is not None
    assert found.assumed
    assert found.verdict == "within seed noise"
    reach = stats.t.ppf(0.975, 2) * 0.02 * math.sqrt(1 + 1 / 3)
    assert found.high - found.value == pytest.approx(reach)
    assert noise.least() == pytest.approx(stats.t.ppf(0.975, 2) * 0.02 * math.sqrt(2))


def test_without_repeats_nothing_is_said() -> None:
    one, other = spread([0.6]), spread([0.5])
    assert pooled_noise([one, other]) is None
    assert seed_difference(one, other, None) is None
    assert math.isnan(one.deviation)


def test_several_settings_share_one_deviation() -> None:
    groups = [spread([0.1, 0.3]), spread([0.5, 0.6, 0.7]), spread([0.9])]
    noise = pooled_noise(groups)
    expected = math.sqrt((0.02 + 0.02) / 3)  # sums of squares over 1 + 2 degrees of freedom
    assert noise is not None
    assert (noise.deviation, noise.freedom) == (pytest.approx(expected), 3)


def test_the_interval_of_a_mean_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = sum(
        found.low <= 0.6 <= found.high for found in (spread(rng.normal(0.6, 0.02, 3).tolist()) for _ in range(400))
    )
    assert 366 <= inside <= 394  # 95 % of 400, three standard errors to each side
