"""The set loss against the library's own, against brute force, and where pixels are void."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from segwright.contracts import IGNORE, Batch, Outputs, Queries
from segwright.losses import CrossEntropy, total_loss
from segwright.losses.queries import SET_LOSS, SetLoss
from segwright.losses.total import AUXILIARY_WEIGHT

K, Q = 4, 6


def layers(count: int, size: tuple[int, int], seed: int = 0, batch: int = 2) -> tuple[Queries, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        Queries(
            torch.randn(batch, Q, K + 1, generator=generator).requires_grad_(),
            (3 * torch.randn(batch, Q, *size, generator=generator)).requires_grad_(),
        )
        for _ in range(count)
    )


def blocks(height: int, width: int, seed: int = 0, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, K, (batch, 1, 3, 3), generator=generator).float()
    return F.interpolate(coarse, size=(height, width)).long()[:, 0]


@pytest.mark.parametrize("count", [1, 3])
def test_it_is_the_library_s_own_loss_where_nothing_is_void(count: int) -> None:
    """transformers draws its points in the same order, so the same seed gives the same number."""
    from transformers import Mask2FormerConfig
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

    weights = {"cross_entropy": 2.0, "mask": 5.0, "dice": 5.0}
    theirs = Mask2FormerLoss(Mask2FormerConfig(num_labels=K, train_num_points=200), {})
    queries, labels = layers(count, (10, 14)), blocks(40, 56)
    classes = [labels_HW.unique() for labels_HW in labels]
    masks = [(one == c[:, None, None]).float() for one, c in zip(labels, classes, strict=True)]
    inner = [{"masks_queries_logits": q.mask_BQhw, "class_queries_logits": q.class_BQK1} for q in queries[:-1]]
    torch.manual_seed(3)
    parts = theirs(queries[-1].mask_BQhw, queries[-1].class_BQK1, masks, classes, inner)
    expected = sum(
        value * next(w for name, w in weights.items() if f"loss_{name}" in key) for key, value in parts.items()
    )
    torch.manual_seed(3)
    found = SetLoss(points=200)(queries, labels)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    found.backward()
    ours = [t.grad.clone() for q in queries for t in q if t.grad is not None]
    for tensor in (t for q in queries for t in q):
        tensor.grad = None
    expected.backward()
    for mine, tensor in zip(ours, (t for q in queries for t in q), strict=True):
        torch.testing.assert_close(mine, tensor.grad, rtol=1e-4, atol=1e-6)


def one_pair(class_K1: Tensor, mask_hw: Tensor, label: int, labels_HW: Tensor) -> float:
    """Cost of a query for a class, from the definitions, pixel by pixel in float64."""
    known = labels_HW != IGNORE
    target = (labels_HW == label)[known].double()
    logits = F.interpolate(mask_hw[None, None], labels_HW.shape, mode="bilinear")[0, 0][known].double()
    p = 1 / (1 + (-logits).exp())
    cross = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    dice = 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)
    return float(5 * cross + 5 * dice - 2 * class_K1.double().softmax(0)[label])


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), void=st.sampled_from([0.0, 0.3]))
def test_the_matching_is_the_cheapest_of_all(seed: int, void: float) -> None:
    (queries,) = layers(1, (4, 5), seed, batch=1)
    labels = blocks(8, 10, seed, batch=1)
    labels[torch.rand(labels.shape, generator=torch.Generator().manual_seed(seed)) < void] = IGNORE
    present = [c for c in labels.unique().tolist() if c != IGNORE]
    with torch.no_grad():
        cost = [
            [one_pair(queries.class_BQK1[0, q], queries.mask_BQhw[0, q], c, labels[0]) for c in present]
            for q in range(Q)
        ]
        pairs = min(permutations(range(Q), len(present)), key=lambda p: sum(cost[q][m] for m, q in enumerate(p)))
        target = torch.full((Q,), K)
        weight = torch.full((Q,), 0.1)
        for m, q in enumerate(pairs):
            target[q], weight[q] = present[m], 1.0
        classes = F.cross_entropy(queries.class_BQK1[0], target, reduction="none")
        masks = sum(
            cost[q][m] + 2 * float(queries.class_BQK1[0, q].double().softmax(0)[present[m]])
            for m, q in enumerate(pairs)
        )
        expected = 2 * (weight * classes).sum() / weight.sum() + masks / len(present)
    torch.testing.assert_close(SET_LOSS((queries,), labels).item(), float(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("points", [30, 12544])
def test_void_pixels_teach_no_mask(points: int) -> None:
    """Points are compared by their nearest pixels, so void in the middle of a class leaves its logits without gradient."""
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    labels[:, :, 8:] = IGNORE
    (queries,) = layers(1, (16, 16), batch=1)
    torch.manual_seed(0)
    SetLoss(points=points)((queries,), labels).backward()
    assert queries.mask_BQhw.grad is not None
    assert queries.mask_BQhw.grad[..., :8].abs().sum() > 0
    assert queries.mask_BQhw.grad[..., 9:].abs().sum() == 0


@pytest.mark.parametrize("points", [1000, 12544])
def test_a_class_between_lines_of_void_is_whole_there(points: int) -> None:
    """Points near void take their truth from the pixels that count: a sure and right query costs what it costs without
    void (which is not nothing: as in the public code, points at the picture's edge see half a truth)."""
    whole = torch.zeros(1, 64, 64, dtype=torch.long)
    lines = whole.clone()
    lines[:, :, ::2] = IGNORE
    mask = torch.full((1, Q, 64, 64), -20.0)
    named = torch.full((1, Q, K + 1), -20.0)
    mask[:, 0], named[:, 1:, K], named[:, 0, 0] = 20.0, 20.0, 20.0
    values = []
    for labels in (whole, lines):
        torch.manual_seed(0)
        values.append(float(SetLoss(points=points)((Queries(named, mask),), labels)))
    assert values[0] < (3 if points == 1000 else 0.01)
    assert abs(values[1] - values[0]) < 0.3


@pytest.mark.parametrize("points", [30, 12544])
def test_a_batch_of_void_costs_nothing_and_void_pictures_count_nowhere(points: int) -> None:
    queries, labels = layers(2, (5, 6)), blocks(16, 20)
    loss = SetLoss(points=points)
    value = loss(queries, torch.full_like(labels, IGNORE))
    value.backward()
    assert value.item() == 0
    assert all(t.grad is not None and not t.grad.any() for q in queries for t in q)
    if points > 16 * 20:
        labels[1] = IGNORE
        first = tuple(Queries(q.class_BQK1[:1], q.mask_BQhw[:1]) for q in queries)
        torch.testing.assert_close(loss(queries, labels), loss(first, labels[:1]))


def test_picture_weights_move_the_mean() -> None:
    queries, labels = layers(1, (5, 6)), blocks(16, 20)
    first = tuple(Queries(q.class_BQK1[:1], q.mask_BQhw[:1]) for q in queries)
    weighted = SET_LOSS(queries, labels, torch.tensor([2.0, 0.0]))
    torch.testing.assert_close(weighted, SET_LOSS(first, labels[:1]))


def test_a_label_that_may_be_several_classes_is_void_here() -> None:
    queries, labels = layers(1, (5, 6)), blocks(16, 20)
    coarse, void = labels.clone(), labels.clone()
    coarse[:, :4], void[:, :4] = K, IGNORE
    membership = torch.cat([torch.eye(K, dtype=torch.bool), torch.ones(1, K, dtype=torch.bool)])
    torch.testing.assert_close(SET_LOSS(queries, coarse, None, membership), SET_LOSS(queries, void))


def test_low_precision_is_computed_in_fp32_and_numbers_that_are_none_do_not_stop_the_matching() -> None:
    queries, labels = layers(1, (5, 6)), blocks(16, 20)
    low = tuple(Queries(q.class_BQK1.bfloat16(), q.mask_BQhw.bfloat16()) for q in queries)
    again = tuple(Queries(q.class_BQK1.float(), q.mask_BQhw.float()) for q in low)
    value = SET_LOSS(low, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, SET_LOSS(again, labels))
    broken = (Queries(queries[0].class_BQK1 * torch.nan, queries[0].mask_BQhw),)
    assert SET_LOSS(broken, labels).isnan()


def test_the_total_is_the_set_loss_and_the_recipe_s_loss_of_auxiliary_heads() -> None:
    queries, labels = layers(2, (5, 6)), blocks(16, 20)
    batch = Batch(image=torch.zeros(2, 3, 16, 20), labels=labels, names=("a", "b"), weights=torch.ones(2))
    head, loss = torch.randn(2, K, 16, 20), CrossEntropy(K)
    total = total_loss(loss, Outputs(torch.zeros(2, K, 5, 6), (head,), queries), batch)
    torch.testing.assert_close(total, SET_LOSS(queries, labels) + AUXILIARY_WEIGHT * loss(head, labels))
