"""What is found by size: recall of small, medium and large true regions, and how many were missed altogether.

A region is one object where the data set says which pixels are one, else a connected region of a class (corners touch).
Letters: N pictures, K classes, S sizes, R regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segwright.metrics.borders import by_class, plain
from segwright.metrics.measure import Arrays, Measure, Scored
from segwright.metrics.regions import Ids, Ints, overlaps, regions
from segwright.metrics.scores import Floats, ratio

SIZES = ("small", "medium", "large")
LIMITS = (1 / 300, 0.03)
"""Above these shares of the picture's pixels a region is medium, and large: COCO's 32² and 96² pixels in 640×480."""
SPECK = 10
"""Regions of fewer pixels are left out: at the edge of what annotators draw."""
MISSED = 0.1
"""A region is missed when less than this share of its pixels got its class."""

_DEFINITION = (
    f"A true region is an object, or a connected region of its class where no instances are known, of {SPECK} pixels or "
    f"more. Small: up to 1/{round(1 / LIMITS[0])} of the picture's pixels; large: more than {LIMITS[1]:.0%}. Recall: share "
    f"of the regions' pixels that got their class, all pictures pooled. Missed: regions of which less than {MISSED:.0%} "
    "did. Matched IoU: mean over regions of the IoU with the one predicted connected region of the class that fits best, "
    "0 where there is none."
)


class RegionsFound(NamedTuple):
    """How each true region of a picture fared, specks left out.

    class_R, pixels_R, found_R: int64 [R], class, pixels, and pixels that got the class. iou_R: float64 [R], IoU with the
    best predicted connected region of the class. instance_R: bool [R], one object by the instance map.
    """

    class_R: Ints
    pixels_R: Ints
    found_R: Ints
    iou_R: Floats
    instance_R: NDArray[np.bool_]


def find_regions(labels: Ids, ids: Ids, instances: NDArray[np.int32] | None = None) -> RegionsFound:
    """labels: uint8 [H, W], 0..K-1 or IGNORE. ids: uint8 [H, W], 0..K-1. instances: int32 [H, W] as in `regions`.

    Void pixels count nowhere: predicted regions may run through them, but their void pixels are in no IoU.
    """
    truth, found = regions(labels, instances), regions(ids)
    pairs = overlaps(truth.map_HW, found.map_HW)
    labelled = pairs.first_P > 0
    area_F = _summed(pairs.second_P[labelled], pairs.pixels_P[labelled], found.count)
    same = labelled & (truth.class_R[pairs.first_P] == found.class_R[pairs.second_P])
    first_P, second_P, pixels_P = (column[same] for column in pairs)
    found_R = _summed(first_P, pixels_P, truth.count)
    iou_R = np.zeros(truth.count + 1)
    np.maximum.at(iou_R, first_P, pixels_P / (truth.area_R[first_P] + area_F[second_P] - pixels_P))
    keep = np.flatnonzero(truth.area_R >= SPECK)
    keep = keep[keep > 0]
    return RegionsFound(truth.class_R[keep], truth.area_R[keep], found_R[keep], iou_R[keep], truth.instance_R[keep])


def _summed(numbers: Ints, pixels: Ints, count: int) -> Ints:
    return np.bincount(numbers, weights=pixels, minlength=count + 1).astype(np.int64)


class Sizes(Measure):
    """Recall, missed regions and matched IoU by class and size.

    Rows: `regions`, `pixels`, `found`, `missed` int64 [N, K, S] and `iou` float64 [N, K, S]: how many true regions, their
    pixels, the pixels that got the class, regions missed, and the sum of the regions' matched IoU.
    """

    name = "sizes"
    needs_rgb: ClassVar[bool] = False
    takes_void: ClassVar[bool] = True

    def begin(self, pictures: int) -> dict[str, Any]:
        shape = (pictures, self.space.num_classes, len(SIZES))
        whole = {key: np.zeros(shape, np.int64) for key in ("regions", "pixels", "found", "missed")}
        return {**whole, "iou": np.zeros(shape)}

    def see(self, scored: Scored, arrays: Arrays) -> None:
        found = find_regions(scored.labels, scored.ids, scored.instances)
        size_R = np.searchsorted(np.array(LIMITS), found.pixels_R / scored.labels.size, side="left")
        at = (found.class_R, size_R)
        missed_R = found.found_R < MISSED * found.pixels_R
        row: dict[str, Any] = {"regions": 1, "pixels": found.pixels_R, "found": found.found_R, "missed": missed_R}
        for key, values in row.items():
            np.add.at(arrays[key][scored.index], at, values)
        order = np.lexsort((found.iou_R, size_R, found.class_R))  # sums do not depend on how regions were numbered
        np.add.at(arrays["iou"][scored.index], (at[0][order], at[1][order]), found.iou_R[order])

    def result(self, arrays: Arrays, groups: Sequence[str]) -> dict[str, Any]:
        totals = {key: values.sum(0) for key, values in arrays.items()}
        names = self.space.class_names
        return {
            "definition": _DEFINITION,
            "limits": list(LIMITS),
            "all": _scores({key: values.sum(0) for key, values in totals.items()}),
            "classes": {name: _scores({key: v[k] for key, v in totals.items()}) for k, name in enumerate(names)},
            "missed": by_class(names, ratio(totals["missed"].sum(1), totals["regions"].sum(1))),
        }


def _scores(totals_S: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """By size: regions, recall, missed regions and their share, matched IoU."""
    recall_S = ratio(totals_S["found"], totals_S["pixels"])
    missed_S = ratio(totals_S["missed"], totals_S["regions"])
    iou_S = ratio(totals_S["iou"], totals_S["regions"])
    return {
        size: {
            "regions": int(totals_S["regions"][s]),
            "recall": plain(recall_S[s]),
            "missed": int(totals_S["missed"][s]),
            "missed_share": plain(missed_S[s]),
            "iou": plain(iou_S[s]),
        }
        for s, size in enumerate(SIZES)
    }
