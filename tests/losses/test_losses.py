"""Losses against torch's own, and one contract for every loss in the registry."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from segwright.contracts import IGNORE, Batch, Outputs, UserError
from segwright.losses import LOSSES, CrossEntropy, total_loss
from segwright.losses.total import AUXILIARY_WEIGHT

K = 5


def example(seed: int = 0, *, ignored: float = 0.2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, K, 6, 7, generator=generator, requires_grad=True)
    labels = torch.randint(0, K, (2, 6, 7), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < ignored] = IGNORE
    return logits, labels


@pytest.mark.parametrize("name", LOSSES)
class TestContract:
    def test_scalar_finite_and_differentiable(self, name: str) -> None:
        logits, labels = example()
        value = LOSSES[name](K)(logits, labels)
        value.backward()
        assert value.shape == ()
        assert value.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()

    def test_all_ignored_is_zero_and_still_differentiable(self, name: str) -> None:
        logits, labels = example()
        value = LOSSES[name](K)(logits, torch.full_like(labels, IGNORE))
        value.backward()
        assert value.item() == 0
        assert logits.grad is not None
        assert torch.equal(logits.grad, torch.zeros_like(logits))

    def test_ignored_pixels_do_not_matter(self, name: str) -> None:
        logits, labels = example()
        changed = torch.where((labels == IGNORE).unsqueeze(1), torch.full_like(logits, 7.0), logits)
        loss = LOSSES[name](K)
        assert torch.equal(loss(logits, labels), loss(changed, labels))

    def test_bf16_logits_are_computed_in_fp32(self, name: str) -> None:
        logits, labels = example()
        loss = LOSSES[name](K)
        low = loss(logits.bfloat16(), labels)
        assert low.dtype == torch.float32
        assert math.isclose(low.item(), loss(logits.bfloat16().float(), labels).item(), rel_tol=1e-6)

    def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_much(self, name: str) -> None:
        _, labels = example(ignored=0)
        sure = 30 * F.one_hot(labels, K).movedim(-1, 1).float()
        loss = LOSSES[name](K)
        assert loss(sure, labels) < 1e-3 < loss(-sure, labels)


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
    value = CrossEntropy(K, class_weights=weights)(torch.zeros(2, K, 6, 7), labels)
    assert math.isclose(value.item(), math.log(K), rel_tol=1e-5)


def test_picture_weights_move_the_mean() -> None:
    logits, labels = example(ignored=0)
    loss = CrossEntropy(K)
    only_first = loss(logits, labels, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(only_first, loss(logits[:1], labels[:1]))


def test_low_resolution_logits_and_auxiliary_heads_are_counted_once_each() -> None:
    logits, labels = example(ignored=0.1)
    small = torch.randn(2, K, 3, 4)
    batch = Batch(image=torch.zeros(2, 3, 6, 7), labels=labels, names=("a", "b"), weights=torch.ones(2))
    loss = CrossEntropy(K)
    total = total_loss(loss, Outputs(small, (logits,)), batch)
    wide = F.interpolate(small, (6, 7), mode="bilinear", align_corners=False)
    torch.testing.assert_close(total, loss(wide, labels) + AUXILIARY_WEIGHT * loss(logits, labels))


@pytest.mark.parametrize(
    "args",
    [{"class_weights": [1.0]}, {"class_weights": [-1.0] * K}, {"class_weights": [0.0] * K}, {"label_smoothing": 1.0}],
)
def test_impossible_arguments_are_refused(args: dict[str, object]) -> None:
    with pytest.raises(UserError, match="loss.args"):
        CrossEntropy(K, **args)  # type: ignore[arg-type]


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


@pytest.mark.parametrize("name", LOSSES)
class TestLabelsThatAreSetsOfClasses:
    """Where data sets with different label spaces are mixed, labels from K on stand for several classes."""

    def test_a_set_of_one_is_the_class_itself(self, name: str) -> None:
        logits, labels = example()
        membership = torch.cat([torch.eye(K, dtype=torch.bool)] * 2)
        told_twice = torch.where((labels == 2) | (labels == 4), labels + K, labels)
        loss = LOSSES[name](K)
        assert torch.allclose(loss(logits, told_twice, None, membership), loss(logits, labels), rtol=1e-5)

    def test_the_set_of_all_classes_teaches_nothing(self, name: str) -> None:
        logits, labels = example()
        membership = torch.cat([torch.eye(K, dtype=torch.bool), torch.ones(1, K, dtype=torch.bool)])
        value = LOSSES[name](K)(logits, torch.full_like(labels, K), None, membership)
        value.backward()
        assert logits.grad is not None
        assert logits.grad.abs().max() < 1e-6

    def test_gradient_favours_the_members_and_nothing_else(self, name: str) -> None:
        logits, labels = example()
        members = torch.tensor([False, True, False, True, False])
        membership = torch.cat([torch.eye(K, dtype=torch.bool), members[None]])
        LOSSES[name](K)(logits, torch.full_like(labels, K), None, membership).backward()
        assert logits.grad is not None
        assert (logits.grad[:, members] < 0).all()
        assert (logits.grad[:, ~members] > 0).all()


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
