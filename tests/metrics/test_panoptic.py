"""Panoptic quality: against torchmetrics, and by hand where torchmetrics knows nothing of groups."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.detection import PanopticQuality

from segwright.contracts import IGNORE
from segwright.labels import load_label_space
from segwright.metrics.measure import Scored
from segwright.metrics.panoptic import Instances, Segments, match_stuff, match_things
from segwright.metrics.regions import regions
from tests.metrics.maps import Ids

STUFF, THINGS = (0, 1), (2, 3)
CLASSES = 4


def objects(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Ids, Ids]:
    """Class ids and an instance map in Cityscapes' code."""
    ids = np.zeros(size, np.uint8)
    ids[: size[0] // 3] = 1
    instances = ids.astype(np.int32)
    for number in range(1, 7):
        top, left = rng.integers(0, size[0] - 4), rng.integers(0, size[1] - 4)
        high, wide = rng.integers(3, 12, 2)
        k = rng.choice(THINGS)
        ids[top : top + high, left : left + wide] = k
        instances[top : top + high, left : left + wide] = k * 1000 + number
    return ids, instances


def predicted(rng: np.random.Generator, ids: Ids, instances: Ids) -> tuple[Ids, Ids]:
    """The same moved a little, some objects called another class."""
    by = tuple(rng.integers(0, 3, 2))
    found, numbers = np.roll(ids, by, (0, 1)), np.roll(instances, by, (0, 1))
    for code in np.unique(numbers[numbers >= 1000]):
        if rng.random() < 0.3:
            found[numbers == code] = 2
    return found, numbers


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_agrees_with_torchmetrics(seed: int) -> None:
    rng = np.random.default_rng(seed)
    theirs = PanopticQuality(set(THINGS), set(STUFF), return_sq_and_rq=True, return_per_class=True)
    counts, ious = np.zeros((CLASSES, 3), np.int64), np.zeros(CLASSES)
    for _ in range(3):
        labels, instances = objects(rng, (24, 30))
        ids, numbers = predicted(rng, labels, instances)
        labels = labels.copy()
        labels[rng.random(labels.shape) < 0.1] = IGNORE
        labels[10:14, 5:20] = IGNORE
        things = match_things(regions(labels, instances), regions(ids, numbers), CLASSES)
        stuff = match_stuff(labels, ids, CLASSES)
        for of, classes in ((things, THINGS), (stuff, STUFF)):
            counts[list(classes)] += of.counts_K3[list(classes)]
            ious[list(classes)] += of.iou_K[list(classes)]
        planes = (np.stack([a, b], -1)[None].astype(np.int64) for a, b in ((ids, numbers), (labels, instances)))
        theirs.update(*(torch.from_numpy(plane) for plane in planes))
    ours = Segments(counts_K3=counts, iou_K=ious)
    order = [*THINGS, *STUFF]
    expected = theirs.compute().numpy()
    shown = np.nan_to_num(np.stack([ours.pq, ours.sq, ours.rq], -1)[order])  # torchmetrics writes 0 for undefined
    np.testing.assert_allclose(shown.reshape(expected.shape), expected, atol=1e-6)


def test_a_prediction_in_void_or_in_a_group_is_no_mistake() -> None:
    labels, instances = np.zeros((20, 40), np.uint8), np.zeros((20, 40), np.int32)
    labels[:, 0:10], instances[:, 0:10] = 2, 2001
    labels[:, 15:25], instances[:, 15:25] = 2, 26  # a group that nobody split
    labels[:, 30:40] = IGNORE
    ids = np.zeros_like(labels)
    ids[5:15, 17:23], ids[5:15, 32:38] = 2, 2
    counts = match_things(regions(labels, instances), regions(ids), CLASSES).counts_K3
    assert counts[2].tolist() == [0, 0, 1]  # the object is missed; nothing was invented
    ids[0:4, 11:14] = 2
    assert match_things(regions(labels, instances), regions(ids), CLASSES).counts_K3[2].tolist() == [0, 1, 1]
    assert match_things(regions(labels, instances), regions(ids), CLASSES, smallest=13).counts_K3[2].tolist() == [
        0,
        0,
        1,
    ]


def test_one_class_a_picture_is_stuff_and_touching_objects_are_one_prediction() -> None:
    space = load_label_space("streets10")
    labels, instances = np.zeros((30, 60), np.uint8), np.full((30, 60), 7, np.int32)
    labels[5:25, 5:25], instances[5:25, 5:25] = 7, 26001
    labels[5:25, 25:35], instances[5:25, 25:35] = 7, 26002  # touches the first
    labels[26:29, 50:55], instances[26:29, 50:55] = 6, 24001
    ids = np.where(labels == 6, 0, labels).astype(np.uint8)
    measure = Instances(space)
    arrays = measure.begin(2)
    rgb = np.zeros((0, 0, 3), np.uint8)
    measure.see(Scored(index=1, name="", rgb=rgb, labels=labels, ids=ids, instances=instances), arrays)
    result = measure.result(arrays, ["a", "a"])
    car, human, road = (result["classes"][space.class_names[k]] for k in (7, 6, 0))
    assert (car["kind"], car["objects"], car["recall"], car["found"]) == ("thing", 2, 0.5, 1.0)
    assert (car["sq"], car["rq"]) == (pytest.approx(400 / 600), pytest.approx(2 / 3))
    assert car["pq"] == pytest.approx(car["sq"] * car["rq"])
    assert (human["pq"], human["sq"], human["recall"], human["found"]) == (0.0, None, 0.0, 0.0)
    assert (road["kind"], road["objects"], road["rq"]) == ("stuff", None, 1.0)
    assert result["classes"][space.class_names[5]]["pq"] is None
    assert result["objects"] == 3
    assert result["things"]["classes"] == 2
    assert result["all"]["pq"] == pytest.approx(np.mean([car["pq"], 0.0, road["pq"]]))
    assert result["recall"] == pytest.approx(0.25)
    assert not arrays["things"][0].any()
