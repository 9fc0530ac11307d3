"""Protocols: each against an independent reading of its source."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from segwright.contracts import UserError
from segwright.metrics.protocols import PROTOCOLS, find_protocol
from segwright.metrics.scores import scores

MATRICES = st.integers(2, 6).flatmap(
    lambda k: arrays(np.int64, (k, k), elements=st.sampled_from([0, 0, 0, 1, 7, 400])).filter(lambda a: bool(a.any()))
)


def segnet_script(cf: NDArray[np.int64]) -> tuple[float, float, float]:
    """compute_test_results.m of the SegNet tutorial, line by line: global accuracy, class average, mean IoU."""
    classes = len(cf)
    conf, overlap = np.zeros((classes, classes)), np.zeros(classes)
    for i in range(classes):
        if cf[i].sum() > 0:
            conf[i] = cf[i] / cf[i].sum()
    for i in range(classes):
        if conf[i].sum() > 0:
            overlap[i] = cf[i, i] / (cf[i].sum() + cf[:, i].sum() - cf[i, i])
    return np.trace(cf) / cf.sum(), np.trace(conf) / classes, overlap.sum() / classes


@settings(deadline=None, max_examples=100)
@given(MATRICES)
def test_camvid_is_the_segnet_script(counts: NDArray[np.int64]) -> None:
    rule, found = PROTOCOLS["camvid"], scores(counts)
    overall, average, overlap = segnet_script(counts)
    assert found.accuracy == overall
    assert rule.mean_accuracy(found) == pytest.approx(average, rel=1e-15)
    assert rule.mean_iou(found) == pytest.approx(overlap, rel=1e-15)
    assert rule.left_out(found) == ()


@settings(deadline=None, max_examples=100)
@given(MATRICES)
def test_pooled_is_the_mean_over_classes_with_a_union(counts: NDArray[np.int64]) -> None:
    rule, found = PROTOCOLS["pooled"], scores(counts)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    used = [counts[k, k] / union[k] for k in range(len(counts)) if union[k] > 0]
    assert rule.mean_iou(found) == pytest.approx(sum(used) / len(used), rel=1e-15)
    assert len(rule.left_out(found)) == len(counts) - len(used)


def test_the_same_counts_score_differently() -> None:
    """One class in neither truth nor prediction: left out of one mean, 0 in the other."""
    found = scores(np.diag([8, 4, 0]))
    assert PROTOCOLS["pooled"].mean_iou(found) == 1
    assert PROTOCOLS["camvid"].mean_iou(found) == pytest.approx(2 / 3)


def test_without_pixels_there_is_no_score() -> None:
    for rule in PROTOCOLS.values():
        assert math.isnan(rule.mean_iou(scores(np.zeros((3, 3), int))))
        assert math.isnan(rule.mean_accuracy(scores(np.zeros((3, 3), int))))


def test_every_protocol_explains_itself_and_unknown_names_get_a_hint() -> None:
    for name, rule in PROTOCOLS.items():
        assert rule.name == name
        assert rule.sentence.startswith(f"{name}: ")
        assert rule.sentence.endswith(".")
    with pytest.raises(UserError, match=r"'poled'. Did you mean 'pooled'\? Known: pooled, camvid"):
        find_protocol("poled")
