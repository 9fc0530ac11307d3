"""Mean average precision of scored object masks, as COCO computes it.

For models that return objects with scores. Segwright's own query models are trained on one mask a class, so their masks
are no objects; `query_objects` reads the queries of a net that was trained on objects.

For each class and each IoU threshold 0.50, 0.55, … 0.95: the masks of a picture, best score first, each take the free
true object with the highest IoU if that reaches the threshold. The masks of all pictures in the order of their scores
then give precision by recall; average precision is the mean of the best precision at or beyond the recalls 0, 0.01, … 1.

Source: Lin et al. 2014, "Microsoft COCO"; cocoapi, cocoeval.py (area: all, 100 masks a picture).
Letters: N pictures, K classes, M masks, R regions, Q queries, T thresholds, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.nn import functional as F

from segwright.contracts import Queries
from segwright.metrics.regions import Ints, Regions
from segwright.metrics.scores import Floats, mean_defined

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
RECALLS = np.linspace(0, 1, 101)
MOST = 100
"""Masks of one picture and class that count: those with the best scores."""


@dataclass(frozen=True, kw_only=True)
class Objects:
    """Predicted objects of one picture: masks_MHW bool [M, H, W], class_M int64 [M], score_M float64 [M]."""

    masks_MHW: NDArray[np.bool_]
    class_M: Ints
    score_M: Floats


@dataclass(frozen=True, kw_only=True)
class AveragePrecision:
    """ap_KT: float64 [K, T], 0..1, by class and IoU threshold; NaN for a class without true objects.

    objects_K: int64 [K], true objects.
    """

    ap_KT: Floats
    objects_K: Ints

    @property
    def mean(self) -> float:
        """Mean over classes and thresholds, "AP" or "mAP"; NaN without true objects."""
        return mean_defined(self.ap_KT.reshape(-1))

    def at(self, threshold: float) -> float:
        """Mean over classes at one threshold, such as 0.5 ("AP50"). Raises ValueError for one that is not in THRESHOLDS."""
        return mean_defined(self.ap_KT[:, THRESHOLDS.index(threshold)])

    @property
    def of_class(self) -> Floats:
        """float64 [K]: mean over the thresholds."""
        return self.ap_KT.mean(1)


def average_precision(predictions: Sequence[Objects], truths: Sequence[Regions], num_classes: int) -> AveragePrecision:
    """Average precision over pictures.

    predictions: one entry a picture. truths: `regions(labels, instances)` of the same pictures: their objects are to be
    found; a class's regions that are no objects are groups (COCO's "crowd"), where a mask is neither right nor wrong.
    Pixels of masks on void count nowhere; a mask that has no others counts as a false one.
    Raises ValueError when the two do not have the same pictures.
    """
    if len(predictions) != len(truths):
        raise ValueError(f"{len(predictions)} pictures with predictions, {len(truths)} with truths")
    objects_K = np.zeros(num_classes, np.int64)
    found: list[list[tuple[float, NDArray[np.int8]]]] = [[] for _ in range(num_classes)]
    for predicted, truth in zip(predictions, truths, strict=True):
        objects_K += np.bincount(truth.class_R[truth.instance_R], minlength=num_classes)
        for k in np.unique(predicted.class_M).tolist():
            found[k] += _match(predicted, truth, k)
    ap_KT = np.full((num_classes, len(THRESHOLDS)), np.nan)
    for k in np.flatnonzero(objects_K).tolist():
        scores = np.array([score for score, _ in found[k]])
        order = np.argsort(-scores, kind="stable")
        verdicts_MT = np.array([verdict for _, verdict in found[k]], np.int8).reshape(-1, len(THRESHOLDS))[order]
        ap_KT[k] = [_area(verdicts_MT[:, t], int(objects_K[k])) for t in range(len(THRESHOLDS))]
    return AveragePrecision(ap_KT=ap_KT, objects_K=objects_K)


def query_objects(queries: Queries, size: tuple[int, int], *, most: int = MOST) -> list[Objects]:
    """Objects that the queries of a net trained on objects say, one entry a picture of the batch.

    size: (H, W) that the masks are brought to. The `most` best pairs of query and class are kept; a mask is where its
    logit is above 0; its score is the class's probability times the mean of its sigmoid inside (Mask2Former's instance
    inference, Cheng et al. 2022).
    """
    class_BQK = queries.class_BQK1.detach().float().softmax(-1)[..., :-1]
    found = []
    for class_QK, mask_Qhw in zip(class_BQK, queries.mask_BQhw.detach().float(), strict=True):
        score_M, pair_M = class_QK.flatten().topk(min(most, class_QK.numel()))
        query_M, class_M = pair_M // class_QK.shape[1], pair_M % class_QK.shape[1]
        mask_MHW = F.interpolate(mask_Qhw[query_M][None], size=size, mode="bilinear", align_corners=False)[0]
        inside_MHW = mask_MHW > 0
        sure_M = (mask_MHW.sigmoid() * inside_MHW).sum((1, 2)) / inside_MHW.sum((1, 2)).clamp_min(1)
        found.append(
            Objects(
                masks_MHW=inside_MHW.cpu().numpy(),
                class_M=class_M.cpu().numpy(),
                score_M=(score_M * sure_M).double().cpu().numpy(),
            )
        )
    return found


def _match(predicted: Objects, truth: Regions, k: int) -> list[tuple[float, NDArray[np.int8]]]:
    """(score, verdicts [T]) of the masks of class k in one picture: 1 right, 0 wrong, -1 neither."""
    chosen = np.flatnonzero(predicted.class_M == k)
    chosen = chosen[np.argsort(-predicted.score_M[chosen], kind="stable")][:MOST]
    objects = np.flatnonzero(truth.instance_R & (truth.class_R == k))
    groups = np.flatnonzero(~truth.instance_R & (truth.class_R == k))
    free_TR = np.ones((len(THRESHOLDS), len(objects)), np.bool_)
    found = []
    for m in chosen.tolist():
        shared_R = np.bincount(truth.map_HW[predicted.masks_MHW[m]], minlength=truth.count + 1)
        area = int(shared_R[1:].sum())
        union_R = truth.area_R[objects] + area - shared_R[objects]
        iou_R = shared_R[objects] / np.maximum(union_R, 1)
        in_group = float(shared_R[groups].max(initial=0)) / max(area, 1)
        verdicts = np.zeros(len(THRESHOLDS), np.int8)
        for t, threshold in enumerate(THRESHOLDS):
            open_R = np.where(free_TR[t], iou_R, -1.0)
            best = int(open_R.argmax()) if len(objects) else -1
            if best >= 0 and open_R[best] >= threshold:
                verdicts[t], free_TR[t, best] = 1, False
            elif in_group >= threshold:
                verdicts[t] = -1
        found.append((float(predicted.score_M[m]), verdicts))
    return found


def _area(verdicts_M: NDArray[np.int8], objects: int) -> float:
    """Mean of the best precision at or beyond each recall; 0 beyond the highest one reached."""
    counted = verdicts_M[verdicts_M >= 0]
    right = np.cumsum(counted)
    precision, recall = right / np.arange(1, len(counted) + 1), right / objects
    best = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, RECALLS, side="left")
    return float(np.append(best, 0.0)[np.minimum(places, len(best))].mean())
