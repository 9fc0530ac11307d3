"""Dice, Jaccard, Tversky and generalized Dice against segmentation_models_pytorch and against their formulas in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segwright.contracts import IGNORE
from segwright.losses import LOSSES

from .examples import K, example, multilabel, one_hot

Array = NDArray[np.float64]


def counts(logits: torch.Tensor, labels: torch.Tensor) -> tuple[Array, Array, Array]:
    """hit, predicted, true of each picture and class, [B, K], in float64."""
    z = logits.detach().double().numpy()
    p = np.exp(z - z.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True) * (labels != IGNORE).numpy()[:, None]
    t = one_hot(labels).numpy()
    return (p * t).sum((2, 3)), p.sum((2, 3)), t.sum((2, 3))


def close(value: torch.Tensor, expected: float) -> None:
    torch.testing.assert_close(value.detach().double(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), ignored=st.sampled_from([0.0, 0.4]), smooth=st.sampled_from([0.0, 1.0, 10.0]))
def test_they_are_segmentation_models_pytorchs(seed: int, ignored: float, smooth: float) -> None:
    logits, labels = example(seed, ignored=ignored)  # every class is there: absent ones are counted differently
    shared: dict[str, Any] = {"mode": "multiclass", "ignore_index": IGNORE}
    theirs = {
        "dice": smp.losses.DiceLoss(smooth=smooth / 2, **shared),
        "jaccard": smp.losses.JaccardLoss(smooth=smooth, **shared),
        "tversky": smp.losses.TverskyLoss(smooth=smooth, alpha=0.3, beta=0.7, **shared),
    }
    for name, other in theirs.items():
        close(LOSSES[name](K, smooth=smooth)(logits, labels), other(logits, labels).item())


def test_multi_label_ones_are_segmentation_models_pytorchs() -> None:
    logits, truth = multilabel()
    for name, other in (("dice", smp.losses.DiceLoss), ("jaccard", smp.losses.JaccardLoss)):
        close(LOSSES[name](K, smooth=0.0)(logits, truth), other(mode="multilabel")(logits, truth.long()).item())


@pytest.mark.parametrize("per_picture", [False, True])
@pytest.mark.parametrize("classes", ["present", "all"])
@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky"])
def test_means_over_classes_and_pictures(name: str, classes: str, per_picture: bool) -> None:
    """Class 4 is nowhere, class 3 in the second picture alone; class and picture weights."""
    logits, labels = example(5)
    labels[labels == 4] = 0
    labels[0][labels[0] == 3] = 1
    weights, of_class = torch.tensor([1.0, 3.0]), np.array([1.0, 2.0, 0.5, 4.0, 3.0])
    hit, predicted, true = counts(logits, labels)
    share = weights.double().numpy()
    if not per_picture:
        hit, predicted, true = ((share[:, None] * x).sum(0, keepdims=True) for x in (hit, predicted, true))
        share = np.ones(1)
    wrong, missed = predicted - hit, true - hit
    overlap = {
        "dice": (2 * hit + 2) / (predicted + true + 2),
        "jaccard": (hit + 2) / (predicted + true - hit + 2),
        "tversky": (hit + 2) / (hit + 0.3 * wrong + 0.7 * missed + 2),
    }[name]
    counted = of_class * ((true > 0) if classes == "present" else np.ones_like(true))
    of_picture = ((1 - overlap) * counted).sum(1) / counted.sum(1)
    args = {"smooth": 2.0, "classes": classes, "per_picture": per_picture, "class_weights": of_class.tolist()}
    close(LOSSES[name](K, **args)(logits, labels, weights), float((of_picture * share).sum() / share.sum()))


def test_a_picture_that_is_all_void_is_no_picture() -> None:
    logits, labels = example()
    labels[1] = IGNORE
    for name in ("dice", "jaccard", "tversky", "generalized_dice", "lovasz"):
        loss = LOSSES[name](K, per_picture=True)
        torch.testing.assert_close(loss(logits, labels), loss(logits[:1], labels[:1]))


@pytest.mark.parametrize("gamma", [1.0, 4 / 3, 3.0])
def test_focal_tversky_is_its_papers_formula(gamma: float) -> None:
    """Abraham and Khan 2019: the sum over classes of (1 - TI)^(1/γ); a mean here."""
    logits, labels = example()
    hit, predicted, true = (x.sum(0) for x in counts(logits, labels))
    index = (hit + 1) / (hit + 0.3 * (predicted - hit) + 0.7 * (true - hit) + 1)
    close(LOSSES["tversky"](K, gamma=gamma)(logits, labels), float(((1 - index) ** (1 / gamma)).mean()))


def test_dice_and_jaccard_are_tversky_with_their_weights() -> None:
    logits, labels = example()
    tversky = LOSSES["tversky"]
    dice, jaccard = LOSSES["dice"](K, smooth=2.0)(logits, labels), LOSSES["jaccard"](K)(logits, labels)
    torch.testing.assert_close(tversky(K, alpha=0.5, beta=0.5, smooth=1.0)(logits, labels), dice)
    torch.testing.assert_close(tversky(K, alpha=1, beta=1)(logits, labels), jaccard)


@pytest.mark.parametrize("per_picture", [False, True])
@pytest.mark.parametrize("missing", [False, True])
def test_generalized_dice_is_its_formula(per_picture: bool, missing: bool) -> None:
    """1 - 2 Σ w Σ r p / Σ w Σ (r + p), w = 1 / (Σ r)²; a class that is not there has no weight."""
    logits, labels = example(7)
    if missing:
        labels[labels == 2] = 3
    sums = counts(logits, labels)
    hit, predicted, true = sums if per_picture else (x.sum(0, keepdims=True) for x in sums)
    w = np.where(true > 0, 1 / np.maximum(true, 1) ** 2, 0)
    expected = 1 - 2 * (w * hit).sum(1) / (w * (true + predicted)).sum(1)
    close(LOSSES["generalized_dice"](K, per_picture=per_picture)(logits, labels), float(expected.mean()))


def test_generalized_dice_of_a_few_pixels_among_millions() -> None:
    """The squares of the sizes differ by 10¹²."""
    labels = torch.zeros(1, 1024, 1024, dtype=torch.int64)
    labels[0, 0, 0] = 1
    sure = torch.stack([labels == 0, labels == 1], 1).float() * 60 - 30
    loss = LOSSES["generalized_dice"](2)
    assert loss(sure, labels) < 1e-5
    missed = torch.stack(
        [torch.full_like(labels, 30.0, dtype=torch.float32), torch.full_like(labels, -30.0, dtype=torch.float32)], 1
    )
    assert loss(missed, labels) > 0.99


@pytest.mark.parametrize("name", ["dice", "jaccard", "lovasz"])
def test_a_set_is_a_class_of_its_own_and_says_nothing_about_its_members(name: str) -> None:
    """Classes 0, 1, 2, set {1, 2}: as if the classes and the union were four separate yes-or-no questions."""
    logits, labels = example(2)
    membership = torch.cat([torch.eye(K, dtype=torch.bool), torch.tensor([[False, True, True, False, False]])])
    told = labels.clone()
    told[1] = torch.where((labels[1] == 1) | (labels[1] == 2), K, labels[1])
    p = logits.softmax(1)
    union = p[:, 1:3].sum(1)
    values = []
    for label in range(K + 1):
        prob = union if label == K else p[:, label]
        known = told != IGNORE
        true = told == label
        if label in (1, 2):
            known = known & (told != K)
        if label == K:
            true = (told == K) | (told == 1) | (told == 2)
        two_way = torch.stack([1 - prob, prob], 1).clamp_min(1e-30).log()
        two_labels = torch.where(known, true.long(), IGNORE)
        values.append(LOSSES[name](2, class_weights=[0.0, 1.0])(two_way, two_labels))
    torch.testing.assert_close(LOSSES[name](K)(logits, told, None, membership), torch.stack(values).mean())
