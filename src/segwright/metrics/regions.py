"""Connected regions of label maps, and the pixels that the regions of two maps share.

Letters: R regions, P pairs of regions, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE
from segwright.metrics.connected import connected_regions

Ids = NDArray[np.uint8]
Ints = NDArray[np.int64]

FIRST_INSTANCE = 1000
"""Instance maps are in Cityscapes' code: label id × 1000 + number; smaller codes are stuff, or a group of things."""


@dataclass(frozen=True, kw_only=True)
class Regions:
    """Regions of one picture, numbered from 1; number 0 is whatever belongs to no region.

    map_HW: int32 [H, W], the region of each pixel. class_R, area_R: int64 [1 + R], class (-1 for number 0) and pixels
    of each. instance_R: bool [1 + R], whether it is one object by the data set's instance map.
    """

    map_HW: NDArray[np.int32]
    class_R: Ints
    area_R: Ints
    instance_R: NDArray[np.bool_]

    @property
    def count(self) -> int:
        return len(self.class_R) - 1


class Overlaps(NamedTuple):
    """Pairs of regions that share pixels. first_P, second_P: their numbers (0 too). pixels_P: how many they share."""

    first_P: Ints
    second_P: Ints
    pixels_P: Ints


def regions(ids: Ids, instances: NDArray[np.int32] | None = None) -> Regions:
    """The connected regions of each class (corners touch); each object where instances are known.

    ids: uint8 [H, W], classes; IGNORE is in no region. instances: int32 [H, W] in Cityscapes' code, or None. The pixels
    of one code and one class are one region, also in several pieces; void pixels are cut out of it.
    """
    map_HW = np.zeros(ids.shape, np.int32)
    classes: list[int] = [-1]
    rest = ids
    if instances is not None:
        chosen = (instances >= FIRST_INSTANCE) & (ids != IGNORE)
        keys = instances[chosen].astype(np.int64) * (IGNORE + 1) + ids[chosen]
        objects, inverse = np.unique(keys, return_inverse=True)
        map_HW[chosen] = inverse.reshape(-1) + 1
        classes += (objects % (IGNORE + 1)).tolist()
        rest = np.where(chosen, np.uint8(IGNORE), ids)
    objects_end = len(classes)
    connected = connected_regions(rest)
    labelled = connected.label_R != IGNORE
    number_R = np.where(labelled, objects_end - 1 + np.cumsum(labelled), 0).astype(np.int32)
    map_HW += connected.spread(number_R).reshape(ids.shape)
    classes += connected.label_R[labelled].tolist()
    return Regions(
        map_HW=map_HW,
        class_R=np.array(classes, np.int64),
        area_R=np.bincount(map_HW.reshape(-1), minlength=len(classes)),
        instance_R=(np.arange(len(classes)) < objects_end) & (np.arange(len(classes)) > 0),
    )


def overlaps(first: NDArray[np.int32], second: NDArray[np.int32]) -> Overlaps:
    """Every pair of numbers that occur at the same pixels of two maps [H, W], and at how many; sorted by pair."""
    wide = int(second.max(initial=0)) + 1
    keys = first.astype(np.int64).reshape(-1) * wide + second.reshape(-1)
    starts = np.flatnonzero(np.diff(keys, prepend=-1))  # neighbours mostly agree: few runs instead of many pixels
    lengths = np.diff(starts, append=keys.size)
    pairs, inverse = np.unique(keys[starts], return_inverse=True)
    pixels = np.bincount(inverse.reshape(-1), weights=lengths, minlength=len(pairs)).astype(np.int64)
    return Overlaps(pairs // wide, pairs % wide, pixels)
