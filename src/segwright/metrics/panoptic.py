"""Panoptic quality and the recall of single objects.

A segment is one object of a thing class, or all pixels of a stuff class in a picture. A predicted and a true segment of a
class match when their IoU is above 0.5, which at most one pair can be. SQ is the mean IoU of the matches, RQ their F1,
and PQ = SQ · RQ. A class is a thing where the set knows objects of it, else stuff.

A semantic model gives no objects: each connected region of a class is taken as one. Neighbours that touch are then one
prediction, which at best matches one of them.

Void pixels count nowhere, and a prediction that lies mostly in void, or in a group of the same class that nobody split
into objects, is no mistake. Source: Kirillov et al. 2019, "Panoptic segmentation" (arXiv 1801.00868).
Letters: N pictures, K classes, R regions, P pairs of regions, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from segwright.contracts import IGNORE
from segwright.metrics.borders import plain
from segwright.metrics.measure import Arrays, Measure, Scored
from segwright.metrics.regions import Ids, Ints, Overlaps, Regions, overlaps, regions
from segwright.metrics.scores import Floats, mean_defined, ratio

MATCHED = 0.5
"""Segments match above this IoU; a prediction with more than this share in void or in a group is no mistake."""
SPECK = 10
"""A predicted connected region of fewer pixels is not taken as an object."""

_DEFINITION = (
    "Panoptic quality (Kirillov 2019): PQ = SQ · RQ, with SQ the mean IoU of matched segments (IoU above 0.5) and RQ = "
    "2·matched / (true + predicted), counted over all pictures. Things are the classes with objects in this set, one "
    "segment an object; a stuff class is one segment a picture. The model gives no objects: the connected regions of a "
    f"thing class, of {SPECK} pixels or more, are taken as such, so touching objects are one. Object recall: share of true "
    "objects that were matched. Found: mean share of an object's pixels that got its class."
)


@dataclass(frozen=True, kw_only=True)
class Segments:
    """How the segments of each class fared, in one picture or summed over several.

    counts_K3: int64 [..., K, 3], segments that matched, predicted ones that did not, true ones that did not.
    iou_K: float64 [..., K], sum of the matches' IoU.
    """

    counts_K3: Ints
    iou_K: Floats

    @property
    def sq(self) -> Floats:
        """Segmentation quality, [..., K] in 0.5..1; NaN without a match."""
        return ratio(self.iou_K, self.counts_K3[..., 0])

    @property
    def rq(self) -> Floats:
        """Recognition quality, [..., K] in 0..1; NaN for a class without segments."""
        return ratio(2 * self.counts_K3[..., 0], self._both)

    @property
    def pq(self) -> Floats:
        """Panoptic quality, [..., K] in 0..1; NaN for a class without segments, 0 where none matched."""
        return ratio(2 * self.iou_K, self._both)

    @property
    def recall(self) -> Floats:
        """Share of the true segments that matched, [..., K] in 0..1; NaN for a class without true segments."""
        return ratio(self.counts_K3[..., 0], self.counts_K3[..., 0] + self.counts_K3[..., 2])

    @property
    def _both(self) -> Ints:
        """True segments and predicted ones."""
        both_K: Ints = (self.counts_K3 * np.array([2, 1, 1])).sum(-1)
        return both_K


def match_things(
    truth: Regions, found: Regions, num_classes: int, *, smallest: int = 1, pairs: Overlaps | None = None
) -> Segments:
    """Objects of one picture against predicted ones, every class taken as a thing.

    truth: regions of the labels, with instances; its other regions are groups. found: the predicted regions. smallest:
    predicted regions of fewer pixels count nowhere. pairs: what `overlaps` of the two maps gives, where it is at hand.
    """
    pairs = overlaps(truth.map_HW, found.map_HW) if pairs is None else pairs
    same = (truth.class_R[pairs.first_P] == found.class_R[pairs.second_P]) & (pairs.first_P > 0)
    is_object = truth.instance_R[pairs.first_P]
    void_R = _summed(pairs, pairs.first_P == 0, found.count)
    excused_R = void_R + _summed(pairs, same & ~is_object, found.count)
    union_P = truth.area_R[pairs.first_P] + (found.area_R - void_R)[pairs.second_P] - pairs.pixels_P
    iou_P = ratio(pairs.pixels_P, union_P)
    big_R = found.area_R >= smallest
    hit_P = same & is_object & (iou_P > MATCHED) & big_R[pairs.second_P]
    matched_T, matched_F = np.zeros(truth.count + 1, np.bool_), np.zeros(found.count + 1, np.bool_)
    matched_T[pairs.first_P[hit_P]], matched_F[pairs.second_P[hit_P]] = True, True
    extra_F = ~matched_F & big_R & (excused_R <= MATCHED * found.area_R)
    extra_F[0] = False

    def by_class(classes: Ints) -> Ints:
        return np.bincount(classes, minlength=num_classes)

    counts_K3 = np.stack(
        [
            by_class(truth.class_R[matched_T]),
            by_class(found.class_R[extra_F]),
            by_class(truth.class_R[truth.instance_R & ~matched_T]),
        ],
        axis=1,
    )
    classes, ious = truth.class_R[pairs.first_P[hit_P]], iou_P[hit_P]
    order = np.lexsort((ious, classes))  # sums do not depend on how regions were numbered
    iou_K = np.bincount(classes[order], weights=ious[order], minlength=num_classes).astype(np.float64)
    return Segments(counts_K3=counts_K3, iou_K=iou_K)


def match_stuff(labels: Ids, ids: Ids, num_classes: int) -> Segments:
    """One segment a class in truth and prediction of one picture, every class taken as stuff.

    labels: uint8 [H, W], 0..K-1 or IGNORE. ids: uint8 [H, W], 0..K-1.
    """
    known = labels != IGNORE
    both_K, truth_K, found_K, all_K = (
        np.bincount(values.reshape(-1), minlength=num_classes)[:num_classes]
        for values in (labels[known & (labels == ids)], labels[known], ids[known], ids)
    )
    iou_K = ratio(both_K, truth_K + found_K - both_K)
    hit_K = iou_K > MATCHED
    extra_K = (all_K > 0) & ~hit_K & (all_K - found_K <= MATCHED * all_K)
    counts_K3 = np.stack([hit_K, extra_K, (truth_K > 0) & ~hit_K], axis=1).astype(np.int64)
    return Segments(counts_K3=counts_K3, iou_K=np.where(hit_K, iou_K, 0.0))


def _summed(pairs: Overlaps, chosen: Any, count: int) -> Ints:
    """Pixels of the chosen pairs by their second region."""
    weights = pairs.pixels_P[chosen]
    return np.bincount(pairs.second_P[chosen], weights=weights, minlength=count + 1).astype(np.int64)


class Instances(Measure):
    """Panoptic quality by class, and how many objects were found.

    Rows: `things` and `stuff` int64 [N, K, 3] as in `Segments`, each class taken as either; `things_iou` and `stuff_iou`
    float64 [N, K]; `found` float64 [N, K], the sum over objects of the share of their pixels that got the class.
    """

    name = "instances"
    needs_instances: ClassVar[bool] = True
    needs_rgb: ClassVar[bool] = False
    takes_void: ClassVar[bool] = True

    def begin(self, pictures: int) -> dict[str, Any]:
        shape = (pictures, self.space.num_classes)
        counts = {key: np.zeros((*shape, 3), np.int64) for key in ("things", "stuff")}
        return {**counts, **{key: np.zeros(shape) for key in ("things_iou", "stuff_iou", "found")}}

    def see(self, scored: Scored, arrays: Arrays) -> None:
        classes, row = self.space.num_classes, scored.index
        truth, found = regions(scored.labels, scored.instances), regions(scored.ids)
        pairs = overlaps(truth.map_HW, found.map_HW)
        things = match_things(truth, found, classes, smallest=SPECK, pairs=pairs)
        stuff = match_stuff(scored.labels, scored.ids, classes)
        arrays["things"][row], arrays["things_iou"][row] = things.counts_K3, things.iou_K
        arrays["stuff"][row], arrays["stuff_iou"][row] = stuff.counts_K3, stuff.iou_K
        same = truth.instance_R[pairs.first_P] & (truth.class_R[pairs.first_P] == found.class_R[pairs.second_P])
        pixels_R = np.bincount(pairs.first_P[same], weights=pairs.pixels_P[same], minlength=truth.count + 1)
        share_R = ratio(pixels_R, truth.area_R)[truth.instance_R]
        order = np.lexsort((share_R, truth.class_R[truth.instance_R]))
        np.add.at(arrays["found"][row], truth.class_R[truth.instance_R][order], share_R[order])

    def result(self, arrays: Arrays, groups: Sequence[str]) -> dict[str, Any]:
        total = {key: values.sum(0) for key, values in arrays.items()}
        objects_K = total["things"][:, 0] + total["things"][:, 2]
        thing_K = objects_K > 0
        chosen = Segments(
            counts_K3=np.where(thing_K[:, None], total["things"], total["stuff"]),
            iou_K=np.where(thing_K, total["things_iou"], total["stuff_iou"]),
        )
        found_K = ratio(total["found"], objects_K)
        means = {"all": np.ones_like(thing_K), "things": thing_K, "stuff": ~thing_K}
        return {
            "definition": _DEFINITION,
            **{
                name: {
                    "pq": plain(mean_defined(chosen.pq[of])),
                    "sq": plain(mean_defined(chosen.sq[of])),
                    "rq": plain(mean_defined(chosen.rq[of])),
                    "classes": int((~np.isnan(chosen.pq[of])).sum()),
                }
                for name, of in means.items()
            },
            "objects": int(objects_K.sum()),
            "recall": plain(mean_defined(chosen.recall[thing_K])),
            "found": plain(mean_defined(found_K)),
            "classes": {
                name: {
                    "kind": "thing" if thing_K[k] else "stuff",
                    "pq": plain(chosen.pq[k]),
                    "sq": plain(chosen.sq[k]),
                    "rq": plain(chosen.rq[k]),
                    "objects": int(objects_K[k]) if thing_K[k] else None,
                    "recall": plain(chosen.recall[k]) if thing_K[k] else None,
                    "found": plain(found_K[k]),
                }
                for k, name in enumerate(self.space.class_names)
            },
        }
