"""Lovász-softmax against its definition, brute force, and segmentation_models_pytorch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segwright.contracts import IGNORE, UserError
from segwright.losses import LOSSES

from .examples import K, example


def jaccard_loss(wrong: frozenset[int], true: frozenset[int]) -> float:
    """Δ of the set of pixels that are wrong: |wrong| / |true ∪ wrong|."""
    return len(wrong) / len(true | wrong) if wrong else 0.0


def one_class(errors: list[float], true: list[bool]) -> float:
    """The loss of a single class at the given errors |t - p| of each pixel."""
    probs = torch.tensor([1 - e if t else e for e, t in zip(errors, true, strict=True)], dtype=torch.float64)
    logits = torch.stack([1 - probs, probs]).log().reshape(1, 2, 1, -1)
    labels = torch.tensor(true, dtype=torch.int64).reshape(1, 1, -1)
    value = LOSSES["lovasz"](2, class_weights=[0.0, 1.0])(logits, labels)
    return float(value)


@pytest.mark.parametrize("true", [[True, True, False, False, False], [True] * 5, [False, False, True, False, True]])
def test_at_every_vertex_it_is_the_jaccard_loss_itself(true: list[bool]) -> None:
    of_class = frozenset(i for i, t in enumerate(true) if t)
    for vertex in itertools.product([0.0, 1.0], repeat=5):
        wrong = frozenset(i for i, e in enumerate(vertex) if e)
        assert one_class(list(vertex), true) == pytest.approx(jaccard_loss(wrong, of_class), abs=1e-12)


@settings(deadline=None, max_examples=15)
@given(
    errors=st.lists(st.floats(0.01, 0.99), min_size=5, max_size=5),
    true=st.lists(st.booleans(), min_size=5, max_size=5).filter(any),
)
def test_between_them_it_is_their_convex_closure(errors: list[float], true: list[bool]) -> None:
    """Δ is submodular, so its closure is the largest of the linear pieces that the orders of the pixels give."""
    of_class = frozenset(i for i, t in enumerate(true) if t)
    pieces = []
    for order in itertools.permutations(range(5)):
        values = [jaccard_loss(frozenset(order[:n]), of_class) for n in range(6)]
        pieces.append(sum(errors[i] * (values[n + 1] - values[n]) for n, i in enumerate(order)))
    assert one_class(errors, true) == pytest.approx(max(pieces), rel=1e-9)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), ignored=st.sampled_from([0.0, 0.4]), per_picture=st.booleans())
def test_it_is_segmentation_models_pytorchs(seed: int, ignored: float, per_picture: bool) -> None:
    logits, labels = example(seed, ignored=ignored)
    theirs = smp.losses.LovaszLoss("multiclass", per_image=per_picture, ignore_index=IGNORE)
    ours = LOSSES["lovasz"](K, per_picture=per_picture)
    torch.testing.assert_close(ours(logits, labels), theirs(logits, labels), rtol=1e-5, atol=1e-6)


def test_absent_classes_count_when_asked_for() -> None:
    logits, labels = example(ignored=0)
    labels[labels == 4] = 0
    present, every = (LOSSES["lovasz"](K, classes=which)(logits, labels) for which in ("present", "all"))
    largest = logits.softmax(1)[:, 4].max()
    torch.testing.assert_close(every, (4 * present + largest) / 5)


def test_its_slopes_are_exact_for_many_pixels() -> None:
    """A million pixels: the slopes are about 1e-6, too small to be a difference of two numbers near 1 in float32."""
    generator = torch.Generator().manual_seed(0)
    prob = torch.rand(1, 1000, 1000, generator=generator) * 0.98 + 0.01
    labels = (torch.rand(1, 1000, 1000, generator=generator) < prob).long()
    logits = torch.stack([torch.zeros_like(prob), torch.log(prob / (1 - prob))], 1).requires_grad_()
    LOSSES["lovasz"](2, class_weights=[0.0, 1.0])(logits, labels).backward()
    p = torch.sigmoid(logits.detach().double()[:, 1]).flatten().numpy()
    t = labels.flatten().numpy().astype(float)
    order = np.argsort(-np.abs(t - p.astype(np.float32)), kind="stable")
    true, size = t[order], t.sum()
    loss_n = 1 - (size - true.cumsum()) / (size + (1 - true).cumsum())
    slope = np.empty_like(p)
    slope[order] = np.diff(loss_n, prepend=0) * np.where(true == 1, -1, 1)
    expected = slope * p * (1 - p)
    assert logits.grad is not None
    found = logits.grad[0, 1].flatten().double().numpy()
    assert np.abs(found - expected).sum() / np.abs(expected).sum() < 1e-3


def test_a_pixel_of_weight_two_is_two_pixels() -> None:
    logits, labels = example(ignored=0, batch=1)
    stacked = LOSSES["lovasz"](K)(logits.repeat(3, 1, 1, 1), labels.repeat(3, 1, 1))
    torch.testing.assert_close(LOSSES["lovasz"](K)(logits, labels, torch.tensor([3.0])), stacked)


def by_a_sort(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """The loss as its definition reads, through a sort of the errors that carries their gradient."""
    seen = labels != IGNORE
    pixel = seen * (torch.ones(len(labels)) if weights is None else weights)[:, None, None]
    values = []
    for label, prob in enumerate(logits.softmax(1).unbind(1)):
        truth = (labels == label) & (pixel > 0)
        if truth.any():
            error, order = ((truth.to(prob) - prob).abs() * (pixel > 0)).flatten().sort(descending=True)
            true, other = ((which * pixel).flatten()[order].double() for which in (truth, ~truth))
            index = 1 - (true.sum() - true.cumsum(0)) / (true.sum() + other.cumsum(0))
            values.append((error * index.diff(prepend=torch.zeros(1)).to(error)).sum())
    return torch.stack(values).mean()


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    spread=st.sampled_from([1.0, 30.0]),
    weights=st.sampled_from([None, (1.0, 1.0), (2.0, 0.5), (0.0, 3.0)]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_value_and_gradient_are_those_of_a_sort(
    seed: int, spread: float, weights: tuple[float, ...] | None, dtype: torch.dtype
) -> None:
    """A spread of 30 makes many probabilities exactly 0 or 1, and with them many equal errors."""
    logits, labels = example(seed, dtype=dtype)
    logits = (spread * logits.detach()).requires_grad_()
    weights_B = None if weights is None else torch.tensor(weights)
    found, wanted = LOSSES["lovasz"](K)(logits, labels, weights_B), by_a_sort(logits, labels, weights_B)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    grads = (torch.autograd.grad(value, logits)[0] for value in (found, wanted))
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-7)


def test_a_class_of_one_pixel_and_one_of_all_have_a_gradient() -> None:
    for labels in (torch.zeros(1, 4, 4, dtype=torch.int64), torch.eye(4, dtype=torch.int64)[None]):
        labels[0, 1:] = 0
        logits = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        LOSSES["lovasz"](2)(logits, labels).backward()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        assert logits.grad.abs().sum() > 0


def test_every_second_pixel_is_the_loss_of_the_thinned_picture() -> None:
    logits, labels = example()
    found = LOSSES["lovasz"](K, every=2)(logits, labels)
    assert found == LOSSES["lovasz"](K)(logits[:, :, ::2, ::2], labels[:, ::2, ::2])
    found.backward()
    assert logits.grad is not None
    assert not logits.grad[:, :, 1::2].any()
    with pytest.raises(UserError, match=r"loss.args.every is 0; allowed is a whole number, 1 to 16"):
        LOSSES["lovasz"](K, every=0)
