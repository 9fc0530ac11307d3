"""Borders of a whole set: boundary IoU pooled over the pictures, boundary F as a mean over them, with intervals.

Letters: N pictures, K classes, T tolerances.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from segwright.metrics.boundary import (
    BAND,
    TOLERANCES,
    boundary_counts,
    boundary_f,
    boundary_iou,
    match_contours,
    tolerance,
)
from segwright.metrics.intervals import Draws, Interval
from segwright.metrics.measure import Arrays, Measure, Scored
from segwright.metrics.scores import Floats, ratio

_FORMS = {
    "segnet": "0.0075 of the diagonal, as SegNet's CamVid script",
    "davis": "0.008 of the diagonal, rounded up, as DAVIS",
    "1px": "1 pixel",
    "2px": "2 pixels",
    "3px": "3 pixels",
}
_IOU = (
    f"Boundary IoU (Cheng 2021): IoU of the pixels within d = {BAND} of the diagonal from each class's own border, "
    "bands of all pictures pooled; void pixels are in no band and make no border."
)
_F = (
    "Boundary F: per class and picture, the harmonic mean of the shares of true and predicted contour pixels that have "
    "a contour pixel of the class within the tolerance on the other side; then the mean over the classes of a picture, "
    "then over pictures. A class's own number is its mean over the pictures that have its contour in truth or prediction."
)


class Boundary(Measure):
    """Boundary IoU and boundary F.

    Rows: `bands` int64 [N, K, 3], pixels in the band of both, truth and prediction; `contours` int64 [N, K, 2], contour
    pixels of truth and prediction; `matched` int64 [N, K, T, 2], those with a partner within each of TOLERANCES.
    """

    name = "boundary"
    needs_rgb: ClassVar[bool] = False
    takes_void: ClassVar[bool] = True

    def begin(self, pictures: int) -> dict[str, Any]:
        classes = self.space.num_classes
        return {
            "bands": np.zeros((pictures, classes, 3), np.int64),
            "contours": np.zeros((pictures, classes, 2), np.int64),
            "matched": np.zeros((pictures, classes, len(TOLERANCES), 2), np.int64),
        }

    def see(self, scored: Scored, arrays: Arrays) -> None:
        classes = self.space.num_classes
        limits = [tolerance(name, scored.labels.shape) for name in TOLERANCES]
        found = match_contours(scored.labels, scored.ids, classes, limits)
        arrays["bands"][scored.index] = boundary_counts(scored.labels, scored.ids, classes)
        arrays["contours"][scored.index] = found.pixels_K2
        arrays["matched"][scored.index] = found.matched_KT2

    def result(self, arrays: Arrays, groups: Sequence[str]) -> dict[str, Any]:
        bands_NK3 = np.asarray(arrays["bands"], np.int64)
        both_NK = bands_NK3[..., 0]
        union_NK = bands_NK3[..., 1] + bands_NK3[..., 2] - both_NK
        iou_K = boundary_iou(bands_NK3.sum(0))
        return {
            "boundary_iou": {
                "definition": _IOU,
                **interval_of(mean_of_ratios(both_NK, union_NK, groups)),
                "classes": by_class(self.space.class_names, iou_K),
            },
            "boundary_f": {
                "definition": _F,
                "tolerances": {
                    name: {"within": _FORMS[name], **self._f(arrays, groups, t)} for t, name in enumerate(TOLERANCES)
                },
            },
        }

    def _f(self, arrays: Arrays, groups: Sequence[str], t: int) -> dict[str, Any]:
        contours_NK2 = np.asarray(arrays["contours"], np.int64)
        score_NK = boundary_f(contours_NK2, np.asarray(arrays["matched"], np.int64)[:, :, t])
        defined_NK = ~np.isnan(score_NK)
        filled_NK = np.where(defined_NK, score_NK, 0.0)
        picture_N = ratio(filled_NK.sum(1), defined_NK.sum(1))
        counted_N1 = ~np.isnan(picture_N)[:, None]
        mean = mean_of_ratios(np.nan_to_num(picture_N)[:, None], counted_N1, groups)
        of_class_K = ratio(filled_NK.sum(0), defined_NK.sum(0))
        return {**interval_of(mean), "classes": by_class(self.space.class_names, of_class_K)}


def mean_of_ratios(parts_NK: NDArray[Any], wholes_NK: NDArray[Any], groups: Sequence[str], **options: Any) -> Interval:
    """The mean over K of Σ parts / Σ wholes, each summed over the pictures, with its interval.

    parts_NK, wholes_NK: numbers [N, K]; an entry whose wholes add up to 0 counts in no mean. A mean over pictures is the
    case K = 1 with wholes 0 or 1. options: of `Draws` (resamples, seed). Raises ValueError for no pictures.
    """
    draws = Draws(len(parts_NK), groups, **options)
    share_RK = ratio(draws.totals(parts_NK), draws.totals(wholes_NK))
    defined_RK = ~np.isnan(share_RK)
    return draws.interval(ratio(np.where(defined_RK, share_RK, 0.0).sum(1), defined_RK.sum(1)))


def interval_of(interval: Interval) -> dict[str, Any]:
    """A mean and its interval as plain data; None where undefined."""
    return {
        "mean": plain(interval.value),
        "low": plain(interval.low),
        "high": plain(interval.high),
        "interval": interval.conditions,
    }


def by_class(names: Sequence[str], values_K: Floats) -> dict[str, float | None]:
    """Values by class name as plain data; None where undefined."""
    return {name: plain(value) for name, value in zip(names, values_K.tolist(), strict=True)}


def plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
