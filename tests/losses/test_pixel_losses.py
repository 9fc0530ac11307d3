"""Focal, OHEM, binary cross entropy and distance-aware focal loss against torch, torchvision, SciPy and NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from segwright.contracts import IGNORE
from segwright.losses import LOSSES
from segwright.losses.distance_focal import REACH, softened

from .examples import K, blobs, build, example, multilabel, one_hot

WEIGHTS = [0.5, 1.0, 2.0, 0.1, 3.0]


def close(value: torch.Tensor, expected: float) -> None:
    torch.testing.assert_close(value.detach().double(), torch.tensor(expected).double(), rtol=1e-5, atol=1e-7)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]),
    alpha=st.sampled_from([1.0, 0.25, WEIGHTS]),
)
def test_focal_is_its_formula(seed: int, gamma: float, alpha: float | list[float]) -> None:
    logits, labels = example(seed)
    p = logits.detach().double().softmax(1).movedim(1, -1).reshape(-1, K).numpy()
    y = labels.flatten().numpy()
    p, y = p[y != IGNORE], y[y != IGNORE]
    p_true = p[np.arange(len(y)), y]
    a = np.array(alpha)[y] if isinstance(alpha, list) else alpha
    close(
        build("focal", gamma=gamma, alpha=alpha)(logits, labels),
        float((-a * (1 - p_true) ** gamma * np.log(p_true)).mean()),
    )


def test_focal_of_two_classes_is_torchvisions() -> None:
    logits, labels = example(ignored=0)
    two = logits[:, :2]
    theirs = sigmoid_focal_loss(two[:, 1] - two[:, 0], (labels % 2).float(), alpha=-1, gamma=2, reduction="mean")
    torch.testing.assert_close(LOSSES["focal"](2)(two, labels % 2), theirs)


def test_focal_without_focus_is_cross_entropy() -> None:
    logits, labels = example()
    for weights in (None, WEIGHTS):
        plain = build("cross_entropy", class_weights=weights)(logits, labels)
        torch.testing.assert_close(build("focal", gamma=0, class_weights=weights)(logits, labels), plain)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    threshold=st.sampled_from([0.0, 0.2, 0.7, 1.0]),
    kept=st.sampled_from([0.001, 0.1, 0.5, 1.0]),
    weighted=st.booleans(),
)
def test_ohem_is_cross_entropy_of_the_hard_pixels(seed: int, threshold: float, kept: float, weighted: bool) -> None:
    logits, labels = example(seed)
    weights = WEIGHTS if weighted else None
    p = logits.detach().softmax(1)
    p_true = p.gather(1, labels.where(labels != IGNORE, 0)[:, None])[:, 0]
    order = sorted(p_true[labels != IGNORE].tolist())
    limit = order[math.ceil(kept * len(order)) - 1]
    hard = (p_true < threshold) | (p_true <= limit)
    expected = build("cross_entropy", class_weights=weights)(logits, labels.where(hard, IGNORE))
    found = build("ohem", threshold=threshold, kept=kept, class_weights=weights)(logits, labels)
    torch.testing.assert_close(found, expected)


def test_ohem_that_keeps_all_is_cross_entropy() -> None:
    logits, labels = example()
    torch.testing.assert_close(build("ohem", kept=1.0)(logits, labels), build("cross_entropy")(logits, labels))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("pos_weight", [1.0, 3.0, WEIGHTS])
def test_bce_is_torchs(pos_weight: float | list[float], weighted: bool) -> None:
    logits, truth = multilabel()
    _, labels = example()
    pos = torch.tensor(pos_weight).expand(K)[:, None, None]
    loss = build("bce", pos_weight=pos_weight, class_weights=WEIGHTS if weighted else None)
    share = torch.tensor(WEIGHTS if weighted else [1.0] * K)[:, None, None].expand_as(logits)
    for target, told in ((truth, truth), (one_hot(labels).bool(), labels)):
        valid = share * (told != IGNORE).reshape(2, -1, 13, 11) if told is labels else share
        pixels = F.binary_cross_entropy_with_logits(logits, target.float(), pos_weight=pos, reduction="none")
        torch.testing.assert_close(loss(logits, told), (pixels * valid).sum() / valid.sum())


def test_bce_of_an_uninformed_model_is_ln_2() -> None:
    _, labels = example()
    close(build("bce")(torch.zeros(2, K, 13, 11), labels), math.log(2))


@pytest.mark.parametrize("sigma", [0.7, 2.0, 5.0])
def test_softened_masks_are_gaussians_of_scipys_distance(sigma: float) -> None:
    mask = one_hot(blobs(3, size=(31, 22))).bool()
    mask[0, 2] = False
    found = softened(mask, sigma).double().numpy()
    for picture, of_picture in zip(found, mask.numpy(), strict=True):
        for soft, hard in zip(picture, of_picture, strict=True):
            d = distance_transform_edt(~hard) if hard.any() else np.full(hard.shape, np.inf)
            expected = np.exp(-(d**2) / (2 * sigma**2))
            near = d <= REACH * sigma
            assert np.abs(soft - expected)[near].max(initial=0) < 1e-6
            assert np.abs(soft - expected).max() < 4e-4


@pytest.mark.parametrize(("alpha", "beta", "sigma"), [(2, 4, 4.0), (1, 2, 1.5), (0.5, 0, 3.0)])
def test_distance_focal_is_its_formula(alpha: float, beta: float, sigma: float) -> None:
    """-1/N Σ (1 - p)^α log p where y = 1, (1 - y)^β p^α log(1 - p) elsewhere; N the true pixels."""
    logits = example(1, size=(24, 20))[0]
    labels = blobs(1)
    labels[0, :5, :5] = IGNORE
    p = logits.detach().double().softmax(1).numpy()
    total = 0.0
    for b in range(2):
        valid = (labels[b] != IGNORE).numpy()
        for c in range(K):
            true = (labels[b] == c).numpy()
            y = np.exp(-(distance_transform_edt(~true) ** 2) / (2 * sigma**2)) if true.any() else np.zeros_like(p[b, c])
            q = p[b, c]
            of_true = (1 - q) ** alpha * np.log(q)
            of_other = (1 - y) ** beta * q**alpha * np.log(1 - q)
            total -= np.where(true, of_true, of_other)[valid].sum()
    found = build("distance_focal", alpha=alpha, beta=beta, sigma=sigma)(logits, labels)
    assert found.item() == pytest.approx(total / int((labels != IGNORE).sum()), rel=2e-4)


def test_a_false_positive_near_its_object_costs_less() -> None:
    labels = torch.zeros(1, 40, 40, dtype=torch.int64)
    labels[0, 10:16, 10:16] = 1
    sure = 8 * torch.stack([labels == 0, labels == 1], 1).float()
    near, far = sure.clone(), sure.clone()
    near[0, :, 13, 17] = torch.tensor([0.0, 8.0])
    far[0, :, 35, 35] = torch.tensor([0.0, 8.0])
    loss = LOSSES["distance_focal"](2)
    assert loss(near, labels) < loss(far, labels)
    assert LOSSES["distance_focal"](2, beta=0)(near, labels).item() == pytest.approx(
        LOSSES["distance_focal"](2, beta=0)(far, labels).item(), rel=1e-6
    )
