"""Counts: equal to scikit-learn and torchmetrics for any size, class count and layout; wrong ids are named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix
from torchmetrics.classification import MulticlassConfusionMatrix

from segwright.contracts import IGNORE, DataError
from segwright.metrics.confusion import confusion


def random_pair(
    shape: tuple[int, ...], num_classes: int, seed: int, void: float = 0.1
) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, shape).astype(np.uint8)
    labels[rng.random(shape) < void] = IGNORE
    return torch.from_numpy(labels), torch.from_numpy(rng.integers(0, num_classes, shape).astype(np.uint8))


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(deadline=None, max_examples=60)
@given(
    num_classes=st.integers(1, 250),
    height=st.integers(1, 40),
    width=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1),
    void=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_equals_scikit_learn(num_classes: int, height: int, width: int, seed: int, void: float) -> None:
    labels, predictions = random_pair((height, width), num_classes, seed, void)
    valid = (labels != IGNORE).numpy()
    counts = confusion(labels, predictions, num_classes)
    assert counts.dtype == torch.int64
    assert counts.shape == (num_classes, num_classes)
    if valid.any():
        expected = confusion_matrix(labels.numpy()[valid], predictions.numpy()[valid], labels=range(num_classes))
        assert np.array_equal(counts.numpy(), expected)
    else:
        assert not counts.any()


@pytest.mark.parametrize("num_classes", [1, 2, 19, 31, 32, 63, 64, 127, 128, 250])  # above 127 the index needs int32
def test_every_cell_is_counted_at_the_limits_of_the_index(num_classes: int) -> None:
    truth, predicted = np.divmod(np.arange(num_classes**2), num_classes)
    counts = confusion(
        torch.from_numpy(truth.astype(np.uint8)[None]), torch.from_numpy(predicted.astype(np.uint8)[None]), num_classes
    )
    assert (counts == 1).all()


def test_equals_torchmetrics_and_sums_over_the_batch() -> None:
    labels, predictions = random_pair((3, 65, 97), 19, seed=4)
    expected = MulticlassConfusionMatrix(19, ignore_index=IGNORE)(predictions, labels.long())
    assert torch.equal(confusion(labels, predictions, 19), expected)
    alone = [confusion(t, p, 19) for t, p in zip(labels, predictions, strict=True)]
    assert torch.equal(torch.stack(alone).sum(0), expected)


def test_layout_in_memory_does_not_matter_and_inputs_stay_as_they_are() -> None:
    labels, predictions = random_pair((40, 64), 7, seed=1)
    kept = labels.clone(), predictions.clone()
    expected = confusion(labels, predictions, 7)
    assert torch.equal(confusion(labels.T.contiguous().T, predictions, 7), expected)
    assert torch.equal(confusion(labels.T, predictions.T, 7), expected)
    assert torch.equal(labels, kept[0])
    assert torch.equal(predictions, kept[1])


def test_no_pixels_give_zeros() -> None:
    empty = torch.zeros((0, 5), dtype=torch.uint8)
    assert not confusion(empty, empty, 3).any()


@pytest.mark.parametrize("value", [3, 4, 254])
def test_labels_out_of_range_are_named_with_counts(value: int) -> None:
    labels, predictions = random_pair((8, 8), 3, seed=0)
    labels[0, :5] = value
    with pytest.raises(DataError, match=rf"street\.png: the labels .* {value} \(5 px\); allowed are 0\.\.2 and 255"):
        confusion(labels, predictions, 3, source="street.png")


def test_predictions_out_of_range_are_named_even_under_void() -> None:
    labels, predictions = random_pair((8, 8), 3, seed=0)
    labels[0] = IGNORE
    predictions[0, :2] = 255
    predictions[0, 2] = 3
    with pytest.raises(
        DataError, match=r"prediction holds the class ids 255 \(2 px\), 3 \(1 px\); allowed are 0\.\.2\."
    ):
        confusion(labels, predictions, 3)


def test_mistakes_of_the_caller_are_told_apart_from_bad_data() -> None:
    labels, predictions = random_pair((8, 8), 3, seed=0)
    with pytest.raises(ValueError, match="uint8"):
        confusion(labels.long(), predictions, 3)
    with pytest.raises(ValueError, match="shape"):
        confusion(labels, predictions[:4], 3)
    with pytest.raises(ValueError, match=r"1\.\.250"):
        confusion(labels, predictions, 251)
