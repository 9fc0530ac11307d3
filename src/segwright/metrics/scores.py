"""Every score as a pure function of pixel counts [truth, predicted], in float64.

An undefined value is NaN, never 0: the IoU of a class that is in neither truth nor prediction, the recall of a class
without true pixels, the precision of a class that was never predicted. A mean leaves undefined values out.

Letters: K classes. Where `zero_division=nan` is set, scikit-learn gives the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Normalisation = Literal["truth", "prediction", "all", "none"]


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """part / whole, NaN where whole is 0."""
    ratio = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=ratio, where=whole != 0)
    return ratio


def mean_defined(values: Floats) -> float:
    """Mean of the values that are not NaN; NaN when there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def mean_in_order(values: Floats) -> float:
    """As `mean_defined`, added one by one from the first: the last bits of scripts that add in a loop."""
    defined = values[~np.isnan(values)]
    return float(np.cumsum(defined)[-1] / defined.size) if defined.size else float("nan")


def iou_per_class(counts_KK: Counts) -> Floats:
    """Intersection over union, [K] in 0..1; NaN for a class in neither truth nor prediction."""
    hit_K = counts_KK.diagonal()
    return ratio(hit_K, counts_KK.sum(1) + counts_KK.sum(0) - hit_K)


def recall_per_class(counts_KK: Counts) -> Floats:
    """Share of a class's true pixels that were found (its accuracy), [K] in 0..1; NaN without true pixels."""
    return ratio(counts_KK.diagonal(), counts_KK.sum(1))


def precision_per_class(counts_KK: Counts) -> Floats:
    """Share of a class's predicted pixels that are right, [K] in 0..1; NaN for a class that was never predicted."""
    return ratio(counts_KK.diagonal(), counts_KK.sum(0))


def f1_per_class(counts_KK: Counts) -> Floats:
    """F1, which is Dice: 2·hits / (true + predicted), [K] in 0..1; NaN for a class in neither."""
    return ratio(2 * counts_KK.diagonal(), counts_KK.sum(1) + counts_KK.sum(0))


def accuracy(counts_KK: Counts) -> float:
    """Share of labelled pixels that are right, which is micro F1 too; NaN without labelled pixels."""
    return float(ratio(np.trace(counts_KK)[None], counts_KK.sum()[None])[0])


def micro_iou(counts_KK: Counts) -> float:
    """Hits of all classes over unions of all classes: hits / (2 · pixels − hits); NaN without labelled pixels."""
    hits = np.trace(counts_KK)
    return float(ratio(hits[None], (2 * counts_KK.sum() - hits)[None])[0])


def weighted_mean(values_K: Floats, weights_K: Counts) -> float:
    """Mean weighted by true pixels; classes of weight 0 count nowhere. NaN when all weights are 0."""
    if not weights_K.any():
        return float("nan")
    return float(np.average(np.where(weights_K > 0, values_K, 0.0), weights=weights_K))


def normalised(counts_KK: Counts, over: Normalisation) -> Floats:
    """The confusion matrix as rates, float64 [K, K].

    over: `truth` (each row sums to 1), `prediction` (each column does), `all` (the whole does), `none` (raw counts).
    A row or column without pixels is NaN; scikit-learn writes 0 there.
    """
    match over:
        case "truth":
            return ratio(counts_KK, counts_KK.sum(1, keepdims=True))
        case "prediction":
            return ratio(counts_KK, counts_KK.sum(0, keepdims=True))
        case "all":
            return ratio(counts_KK, counts_KK.sum(keepdims=True))
        case "none":
            return counts_KK.astype(np.float64)


@dataclass(frozen=True)
class Scores:
    """All scores of one matrix of counts, computed when asked for.

    counts_KK: int64 [K, K], pixels by [truth, predicted].
    missed_K: int64 [K], true pixels of each class for which a prediction file names no class; None for none. They are
    misses of their class and false pixels of no other.
    Arrays are float64 [K] in 0..1 with NaN where undefined; single numbers are floats in 0..1, NaN without pixels.
    """

    counts_KK: Counts
    missed_K: Counts | None = None

    @property
    def num_classes(self) -> int:
        return len(self.counts_KK)

    @cached_property
    def support(self) -> Counts:
        """int64 [K]: true pixels of each class."""
        support_K: Counts = self.counts_KK.sum(1)
        return support_K if self.missed_K is None else support_K + self.missed_K

    @cached_property
    def predicted(self) -> Counts:
        """int64 [K]: pixels predicted as each class."""
        predicted_K: Counts = self.counts_KK.sum(0)
        return predicted_K

    @property
    def pixels(self) -> int:
        """Labelled pixels."""
        return int(self.support.sum())

    @property
    def _hits(self) -> Counts:
        return self.counts_KK.diagonal()

    @cached_property
    def share(self) -> Floats:
        """float64 [K]: share of the labelled pixels that each class has in the truth; NaN without labelled pixels."""
        return ratio(self.support, self.support.sum()[None])

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """bool [K]: in truth or prediction. The others are absent: their IoU is NaN and no mean counts them."""
        return (self.support + self.predicted) > 0

    @property
    def absent(self) -> tuple[int, ...]:
        """Ids of the classes that no mean counts."""
        return tuple(np.flatnonzero(~self.present).tolist())

    @cached_property
    def iou(self) -> Floats:
        return ratio(self._hits, self.support + self.predicted - self._hits)

    @cached_property
    def f1(self) -> Floats:
        """Equal to Dice."""
        return ratio(2 * self._hits, self.support + self.predicted)

    @cached_property
    def precision(self) -> Floats:
        return precision_per_class(self.counts_KK)

    @cached_property
    def recall(self) -> Floats:
        """Class accuracy."""
        return ratio(self._hits, self.support)

    @property
    def accuracy(self) -> float:
        """Pixel accuracy ("global accuracy"); also micro recall."""
        return float(ratio(self._hits.sum()[None], self.support.sum()[None])[0])

    @property
    def micro_f1(self) -> float:
        """2·hits / (true + predicted), all classes together: the same as `accuracy` where nothing was missed."""
        return float(ratio(2 * self._hits.sum()[None], (self.support.sum() + self.predicted.sum())[None])[0])

    @property
    def mean_accuracy(self) -> float:
        """Mean recall over classes that have true pixels ("class average accuracy")."""
        return mean_defined(self.recall)

    @property
    def macro_iou(self) -> float:
        """Mean IoU over classes in truth or prediction: what "mIoU" means here unless a protocol says otherwise."""
        return mean_defined(self.iou)

    @property
    def micro_iou(self) -> float:
        union = self.support.sum() + self.predicted.sum() - self._hits.sum()
        return float(ratio(self._hits.sum()[None], union[None])[0])

    @property
    def weighted_iou(self) -> float:
        """Mean IoU weighted by true pixels, also called frequency-weighted IoU."""
        return weighted_mean(self.iou, self.support)

    @property
    def macro_f1(self) -> float:
        """Mean F1 over classes in truth or prediction."""
        return mean_defined(self.f1)

    @property
    def weighted_f1(self) -> float:
        return weighted_mean(self.f1, self.support)

    @property
    def macro_precision(self) -> float:
        """Mean precision over classes that were predicted."""
        return mean_defined(self.precision)

    def confusion(self, over: Normalisation = "truth") -> Floats:
        """Rates [K, K]; see `normalised`. Missed pixels are in the wholes, so a row may sum to less than 1."""
        if self.missed_K is not None and over in ("truth", "all"):
            return ratio(self.counts_KK, self.support[:, None] if over == "truth" else self.support.sum()[None, None])
        return normalised(self.counts_KK, over)

    def summary(self) -> dict[str, float | None]:
        """The single numbers by name, ready for JSON: None where undefined."""
        values = {
            "macro_iou": self.macro_iou,
            "micro_iou": self.micro_iou,
            "weighted_iou": self.weighted_iou,
            "accuracy": self.accuracy,
            "mean_accuracy": self.mean_accuracy,
            "macro_precision": self.macro_precision,
            "macro_f1": self.macro_f1,
            "micro_f1": self.micro_f1,
            "weighted_f1": self.weighted_f1,
        }
        return {name: None if np.isnan(value) else value for name, value in values.items()}


def scores(counts_KK: NDArray[Any], missed_K: NDArray[Any] | None = None) -> Scores:
    """Scores of one matrix of counts [truth, predicted]: any integer dtype, [K, K], no negative entries.

    missed_K: integers [K], true pixels that got no class; see `Scores`. Raises ValueError for another form (a mistake of the caller).
    """
    counts = np.asarray(counts_KK)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not np.issubdtype(counts.dtype, np.integer):
        raise ValueError(f"counts must be integers [K, K], not {counts.dtype} {list(counts.shape)}")
    if counts.size and counts.min() < 0:
        raise ValueError("counts must not be negative")
    return Scores(counts.astype(np.int64), None if missed_K is None else np.asarray(missed_K, np.int64))
