"""The one count that every score follows from: pixels by [truth, predicted].

Letters: B batch, H W pixels, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segwright.contracts import IGNORE, DataError
from segwright.labels.space import MAX_CLASSES

LABEL_VALUES = 256
MAX_LANES = 4
INT16_MAX = 32767


def confusion(labels: Tensor, predictions: Tensor, num_classes: int, *, source: str = "") -> Tensor:
    """Count pixels by [truth, predicted]; pixels whose truth is IGNORE count nowhere.

    labels: uint8 [..., H, W], class ids 0..K-1 or IGNORE (255). predictions: uint8 of the same shape, 0..K-1.
    Returns int64 [K, K] on the device of the labels, summed over all leading axes; zeros for empty input.
    Raises DataError, naming `source`, that lists values outside those ranges with their pixel counts; ValueError for a
    wrong dtype, shape or number of classes (a mistake of the caller).
    """
    _check_form(labels, predictions, num_classes)
    if predictions.numel() and int(predictions.max()) >= num_classes:
        raise DataError(_out_of_range(labels, predictions, num_classes, source))
    counts = _tally(labels, predictions, num_classes)
    if counts[num_classes:IGNORE].any():
        raise DataError(_out_of_range(labels, predictions, num_classes, source))
    return counts[:num_classes]


def value_counts(labels: Tensor, values: Tensor) -> Tensor:
    """Count pixels by [label value, value in a prediction file], whatever the values mean.

    labels, values: uint8 of one shape. Returns int64 [256, 256].
    """
    columns = int(values.max()) + 1 if values.numel() else 1
    counts = torch.zeros((LABEL_VALUES, LABEL_VALUES), dtype=torch.int64)
    counts[:, :columns] = _tally(labels, values, columns)
    return counts


def _tally(labels: Tensor, predictions: Tensor, columns: int) -> Tensor:
    """int64 [256, columns]: pixels by [label value, prediction], for predictions below `columns`."""
    # One bin for each label value 0..255 and class: no pass over the pixels is needed to drop void or to check labels.
    # Neighbours mostly have the same class, and adding to one bin again waits for the last addition to reach memory:
    # columns count into several tables in turn ("lanes"), summed at the end.
    bins = LABEL_VALUES * columns
    lanes = max(1, min(MAX_LANES, INT16_MAX // bins))
    dtype = torch.int16 if bins <= INT16_MAX else torch.int32
    index = predictions.to(dtype).add_(labels.to(dtype), alpha=columns)
    if lanes > 1:
        index += (torch.arange(labels.shape[-1], device=labels.device) % lanes * bins).to(dtype)
    counts = torch.bincount(index.reshape(-1), minlength=lanes * bins)
    counts = counts.view(lanes, LABEL_VALUES, columns).sum(0)
    return counts


def _check_form(labels: Tensor, predictions: Tensor, num_classes: int) -> None:
    if labels.dtype != torch.uint8 or predictions.dtype != torch.uint8:
        raise ValueError(f"confusion takes uint8 labels and predictions, not {labels.dtype} and {predictions.dtype}")
    if labels.shape != predictions.shape:
        raise ValueError(f"labels {list(labels.shape)} and predictions {list(predictions.shape)} differ in shape")
    if not 1 <= num_classes <= MAX_CLASSES:
        raise ValueError(f"num_classes is {num_classes}; allowed are 1..{MAX_CLASSES}")


def _out_of_range(labels: Tensor, predictions: Tensor, num_classes: int, source: str) -> str:
    where = f"{source}: " if source else ""
    allowed = f"0..{num_classes - 1}"
    bad_labels = _listed(labels[(labels >= num_classes) & (labels != IGNORE)])
    if bad_labels:
        return (
            f"{where}the labels hold the class ids {bad_labels}; allowed are {allowed} and {IGNORE} (ignore). "
            "Give these values a class or list them under `ignored` in the label space."
        )
    bad_predictions = _listed(predictions[predictions >= num_classes])
    return (
        f"{where}the prediction holds the class ids {bad_predictions}; allowed are {allowed}. "
        "Score the model with the label space that it was trained with."
    )


def _listed(values: Tensor) -> str:
    """`12 (34 px), 200 (1 px)`: at most eight values, the most frequent first."""
    found, counts = values.unique(return_counts=True)
    order = counts.argsort(descending=True, stable=True)[:8].tolist()
    more = f" and {found.numel() - 8} more" if found.numel() > 8 else ""
    return ", ".join(f"{int(found[i])} ({int(counts[i])} px)" for i in order) + more
