"""Sums of losses: fixed weights, the adaptive rule's worked values, what a checkpoint holds, and wrong recipes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from segwright.build import build_loss
from segwright.contracts import UserError
from segwright.labels import load_label_space
from segwright.losses import Combined
from segwright.losses.adaptive import adapted_weights
from segwright.recipe import load_recipe

from .examples import K, build, example

PARTS = [{"name": "cross_entropy", "args": {"label_smoothing": 0.1}}, {"name": "generalized_dice"}]


def test_it_is_the_weighted_sum() -> None:
    logits, labels = example()
    weighted = [PARTS[0] | {"weight": 0.6}, PARTS[1] | {"weight": 2}]
    total = Combined(K, losses=weighted)(logits, labels)
    ce, dice = build("cross_entropy", label_smoothing=0.1), build("generalized_dice")
    torch.testing.assert_close(total, 0.6 * ce(logits, labels) + 2 * dice(logits, labels))


def test_sets_weights_and_multi_label_truth_reach_every_loss() -> None:
    logits, labels = example()
    membership = torch.cat([torch.eye(K, dtype=torch.bool), torch.ones(1, K, dtype=torch.bool)])
    told, weights = labels.where(labels != 1, K), torch.tensor([1.0, 0.5])
    parts = [{"name": "focal"}, {"name": "dice"}]
    expected = build("focal")(logits, told, weights, membership) + build("dice")(logits, told, weights, membership)
    torch.testing.assert_close(Combined(K, losses=parts)(logits, told, weights, membership), expected)
    with pytest.raises(UserError, match="the loss rmi needs"):
        Combined(K, losses=[*parts, {"name": "rmi"}]).check_sets()
    with pytest.raises(UserError, match="focal compares one class a pixel"):
        Combined(K, losses=parts)(logits, logits > 0)
    Combined(K, losses=[{"name": "bce"}, {"name": "dice"}])(logits, logits > 0).backward()


def test_the_worked_values_of_the_adaptive_rule() -> None:
    first = adapted_weights([0.5, 0.5], None, [2.0, 1.0], 0.5)
    assert first == pytest.approx([0.333, 0.667], abs=5e-4)
    second = adapted_weights(first, [2.0, 1.0], [1.5, 0.9], 0.5)
    assert second == pytest.approx([0.292, 0.708], abs=1e-12)


@pytest.mark.parametrize(
    ("weights", "before", "now", "smoothing", "expected"),
    [
        ([0.4, 0.6], [2.0, 1.0], [2.5, 0.5], 1.0, [0.167, 0.833]),  # d = (-.2, 1): one rose, so |d| = (.2, 1)
        ([0.4, 0.6], [2.0, 1.0], [2.0, 0.9], 0.5, [0.4, 0.6]),  # a flat loss keeps the weights
        ([0.4, 0.6], [2.0, 1.0], [0.0, 0.9], 0.5, [0.4, 0.6]),
        ([0.4, 0.6], [2.0, 1.0], [float("nan"), 0.9], 0.5, [0.4, 0.6]),
        ([0.5, 0.5], None, [4000.0, 8000.0], 0.5, [0.5, 0.5]),  # both round to 0
        ([0.2, 0.3, 0.5], [1.0, 1.0, 1.0], [0.5, 0.8, 0.9], 1.0, [0.071, 0.286, 0.643]),
    ],
)
def test_the_other_cases_of_the_adaptive_rule(
    weights: list[float], before: list[float] | None, now: list[float], smoothing: float, expected: list[float]
) -> None:
    assert adapted_weights(weights, before, now, smoothing) == pytest.approx(expected, abs=1e-9)


@given(
    means=st.lists(st.tuples(st.floats(1e-3, 50), st.floats(1e-3, 50)), min_size=1, max_size=6),
    smoothing=st.floats(0.01, 1),
)
def test_weights_stay_between_0_and_1_and_add_up_to_1(means: list[tuple[float, float]], smoothing: float) -> None:
    weights, before = [0.5, 0.5], None
    for now in means:
        weights = adapted_weights(weights, before, now, smoothing)
        before = now
        assert sum(weights) == pytest.approx(1)
        assert all(0 <= w <= 1 for w in weights)


class Constant(torch.nn.Module):
    """Stands in for a loss: a value whatever the logits are."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = iter(values)

    def forward(self, logits: Tensor, *_: Any) -> Tensor:
        return next(self.values) + 0 * logits.sum()


def scripted(one: list[float], other: list[float]) -> Combined:
    """A sum of two losses that give these values, batch after batch."""
    loss = Combined(K, losses=PARTS, adaptive=True, smoothing=0.5)
    loss.parts = torch.nn.ModuleList([Constant(one), Constant(other)])
    return loss


def test_epochs_go_through_the_worked_values() -> None:
    """Two batches an epoch with means (2, 1), then (1.5, 0.9); what is no training step does not count."""
    loss = scripted([2.5, 1.5, 9.0, 1.0, 9.0, 2.0, 1.0], [1.0, 1.0, 9.0, 0.8, 9.0, 1.0, 1.0])
    logits, labels = example()
    assert loss(logits, labels).item() == pytest.approx(0.5 * 2.5 + 0.5 * 1.0)
    loss(logits, labels)
    assert loss.end_epoch() == {
        "losses": {"cross_entropy": 2.0, "generalized_dice": 1.0},
        "loss_weights": {"cross_entropy": 0.5, "generalized_dice": 0.5},
    }
    assert loss.part_weights_J.tolist() == pytest.approx([1 / 3, 2 / 3])
    with torch.no_grad():
        loss(logits, labels)
    loss(logits, labels)
    loss.eval()(logits, labels)
    assert loss.train()(logits, labels).item() == pytest.approx((2 + 2) / 3)
    loss.end_epoch()
    assert loss.part_weights_J.tolist() == pytest.approx([0.292, 0.708])
    assert loss(logits, labels).item() == pytest.approx(1.0)


def test_a_batch_that_is_not_finite_is_not_counted() -> None:
    loss = scripted([2.0, float("nan"), float("inf"), 4.0], [1.0, 5.0, 5.0, 1.0])
    logits, labels = example()
    for _ in range(4):
        loss(logits, labels)
    assert loss.end_epoch()["losses"] == {"cross_entropy": 3.0, "generalized_dice": 1.0}


def test_an_epoch_without_a_batch_changes_nothing() -> None:
    loss = Combined(K, losses=PARTS, adaptive=True)
    before = {k: v.clone() for k, v in loss.state_dict().items()}
    assert loss.end_epoch() == {}
    assert all(torch.equal(v, before[k]) for k, v in loss.state_dict().items())


def test_the_state_goes_on_in_another_object() -> None:
    logits, labels = example()
    one, other = (Combined(K, losses=PARTS, adaptive=True) for _ in range(2))
    for _ in range(2):
        one(logits, labels)
        one.end_epoch()
    one(logits, labels)
    other.load_state_dict(one.state_dict())
    for loss in (one, other):
        loss(2 * logits, labels)
        loss.end_epoch()
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"losses": []}, r"loss\.args\.losses is \(\).*allowed is a list"),
        ({"losses": "dice"}, r"loss\.args\.losses is 'dice'.*allowed is a list"),
        ({"losses": ["dice"]}, r"loss\.args\.losses\[0\] is 'dice'.*a mapping with a name"),
        ({"losses": [{"name": "dice", "wieght": 1}]}, r"losses\[0\] has no 'wieght'.*'weight'"),
        ({"losses": [{"name": "dice"}, {"name": "dise"}]}, r"losses\[1\]\.name is 'dise'.*'dice'"),
        ({"losses": [{"name": "combined"}]}, r"losses\[0\]\.name is 'combined'.*outer"),
        ({"losses": [{"name": "dice", "weight": -1}]}, r"losses\[0\]\.weight is -1"),
        ({"losses": [{"name": "dice", "weight": 0}]}, r"weights of all loss\.args\.losses are 0"),
        ({"losses": [{"name": "dice", "args": {"smoth": 1}}]}, r"losses\[0\]\.args has no 'smoth'.*'smooth'"),
        ({"losses": [{"name": "dice", "args": {"smooth": -1}}]}, r"loss\.args\.losses\[0\]\.args\.smooth is -1"),
        ({"losses": [{"name": "dice", "args": [1]}]}, r"losses\[0\]\.args is \[1\].*mapping"),
        ({"losses": [{"name": "dice"}, {"name": "boundary"}], "adaptive": True}, r"boundary can be 0 or negative"),
        ({"losses": [{"name": "dice"}], "adaptive": True, "smoothing": 0}, r"loss\.args\.smoothing is 0"),
        ({}, r"loss\.args do not suit.*losses"),
    ],
)
def test_wrong_sums_are_refused_with_their_place(args: dict[str, Any], words: str) -> None:
    recipe = load_recipe("camvid-cpu").recipe
    recipe = recipe.model_copy(update={"loss": recipe.loss.model_copy(update={"name": "combined", "args": args})})
    with pytest.raises(UserError, match=words):
        build_loss(recipe, load_label_space("camvid11"))


def test_labels_that_are_sets_are_refused_when_the_loss_is_built() -> None:
    recipe = load_recipe("camvid-cpu", ["loss.name=boundary"]).recipe
    with pytest.raises(UserError, match=r"boundary.*data\.also"):
        build_loss(recipe, load_label_space("camvid11"), sets=1)
    assert build_loss(recipe, load_label_space("camvid11")).name == "boundary"


def count_together(rank: int, folder: str) -> None:
    """One of two processes; each sees other losses."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    loss = scripted([1.0, 3.0] if rank == 0 else [6.0], [1.0, 1.0] if rank == 0 else [4.0])
    logits, labels = example()
    for _ in range(2 - rank):
        loss(logits, labels)
    row = loss.end_epoch()
    torch.distributed.destroy_process_group()
    if row["losses"] != {"cross_entropy": pytest.approx(10 / 3), "generalized_dice": 2.0}:
        sys.exit(f"rank {rank} counted {row}")


@pytest.mark.slow
def test_processes_count_together(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(count_together, (str(tmp_path),), nprocs=2)
