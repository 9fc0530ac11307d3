"""Boundary IoU and boundary F: against Cheng's procedure class by class, brute force over all pairs, and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segwright.contracts import IGNORE
from segwright.labels import load_label_space
from segwright.metrics import boundary
from segwright.metrics.borders import Boundary, mean_of_ratios
from segwright.metrics.boundary import (
    band_width,
    boundary_counts,
    boundary_f,
    boundary_iou,
    match_contours,
    tolerance,
)
from segwright.metrics.intervals import miou_interval
from segwright.metrics.measure import Scored
from tests.metrics.maps import Ids, label_maps, shifted_blobs

CLASSES = 4


def bands_by_hand(values: Ids, known: Ids, k: int, width: int) -> Ids:
    """Pixels of class k that have, within `width` rows and columns, another known class or the outside."""
    band = np.zeros(values.shape, bool)
    for y, x in np.argwhere((values == k) & known):
        top, left = max(y - width, 0), max(x - width, 0)
        window = np.s_[top : y + width + 1, left : x + width + 1]
        outside = y < width or x < width or y + width >= values.shape[0] or x + width >= values.shape[1]
        band[y, x] = outside or ((values[window] != k) & known[window]).any()
    return band


@settings(max_examples=40, deadline=None)
@given(label_maps(CLASSES), st.integers(1, 4))
def test_bands_are_those_of_brute_force(maps: tuple[Ids, Ids], width: int) -> None:
    labels, ids = maps
    counts_K3 = boundary_counts(labels, ids, CLASSES, width=width)
    known = labels != IGNORE
    for k in range(CLASSES):
        truth, found = (bands_by_hand(values, known, k, width) for values in (labels, ids))
        assert counts_K3[k].tolist() == [(truth & found).sum(), truth.sum(), found.sum()]


@settings(max_examples=25, deadline=None)
@given(label_maps(CLASSES, void=False), st.integers(1, 4))
def test_without_void_each_class_scores_as_in_chengs_procedure(maps: tuple[Ids, Ids], width: int) -> None:
    def band(mask: Ids) -> Ids:
        padded = np.pad(mask, 1)
        eroded = ndimage.binary_erosion(padded, np.ones((3, 3)), iterations=width)[1:-1, 1:-1]
        return mask & ~eroded

    iou_K = boundary_iou(boundary_counts(*maps, CLASSES, width=width))
    for k in range(CLASSES):
        truth, found = (band(values == k) for values in maps)
        union = (truth | found).sum()
        expected = (truth & found).sum() / union if union else math.nan
        assert iou_K[k] == pytest.approx(expected, nan_ok=True)


def contour_by_hand(values: Ids, known: Ids, k: int) -> list[tuple[int, int]]:
    height, width = values.shape
    found = []
    for y, x in np.argwhere((values == k) & known).tolist():
        beside = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        inside = [(v, u) for v, u in beside if 0 <= v < height and 0 <= u < width]
        if any(known[at] and values[at] != k for at in inside):
            found.append((y, x))
    return found


@settings(max_examples=40, deadline=None)
@given(label_maps(CLASSES), st.sampled_from([(1.0, 2.0, 3.0), (1.5, 4.5), (0.0,)]))
def test_contours_match_as_in_brute_force(maps: tuple[Ids, Ids], limits: tuple[float, ...]) -> None:
    labels, ids = maps
    known = labels != IGNORE
    found = match_contours(labels, ids, CLASSES, limits)
    for k in range(CLASSES):
        sides = contour_by_hand(labels, known, k), contour_by_hand(ids, known, k)
        assert found.pixels_K2[k].tolist() == [len(side) for side in sides]
        for t, limit in enumerate(limits):
            for side, (own, other) in enumerate((sides, sides[::-1])):
                near = sum(any(math.dist(a, b) <= limit for b in other) for a in own)
                assert found.matched_KT2[k, t, side] == near


def test_whole_distance_maps_give_the_same_as_looking_around(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    labels, ids = shifted_blobs(rng, (90, 120), CLASSES)
    ids[rng.random(ids.shape) < 0.05] = 2
    limits = (1.0, 3.0, 9.0, 14.5)
    around = match_contours(labels, ids, CLASSES, limits)
    monkeypatch.setattr(boundary, "_CHUNK", 0)
    by_maps = match_contours(labels, ids, CLASSES, limits)
    assert np.array_equal(around.matched_KT2, by_maps.matched_KT2)


CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def test_f_agrees_with_scipys_distance_transform() -> None:
    labels, ids = shifted_blobs(np.random.default_rng(5), (120, 160), 3)
    labels[:, 60:66] = IGNORE
    limit = tolerance("segnet", (360, 480))
    found = match_contours(labels, ids, 3, [limit])
    known = labels != IGNORE
    f_K = boundary_f(found.pixels_K2, found.matched_KT2[:, 0])
    for k in range(3):
        lines = []
        for values in (labels, ids):
            other = (values != k) & known
            lines.append((values == k) & known & ndimage.binary_dilation(other, CROSS))
        away = [ndimage.distance_transform_edt(~line) for line in lines]
        recall, precision = (away[1][lines[0]] <= limit).mean(), (away[0][lines[1]] <= limit).mean()
        assert f_K[k] == pytest.approx(2 * recall * precision / (recall + precision))


def test_edges_of_the_definitions() -> None:
    one = np.zeros((20, 30), np.uint8)
    same = boundary_counts(one, one, 2, width=2)
    assert boundary_iou(same).tolist() == pytest.approx([1.0, math.nan], nan_ok=True)  # the picture's edge is a border
    alone = match_contours(one, one, 2, [3.0])
    assert np.isnan(boundary_f(alone.pixels_K2, alone.matched_KT2[:, 0])).all()  # but no contour
    half = one.copy()
    half[:, 15:] = 1
    missing = match_contours(half, one, 2, [3.0])
    assert boundary_f(missing.pixels_K2, missing.matched_KT2[:, 0]).tolist() == [0.0, 0.0]
    void = np.full((20, 30), IGNORE, np.uint8)
    assert not boundary_counts(void, half, 2).any()
    assert not match_contours(void, half, 2, [3.0]).pixels_K2.any()
    assert (band_width((360, 480)), band_width((1024, 2048)), band_width((3, 3))) == (12, 46, 1)
    assert tolerance("segnet", (360, 480)) == pytest.approx(4.5)
    assert (tolerance("davis", (360, 480)), tolerance("2px", (9, 9))) == (5.0, 2.0)
    with pytest.raises(ValueError, match="known are"):
        tolerance("4px", (9, 9))


def test_a_border_in_void_is_neither_right_nor_wrong() -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[:, 30:] = 1
    labels[:, 27:33] = IGNORE
    for border in (28, 30, 32):
        ids = np.zeros((40, 60), np.uint8)
        ids[:, border:] = 1
        assert not match_contours(labels, ids, 2, [3.0]).pixels_K2.any()
        assert boundary_iou(boundary_counts(labels, ids, 2, width=3)) == pytest.approx([1.0, 1.0])


def test_a_prediction_may_name_no_class() -> None:
    labels, ids = shifted_blobs(np.random.default_rng(4), (50, 70), 3)
    unnamed = np.where(ids == 2, IGNORE, ids).astype(np.uint8)
    other = np.where(ids == 2, 3, ids).astype(np.uint8)  # as good as a class that nobody asks for
    for measured in (boundary_counts, lambda *maps: np.concatenate(match_contours(*maps, [2.0]), axis=None)):
        named = measured(labels, other, 4)
        assert np.array_equal(measured(labels, unnamed, 3).ravel()[:6], named.ravel()[:6])


def test_the_measure_pools_bands_and_averages_contours() -> None:
    space = load_label_space("kitti11")
    measure = Boundary(space)
    rng, classes = np.random.default_rng(1), space.num_classes
    pictures = [shifted_blobs(rng, (60, 80), 5) for _ in range(4)]
    arrays = measure.begin(4)
    for index, (labels, ids) in enumerate(pictures):
        rgb = np.zeros((*labels.shape, 3), np.uint8)
        measure.see(Scored(index=index, name="", rgb=rgb, labels=labels, ids=ids), arrays)
    result = measure.result(arrays, ["a", "a", "b", "b"])

    pooled = boundary_iou(sum(boundary_counts(*p, classes) for p in pictures))
    assert result["boundary_iou"]["mean"] == pytest.approx(np.nanmean(pooled))
    assert result["boundary_iou"]["low"] <= result["boundary_iou"]["mean"] <= result["boundary_iou"]["high"]
    assert "2 groups" in result["boundary_iou"]["interval"]
    assert result["boundary_iou"]["classes"][space.class_names[9]] is None
    each = []
    for labels, ids in pictures:
        found = match_contours(labels, ids, classes, [1.0])
        each.append(boundary_f(found.pixels_K2, found.matched_KT2[:, 0]))
    one_px = result["boundary_f"]["tolerances"]["1px"]
    assert one_px["mean"] == pytest.approx(np.mean([np.nanmean(f_K) for f_K in each]))
    assert one_px["classes"][space.class_names[1]] == pytest.approx(np.nanmean([f_K[1] for f_K in each]))
    scores = [form["mean"] for form in result["boundary_f"]["tolerances"].values()]
    assert scores[2] < scores[3] < scores[4]


def test_mean_of_ratios_is_the_interval_of_miou_where_that_is_one() -> None:
    rng = np.random.default_rng(0)
    counts_NKK = rng.integers(0, 50, (30, 3, 3)) + 100 * np.eye(3, dtype=np.int64)
    hits_NK = counts_NKK.diagonal(axis1=1, axis2=2)
    union_NK = counts_NKK.sum(1) + counts_NKK.sum(2) - hits_NK
    groups = [str(i % 6) for i in range(30)]
    expected, found = miou_interval(counts_NKK, groups), mean_of_ratios(hits_NK, union_NK, groups)
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert found.conditions == expected.conditions
