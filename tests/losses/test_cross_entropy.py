"""Cross entropy against torch's own and its definition, and the total over a model's outputs."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from segwright.contracts import IGNORE, Batch, Outputs
from segwright.losses import AUXILIARY_WEIGHT, CrossEntropy, total_loss

from .examples import K, example


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.1, 0.5]),
    ignored=st.sampled_from([0.0, 0.3, 0.9]),
)
def test_cross_entropy_is_torchs(seed: int, weighted: bool, smoothing: float, ignored: float) -> None:
    logits, labels = example(seed, ignored=ignored)
    weights = [0.5, 1.0, 2.0, 0.1, 3.0] if weighted else None
    ours = CrossEntropy(K, class_weights=weights, label_smoothing=smoothing)(logits, labels)
    if (labels == IGNORE).all():
        assert ours == 0
        return
    theirs = F.cross_entropy(
        *(logits, labels, None if weights is None else torch.tensor(weights)),
        ignore_index=IGNORE,
        label_smoothing=smoothing,
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weights", [None, [0.2, 5.0, 1.0, 1.0, 1.0]])
def test_an_uninformed_model_has_ln_k(weights: list[float] | None) -> None:
    _, labels = example()
    value = CrossEntropy(K, class_weights=weights)(torch.zeros(2, K, 13, 11), labels)
    assert math.isclose(value.item(), math.log(K), rel_tol=1e-5)


def test_picture_weights_move_the_mean() -> None:
    logits, labels = example(ignored=0)
    loss = CrossEntropy(K)
    only_first = loss(logits, labels, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(only_first, loss(logits[:1], labels[:1]))


def test_low_resolution_logits_and_auxiliary_heads_are_counted_once_each() -> None:
    logits, labels = example(ignored=0.1)
    small = torch.randn(2, K, 3, 4)
    batch = Batch(image=torch.zeros(2, 3, 13, 11), labels=labels, names=("a", "b"), weights=torch.ones(2))
    loss = CrossEntropy(K)
    total = total_loss(loss, Outputs(small, (logits,)), batch)
    wide = F.interpolate(small, (13, 11), mode="bilinear", align_corners=False)
    torch.testing.assert_close(total, loss(wide, labels) + AUXILIARY_WEIGHT * loss(logits, labels))
    heavier = total_loss(loss, Outputs(small, (logits,)), batch, auxiliary_weight=1.5)
    torch.testing.assert_close(heavier, loss(wide, labels) + 1.5 * loss(logits, labels))


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 2.0, 0.1, 3.0]])
@pytest.mark.parametrize("smoothing", [0.1, 0.4])
def test_smoothing_of_the_others_is_its_definition(weights: list[float] | None, smoothing: float) -> None:
    """True class 1 - s, every other s/K: as soft targets of torch's own, which add up to less than 1."""
    logits, labels = example()
    valid = labels != IGNORE
    target = (
        torch.full((K,), smoothing / K)
        .repeat(*labels.shape, 1)
        .scatter(3, labels.where(valid, 0)[..., None], 1 - smoothing)
    )
    of_class = None if weights is None else torch.tensor(weights)
    pixels = F.cross_entropy(logits, target.movedim(-1, 1), of_class, reduction="none")
    share = valid.float() if of_class is None else of_class[labels.where(valid, 0)] * valid
    loss = CrossEntropy(K, class_weights=weights, label_smoothing=smoothing, smoothing_form="others")
    torch.testing.assert_close(loss(logits, labels), (pixels * valid).sum() / share.sum())
    members = torch.eye(K, dtype=torch.bool)
    told_twice = torch.where(labels == 2, labels + K, labels)
    torch.testing.assert_close(loss(logits, told_twice, None, torch.cat([members, members])), loss(logits, labels))


def test_only_what_starts_at_ln_k_says_so() -> None:
    assert CrossEntropy(K, label_smoothing=0.1).starts_at_ln_k
    assert CrossEntropy(K, smoothing_form="others").starts_at_ln_k
    assert not CrossEntropy(K, label_smoothing=0.1, smoothing_form="others").starts_at_ln_k


def marginal_loss(
    logits: Tensor, labels: Tensor, sets: dict[int, list[int]], weights: list[float], smoothing: float
) -> float:
    """The definition, pixel by pixel in float64: (1 - s) · w̄ · -log of the set's probability + s · mean of w_k · -log p_k."""
    total = share = 0.0
    for logit_K, label in zip(
        logits.detach().double().movedim(1, -1).reshape(-1, K), labels.flatten().tolist(), strict=True
    ):
        if label == IGNORE:
            continue
        p = (logit_K - logit_K.max()).exp()
        p = p / p.sum()
        members = sets.get(label, [label])
        mean_weight = sum(weights[k] for k in members) / len(members)
        smooth = -sum(weights[k] * math.log(p[k]) for k in range(K)) / K
        total += -(1 - smoothing) * mean_weight * math.log(sum(p[k] for k in members)) + smoothing * smooth
        share += mean_weight
    return total / share


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), weighted=st.booleans(), smoothing=st.sampled_from([0.0, 0.1]))
def test_cross_entropy_of_sets_is_its_definition(seed: int, weighted: bool, smoothing: float) -> None:
    logits, labels = example(seed)
    sets = {K: [0, 1], K + 1: [1, 2, 4]}
    membership = torch.cat([torch.eye(K, dtype=torch.bool), torch.zeros(2, K, dtype=torch.bool)])
    for label, members in sets.items():
        membership[label, members] = True
    chosen = torch.rand(labels.shape, generator=torch.Generator().manual_seed(seed))
    labels = torch.where(chosen < 0.3, K, torch.where(chosen < 0.5, K + 1, labels))
    weights = [0.5, 1.0, 2.0, 0.1, 3.0] if weighted else [1.0] * K
    loss = CrossEntropy(K, class_weights=weights if weighted else None, label_smoothing=smoothing)
    ours = loss(logits, labels, None, membership)
    assert math.isclose(ours.item(), marginal_loss(logits, labels, sets, weights, smoothing), rel_tol=1e-4)
