"""Regions and what was found of them: against scipy's labelling, region by region."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segwright.contracts import IGNORE
from segwright.labels import load_label_space
from segwright.metrics.measure import Scored
from segwright.metrics.regions import overlaps, regions
from segwright.metrics.sizes import SPECK, Sizes, find_regions
from tests.metrics.maps import Ids, label_maps, shifted_blobs

EIGHT = np.ones((3, 3))


@settings(max_examples=60, deadline=None)
@given(label_maps(4))
def test_regions_are_those_of_scipy(maps: tuple[Ids, Ids]) -> None:
    labels = maps[0]
    found = regions(labels)
    assert np.array_equal(found.map_HW == 0, labels == IGNORE)
    assert found.area_R.sum() == labels.size
    expected = 0
    for k in range(4):
        numbered, count = ndimage.label(labels == k, EIGHT)
        expected += count
        for n in range(1, count + 1):
            inside = np.unique(found.map_HW[numbered == n])
            assert len(inside) == 1
            assert found.class_R[inside[0]] == k
            assert found.area_R[inside[0]] == (numbered == n).sum()
    assert found.count == expected


def test_objects_are_regions_of_their_own() -> None:
    labels = np.array([[0, 0, 0, 0, 0, 255, 1, 1]] * 4, np.uint8)
    instances = np.array([[26001, 26001, 26002, 26002, 26001, 26001, 24, 24]] * 4, np.int32)
    found = regions(labels, instances)
    assert found.class_R[1:].tolist() == [0, 0, 1]
    assert found.area_R[1:].tolist() == [12, 8, 8]  # an object in two pieces is one; its void pixels are cut out
    assert found.instance_R[1:].tolist() == [True, True, False]  # 24 is a group: connected regions


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 6))
def test_overlaps_count_every_pair(seed: int, most: int, other: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (rng.integers(0, n + 1, (7, 9), dtype=np.int32) for n in (most, other))
    found = overlaps(first, second)
    table = {(a, b): n for a, b, n in zip(*(column.tolist() for column in found), strict=True)}
    expected: dict[tuple[int, int], int] = {}
    for pair in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True):
        expected[pair] = expected.get(pair, 0) + 1
    assert table == expected


@settings(max_examples=40, deadline=None)
@given(label_maps(3))
def test_each_region_is_compared_with_the_best_predicted_one(maps: tuple[Ids, Ids]) -> None:
    labels, ids = maps
    expected = []
    for k in range(3):
        truth, truths = ndimage.label(labels == k, EIGHT)
        found, founds = ndimage.label(ids == k, EIGHT)
        for n in range(1, truths + 1):
            region = truth == n
            if region.sum() < SPECK:
                continue
            others = [(found == m) & (labels != IGNORE) for m in range(1, founds + 1)]
            best = max(((region & o).sum() / (region | o).sum() for o in others), default=0.0)
            expected.append((k, region.sum(), (ids[region] == k).sum(), best))
    seen = find_regions(labels, ids)
    rows = sorted(zip(*(column.tolist() for column in seen[:4]), strict=True))
    np.testing.assert_allclose(np.array(rows).reshape(-1, 4), np.array(sorted(expected)).reshape(-1, 4))


def test_the_measure_sums_by_size_and_names_what_was_missed() -> None:
    space = load_label_space("streets10")
    labels = np.zeros((100, 120), np.uint8)  # 12 000 pixels: small up to 40, large above 360
    labels[0:5, 0:8] = 3  # 40 pixels, small
    labels[20:25, 0:8] = 3  # small, half found
    labels[50:60, 50:60] = 3  # 100 pixels, medium
    labels[90:92, 0:4] = 3  # a speck
    ids = np.where(labels == 3, 0, labels).astype(np.uint8)
    ids[20:25, 0:4] = 3
    ids[50:60, 50:60] = 3
    ids[90:92, 0:4] = 3
    measure = Sizes(space)
    arrays = measure.begin(2)
    for index, of in enumerate((ids, labels)):
        rgb = np.zeros((*labels.shape, 3), np.uint8)
        measure.see(Scored(index=index, name="", rgb=rgb, labels=labels, ids=of), arrays)
    result = measure.result(arrays, ["a", "b"])
    small = result["classes"][space.class_names[3]]["small"]
    assert small == {
        "regions": 4,
        "recall": pytest.approx((20 + 80) / 160),
        "missed": 1,
        "missed_share": pytest.approx(0.25),
        "iou": pytest.approx((0 + 0.5 + 1 + 1) / 4),
    }
    assert result["classes"][space.class_names[3]]["medium"]["recall"] == 1.0
    assert result["classes"][space.class_names[0]]["large"]["regions"] == 2
    assert result["classes"][space.class_names[5]]["small"]["recall"] is None
    assert result["missed"][space.class_names[3]] == pytest.approx(1 / 6)
    assert result["all"]["small"]["regions"] == 4


def test_numbering_of_regions_does_not_change_a_bit() -> None:
    space = load_label_space("streets10")
    labels, ids = shifted_blobs(np.random.default_rng(2), (90, 110), 6)
    measure = Sizes(space)
    sums = []
    for turned in (np.asarray, np.flipud):
        arrays = measure.begin(1)
        one, other = (np.ascontiguousarray(turned(values)) for values in (labels, ids))
        measure.see(Scored(index=0, name="", rgb=np.zeros((0, 0, 3), np.uint8), labels=one, ids=other), arrays)
        sums.append(arrays)
    assert all(np.array_equal(sums[0][key], sums[1][key]) for key in sums[0])
