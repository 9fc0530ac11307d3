"""Scores against scikit-learn (bit for bit), torchmetrics (float32) and a worked example."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn import metrics as sk
from torchmetrics.functional import classification as tm

from segwright.metrics.scores import normalised, scores


@st.composite
def label_maps(draw: st.DrawFn) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """Class count, truth and prediction of 1 to 200 pixels; some classes are often in neither."""
    num_classes = draw(st.integers(2, 24))
    size = draw(st.integers(1, 200))
    ids = arrays(np.int64, size, elements=st.integers(0, num_classes - 1))
    return num_classes, draw(ids), draw(ids)


def counts_of(num_classes: int, truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(truth * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)


def same(ours: object, theirs: object) -> bool:
    return np.array_equal(np.asarray(ours), np.asarray(theirs), equal_nan=True)


def test_worked_example() -> None:
    """4×4 pixels, class A on two of them; the prediction hits one and adds one wrong (SYSTEMS.md, part E)."""
    truth, predicted = np.ones((4, 4), int), np.ones((4, 4), int)
    truth[0, 0] = truth[0, 1] = 0
    predicted[0, 0] = predicted[3, 3] = 0
    found = scores(counts_of(2, truth.ravel(), predicted.ravel()))
    percent = {
        "IoU_A": found.iou[0],
        "Dice_A": found.f1[0],
        "mIoU": found.macro_iou,
        "accuracy": found.accuracy,
        "macro-F1": found.macro_f1,
        "micro-F1": found.micro_f1,
    }
    assert {k: round(100 * float(v), 1) for k, v in percent.items()} == {
        "IoU_A": 33.3,
        "Dice_A": 50.0,
        "mIoU": 60.0,
        "accuracy": 87.5,
        "macro-F1": 71.4,
        "micro-F1": 87.5,
    }


@settings(deadline=None, max_examples=80)
@given(label_maps())
def test_exactly_equal_to_scikit_learn(maps: tuple[int, NDArray[np.int64], NDArray[np.int64]]) -> None:
    num_classes, truth, predicted = maps
    found = scores(counts_of(*maps))
    everything = list(range(num_classes))
    present = np.flatnonzero(found.present).tolist()
    args = (truth, predicted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn speaks up where a class is absent
        iou = sk.jaccard_score(*args, labels=everything, average=None, zero_division=0)
        precision, recall, f1, support = sk.precision_recall_fscore_support(
            *args, labels=everything, average=None, zero_division=np.nan
        )
        assert same(found.iou, np.where(found.present, iou, np.nan))
        assert same(found.precision, precision)
        assert same(found.recall, recall)
        assert same(found.f1, f1)
        assert same(found.support, support)
        assert found.macro_iou == sk.jaccard_score(*args, labels=present, average="macro")
        assert found.micro_iou == sk.jaccard_score(*args, labels=everything, average="micro")
        assert found.weighted_iou == sk.jaccard_score(*args, labels=everything, average="weighted")
        assert found.accuracy == sk.accuracy_score(*args)
        assert found.mean_accuracy == sk.balanced_accuracy_score(*args)
        assert found.macro_f1 == sk.f1_score(*args, labels=present, average="macro")
        assert found.micro_f1 == sk.f1_score(*args, labels=everything, average="micro")
        assert found.weighted_f1 == sk.f1_score(*args, labels=everything, average="weighted", zero_division=0)
        for over, name in (("truth", "true"), ("prediction", "pred"), ("all", "all"), ("none", None)):
            theirs = sk.confusion_matrix(*args, labels=everything, normalize=name)
            assert same(np.nan_to_num(found.confusion(over)), theirs)  # NaN here is 0 there


@settings(deadline=None, max_examples=40)
@given(label_maps())
def test_equal_to_torchmetrics(maps: tuple[int, NDArray[np.int64], NDArray[np.int64]]) -> None:
    """Single divisions agree to the last bit of float32; its means add in another order (4 units in the last place)."""
    num_classes, truth, predicted = maps
    found = scores(counts_of(*maps))
    args = (torch.from_numpy(predicted), torch.from_numpy(truth), num_classes)
    single = {
        "none": (tm.multiclass_jaccard_index, np.nan_to_num(found.iou)),
        "micro": (tm.multiclass_jaccard_index, found.micro_iou),
    }
    for average, (function, ours) in single.items():
        assert same(np.float32(ours), function(*args, average=average).numpy())
    assert same(np.float32(np.nan_to_num(found.f1)), tm.multiclass_f1_score(*args, average="none").numpy())
    assert same(np.float32(found.accuracy), tm.multiclass_accuracy(*args, average="micro").numpy())
    assert same(np.float32(np.nan_to_num(found.recall)), tm.multiclass_recall(*args, average="none").numpy())
    assert same(np.float32(np.nan_to_num(found.precision)), tm.multiclass_precision(*args, average="none").numpy())
    for ours, theirs in (
        (found.macro_iou, tm.multiclass_jaccard_index(*args, average="macro")),
        (found.weighted_iou, tm.multiclass_jaccard_index(*args, average="weighted")),
        (found.macro_f1, tm.multiclass_f1_score(*args, average="macro")),
        (found.weighted_f1, tm.multiclass_f1_score(*args, average="weighted")),
    ):
        np.testing.assert_array_max_ulp(np.float32(ours), theirs.numpy(), maxulp=4)


def test_absent_class_is_undefined_never_zero() -> None:
    counts = np.array([[5, 1, 0, 0], [2, 3, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])  # 2 only predicted, 3 nowhere
    found = scores(counts)
    assert found.absent == (3,)
    assert found.iou[2] == 0.0
    assert math.isnan(found.iou[3])
    assert math.isnan(found.f1[3])
    assert math.isnan(found.recall[2])  # no true pixel: its recall is undefined, although it was predicted
    assert found.precision[2] == 0.0
    assert found.macro_iou == pytest.approx((5 / 8 + 3 / 7 + 0) / 3)
    assert np.isnan(found.confusion("truth")[3]).all()
    assert found.confusion("truth")[0].sum() == pytest.approx(1)
    assert found.summary()["macro_iou"] == found.macro_iou


def test_without_pixels_everything_is_undefined() -> None:
    found = scores(np.zeros((3, 3), np.int64))
    assert found.pixels == 0
    assert set(found.summary().values()) == {None}
    assert np.isnan(found.share).all()


def test_scores_do_not_change_with_the_class_order() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 1000, (6, 6))
    order = rng.permutation(6)
    assert same(scores(counts[order][:, order]).iou, scores(counts).iou[order])


def test_large_counts_stay_exact() -> None:
    found = scores(np.array([[2**52, 1], [0, 2**52]]))
    assert found.iou[0] == 2**52 / (2**52 + 1)
    assert found.pixels == 2**53 + 1


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="integers"):
        scores(np.eye(3))
    with pytest.raises(ValueError, match="integers"):
        scores(np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="negative"):
        scores(-np.eye(2, dtype=int))


@pytest.mark.parametrize(("over", "axis"), [("truth", 1), ("prediction", 0)])
def test_rates_sum_to_one(over: str, axis: int) -> None:
    counts = np.random.default_rng(1).integers(1, 99, (5, 5))
    assert np.allclose(normalised(counts, over).sum(axis), 1)  # type: ignore[arg-type]
