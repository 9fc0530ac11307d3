"""Pictures in which compared runs differ most: where to look first.

Letters: N pictures, E runs, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from segwright.evaluation.compare import Comparison
from segwright.metrics.scores import Floats, ratio


@dataclass(frozen=True, kw_only=True)
class PictureGap:
    """How differently one picture went.

    index: its position in the evaluations. accuracy, miou: of each run in the comparison's order, 0..1: share of its
    labelled pixels that are right, mean IoU over the classes in its truth or prediction. run: the one that differs most
    from the reference here. gap: the accuracy of that run minus the reference's.
    """

    index: int
    name: str
    accuracy: tuple[float, ...]
    miou: tuple[float, ...]
    run: str
    gap: float


def most_different(comparison: Comparison, count: int = 12) -> tuple[PictureGap, ...]:
    """Up to `count` pictures, none twice: for every run in turn the one with its largest gain over the reference and the
    one with its largest loss, by pixel accuracy. Pictures with equal accuracy, or without labelled pixels, are left out."""
    accuracy_EN, miou_EN = _scores(comparison)
    base = comparison.names.index(comparison.reference)
    queues = []
    for place, run in enumerate(comparison.names):
        if place == base:
            continue
        gap_N = np.nan_to_num(accuracy_EN[place] - accuracy_EN[base])
        order = np.argsort(-gap_N, kind="stable")
        gains = [(int(i), run, float(gap_N[i])) for i in order if gap_N[i] > 0]
        losses = [(int(i), run, float(gap_N[i])) for i in order[::-1] if gap_N[i] < 0]
        queues += [gains, losses]
    chosen: dict[int, tuple[str, float]] = {}
    for taken in zip_longest(*queues):
        for item in taken:
            if item is not None and len(chosen) < count:
                chosen.setdefault(item[0], item[1:])
    return tuple(
        PictureGap(
            index=index,
            name=comparison.against.evaluation.names[index],
            accuracy=tuple(accuracy_EN[:, index].tolist()),
            miou=tuple(miou_EN[:, index].tolist()),
            run=run,
            gap=gap,
        )
        for index, (run, gap) in sorted(chosen.items(), key=lambda item: -abs(item[1][1]))
    )


def _scores(comparison: Comparison) -> tuple[Floats, Floats]:
    """Accuracy and mIoU of each picture alone, [E, N]; NaN without labelled pixels."""
    accuracies, means = [], []
    for entry in comparison.entries:
        counts_NKK = entry.evaluation.counts_NKK
        hits_NK = counts_NKK.diagonal(axis1=1, axis2=2)
        accuracies.append(ratio(hits_NK.sum(1), counts_NKK.sum((1, 2))))
        union_NK = counts_NKK.sum(2) + counts_NKK.sum(1) - hits_NK
        iou_NK = np.nan_to_num(ratio(hits_NK, union_NK))
        means.append(ratio(iou_NK.sum(1), (union_NK > 0).sum(1)))
    return np.stack(accuracies), np.stack(means)
