"""Connected regions of all classes of a label map in one pass.

Runs of equal labels in a row are the nodes, touching runs of one label in neighbouring rows the edges; labels of
neighbouring nodes are hooked to the smaller one and shortened until nothing changes (Zhang, Azad & Hu 2020, "FastSV").
Several times faster than a binary labelling of each class: a map has far fewer runs than pixels.

Letters: H W pixels, R regions, S runs, P places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Connected:
    """All regions of one label map. label_R: uint8 [R], the label of each. area_R: int64 [R], its pixels."""

    label_R: NDArray[np.uint8]
    area_R: Index
    _run_of_pixel: NDArray[np.int32]
    _region_of_run: Index

    def at(self, places_P: Index) -> Index:
        """int64 [P]: the region of each place, a flat index y·W + x."""
        return self._region_of_run[self._run_of_pixel[places_P]]

    def spread(self, values_R: NDArray[np.int32]) -> NDArray[np.int32]:
        """int32 [H·W]: of each pixel the value of its region."""
        return values_R[self._region_of_run][self._run_of_pixel]


def connected_regions(ids_HW: NDArray[np.uint8]) -> Connected:
    """Regions of equal label, in the order of their first pixels; touching corners connect (8 neighbours).

    ids_HW: uint8 [H, W], any values, void among them. A map without pixels has no regions.
    """
    height, width = ids_HW.shape
    starts_HW = np.empty((height, width), bool)
    starts_HW[:, :1] = True
    np.not_equal(ids_HW[:, 1:], ids_HW[:, :-1], out=starts_HW[:, 1:])
    first_S = np.flatnonzero(starts_HW)
    run_of_pixel = np.cumsum(starts_HW.ravel(), dtype=np.int32)
    run_of_pixel -= 1
    label_S = ids_HW.ravel()[first_S]
    one, other = _touching(first_S, label_S, run_of_pixel, height, width)
    root_S = _joined(len(first_S), one, other)
    roots, region_of_run = np.unique(root_S, return_inverse=True)
    length_S = np.diff(np.append(first_S, ids_HW.size))
    area_R = np.bincount(region_of_run, weights=length_S, minlength=len(roots)).astype(np.int64)
    return Connected(label_S[roots], area_R, run_of_pixel, region_of_run.astype(np.int64))


def _touching(
    first_S: Index, label_S: NDArray[np.uint8], run_of_pixel: NDArray[np.int32], height: int, width: int
) -> tuple[Index, Index]:
    """Pairs of runs that touch. Where two runs do, one of them starts beside, or a step after, a pixel of the other."""
    runs, x = np.arange(len(first_S)), first_S % width if width else first_S
    pairs = []
    for step, allowed in (
        (-width, first_S >= width),
        (-width - 1, (first_S >= width) & (x > 0)),
        (width - 1, (first_S < (height - 1) * width) & (x > 0)),
    ):
        run = runs[allowed]
        beside = run_of_pixel[first_S[allowed] + step]
        same = label_S[run] == label_S[beside]
        pairs.append((run[same], beside[same]))
    return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs]).astype(np.int64)


def _joined(count: int, one: Index, other: Index) -> Index:
    """int64 [count]: of each node, the smallest node that edges connect it with."""
    root = np.arange(count)
    while one.size:
        a, b = root[one], root[other]
        apart = a != b
        one, other, a, b = one[apart], other[apart], a[apart], b[apart]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(shorter := root[root], root):
            root = shorter
    return root
