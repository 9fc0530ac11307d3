"""Protocols: each against an independent reading of its source."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, jaccard_score, recall_score
from torchmetrics.classification import MulticlassJaccardIndex

from segwright.contracts import UserError
from segwright.labels import load_label_space
from segwright.metrics.protocols import PROTOCOLS, find_protocol, validation_protocol
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
        assert rule.source
        for space in rule.spaces:
            rule.check(load_label_space(space))
    with pytest.raises(UserError, match=r"'poled'. Did you mean 'pooled'\? Known: pooled, camvid"):
        find_protocol("poled")


@settings(deadline=None, max_examples=30)
@given(MATRICES)
def test_second_opinions_on_pooled_counts(counts: NDArray[np.int64]) -> None:
    """scikit-learn and torchmetrics on pixels, each in the form that is the protocol's definition."""
    counts = np.minimum(counts, 40)
    size = len(counts)
    truth, predicted = (np.repeat(axis.ravel(), counts.ravel()) for axis in np.indices(counts.shape))
    found = scores(counts)
    seen, true = sorted({*truth, *predicted}), sorted(set(truth))
    in_truth = jaccard_score(truth, predicted, labels=true, average=None, zero_division=0)
    for name in ("pooled", "voc", "suim-8", "cityscapes"):
        expected = jaccard_score(truth, predicted, labels=seen, average="macro", zero_division=0)
        assert PROTOCOLS[name].mean_iou(found) == pytest.approx(expected, rel=1e-12)
    metric = MulticlassJaccardIndex(size, average="none", zero_division=0.0)
    per_class = metric(torch.from_numpy(predicted), torch.from_numpy(truth)).double().numpy()
    ade, coco = PROTOCOLS["ade20k"].numbers(found), PROTOCOLS["cocostuff"].numbers(found)
    assert ade["mIoU"] == pytest.approx(per_class.mean(), abs=1e-6)
    assert ade["pixel accuracy"] == coco["pixel accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert ade["score"] == pytest.approx((ade["mIoU"] + ade["pixel accuracy"]) / 2)
    assert coco["mIoU"] == pytest.approx(in_truth.mean())
    weights = np.bincount(truth, minlength=size)[true] / len(truth)
    assert coco["frequency-weighted IoU"] == pytest.approx((weights * in_truth).sum())
    recall = recall_score(truth, predicted, labels=true, average=None, zero_division=0)
    assert coco["mean accuracy"] == pytest.approx(recall.mean())


def test_absent_classes_and_false_pixels_under_each_mean() -> None:
    """Class 1 in the prediction alone, class 2 in neither: the same counts, three means."""
    found = scores(np.array([[6, 2, 0], [0, 0, 0], [0, 0, 0]]))
    assert PROTOCOLS["pooled"].mean_iou(found) == pytest.approx(0.75 / 2)
    assert PROTOCOLS["cocostuff"].mean_iou(found) == pytest.approx(0.75)
    assert PROTOCOLS["ade20k"].mean_iou(found) == pytest.approx(0.75 / 3)
    assert PROTOCOLS["cocostuff"].left_out(found) == (1, 2)
    assert math.isnan(PROTOCOLS["suim-paper"].mean_iou(found))


def test_pixels_of_no_class_are_misses_and_nothing_else() -> None:
    found = scores(np.array([[6, 0], [2, 4]]), np.array([2, 0]))
    assert found.iou.tolist() == [6 / 10, 4 / 6]
    assert found.recall.tolist() == [6 / 8, 4 / 6]
    assert found.precision.tolist() == [6 / 8, 1.0]
    assert found.accuracy == 10 / 14
    assert found.micro_iou == 10 / (14 + 12 - 10)
    assert found.confusion("truth")[0].tolist() == [6 / 8, 0]


def test_classes_that_cityscapes_ignores_count_nowhere() -> None:
    space = load_label_space("cityscapes34")
    rule = PROTOCOLS["cityscapes"].for_space(space)
    assert len(rule.void) == 15
    counts = np.zeros((34, 34), np.int64)
    counts[7, 7], counts[7, 9], counts[9, 7] = 6, 2, 50
    found = scores(rule.without_void(counts))
    assert rule.mean_iou(found) == 6 / 8
    assert PROTOCOLS["cityscapes"].for_space(load_label_space("cityscapes19")).void == ()


def test_protocols_refuse_other_classes() -> None:
    camvid = load_label_space("camvid11")
    for name in ("cityscapes", "kitti", "voc", "ade20k", "cocostuff", "suim-8", "suim-paper"):
        with pytest.raises(
            UserError, match=f"protocol '{name}' scores the classes of .* but label space 'camvid11' has others"
        ):
            PROTOCOLS[name].check(camvid)
    PROTOCOLS["pooled"].check(camvid)
    PROTOCOLS["camvid"].check(camvid)


def test_a_training_is_not_judged_by_what_counts_cannot_say() -> None:
    with pytest.raises(
        UserError, match="Train with protocol=pooled, then: segwright evaluate runs/latest --protocol suim-paper"
    ):
        validation_protocol("suim-paper", load_label_space("suim8"))
    assert validation_protocol("suim-8", load_label_space("suim8")).name == "suim-8"
