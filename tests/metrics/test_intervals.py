"""Intervals: against scipy's bootstrap, a known coverage, and the groups that must be drawn whole."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from segwright.metrics.intervals import Draws, Resampled, class_differences, miou_difference, miou_interval
from segwright.metrics.scores import scores


def random_counts(seed: int, *, pictures: int = 40, classes: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 60, (pictures, classes, classes)) + 200 * np.eye(classes, dtype=np.int64)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_the_first_row_is_the_score_of_the_set(seed: int) -> None:
    counts_NKK = random_counts(seed)
    counts_NKK[:, 2] = counts_NKK[:, :, 2] = 0  # an absent class
    resampled, expected = Resampled(counts_NKK, resamples=10), scores(counts_NKK.sum(0))
    assert np.array_equal(resampled.iou_RK[0], expected.iou, equal_nan=True)
    assert resampled.miou_R()[0] == pytest.approx(expected.macro_iou, abs=1e-14)
    assert resampled.miou_R("camvid")[0] == pytest.approx(np.nan_to_num(expected.iou).mean(), abs=1e-14)
    assert resampled.accuracy_R[0] == pytest.approx(expected.accuracy, abs=1e-14)


def test_agrees_with_scipys_bootstrap() -> None:
    counts_NKK = random_counts(1)
    ours = miou_interval(counts_NKK, resamples=4000)

    def miou(rows: np.ndarray) -> float:
        return scores(counts_NKK[rows].sum(0)).macro_iou

    theirs = stats.bootstrap(
        (np.arange(len(counts_NKK)),), miou, vectorized=False, n_resamples=2000, method="percentile", rng=0
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.1 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.1 * width)


def test_groups_are_drawn_whole_and_one_group_is_called_too_narrow() -> None:
    one = random_counts(2, pictures=4)
    counts_NKK = np.repeat(one, 10, axis=0)  # four sequences of ten equal pictures
    groups = [str(i // 10) for i in range(40)]
    by_group, by_picture = miou_interval(counts_NKK, groups), miou_interval(counts_NKK)
    of_four = miou_interval(one, ["a", "b", "c", "d"])
    assert (by_group.unit, by_group.units) == ("groups", 4)
    assert (by_group.low, by_group.high) == pytest.approx((of_four.low, of_four.high))  # ten copies tell nothing new
    assert by_group.high - by_group.low > 1.5 * (by_picture.high - by_picture.low)
    alone = miou_interval(counts_NKK, ["clip"] * 40)
    assert alone.unit == "pictures"
    assert "wider" in alone.conditions
    assert "wider" not in by_group.conditions


def test_a_difference_is_paired() -> None:
    hard = random_counts(3)
    hard[::2] = hard[::2] // 4 + 90  # pictures differ much more than the two models do
    better = hard + 6 * np.eye(4, dtype=np.int64)
    difference = miou_difference(better, hard)
    assert difference.verdict == "better"
    assert miou_difference(hard, better).verdict == "worse"
    assert miou_difference(hard, hard).verdict == "cannot tell"
    unpaired = miou_interval(hard)
    assert difference.high - difference.low < 0.5 * (unpaired.high - unpaired.low)
    per_class = class_differences(Resampled(better), Resampled(hard))
    expected = scores(better.sum(0)).iou - scores(hard.sum(0)).iou
    assert [one.value for one in per_class] == pytest.approx(expected.tolist())
    with pytest.raises(ValueError, match="drawn alike"):
        class_differences(Resampled(better), Resampled(hard[:10]))


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    """Accuracy of pictures drawn from a known distribution: 95 % intervals hold its mean in 90 to 99 % of the trials."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(300):
        hits = rng.binomial(1000, rng.beta(8, 2, 60))
        counts_NKK = np.zeros((60, 2, 2), np.int64)
        counts_NKK[:, 0, 0], counts_NKK[:, 0, 1] = hits, 1000 - hits
        resampled = Resampled(counts_NKK, resamples=400)
        interval = resampled.interval(resampled.accuracy_R)
        inside += interval.low <= 0.8 <= interval.high
    assert 270 <= inside <= 297


def test_undefined_everywhere_is_nan() -> None:
    counts_NKK = np.zeros((3, 2, 2), np.int64)
    counts_NKK[:, 0, 0] = 5
    resampled = Resampled(counts_NKK, resamples=20)
    absent = resampled.interval(resampled.iou_RK[:, 1])
    assert np.isnan([absent.value, absent.low, absent.high]).all()
    with pytest.raises(ValueError, match="0 pictures"):
        Resampled(counts_NKK[:0])


def test_resamples_take_little_memory() -> None:
    pictures, resamples = 4000, 300
    tracemalloc.start()
    try:
        draws = Draws(pictures, resamples=resamples)
        totals = draws.totals(np.ones((pictures, 3)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (totals == pictures).all()  # every resample draws as many pictures as there are
    assert peak < 5 * pictures * resamples
