"""Class ids as outlines: polygons on the edges of pixels, so that filling them gives back exactly the pixels.

Letters: H W pixels, N points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.labels import LabelSpace

Ring = NDArray[np.int32]
"""int32 [N, 2]: corners x, y on the edges of pixels, 0..W and 0..H; open: the first is not repeated at the end."""
MOST_POINTS = 500_000
"""Corners in one answer; a noisy picture has millions."""


class TooManyPoints(Exception):
    """The outlines have more than MOST_POINTS corners."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """Connected pixels of one class (corners connect). rings: its outline, then its holes. pixels: how many it has."""

    class_id: int
    rings: tuple[Ring, ...]
    pixels: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x, y, width, height, pixels."""
        (left, top), (right, bottom) = self.rings[0].min(0).tolist(), self.rings[0].max(0).tolist()
        return left, top, right - left, bottom - top


def regions(ids_HW: NDArray[np.uint8], space: LabelSpace, *, min_pixels: int = 1) -> list[Region]:
    """The regions of all classes, by class and then the largest first; those below `min_pixels` are left out.

    ids: uint8 [H, W]; IGNORE gives no region. Raises TooManyPoints.
    """
    found: list[Region] = []
    points = 0
    counts = np.bincount(ids_HW.ravel(), minlength=256)
    for class_id in range(space.num_classes):
        if not counts[class_id]:
            continue
        own = [r for r in _of_class(ids_HW == class_id, class_id) if r.pixels >= min_pixels]
        points += sum(len(ring) for region in own for ring in region.rings)
        if points > MOST_POINTS:
            raise TooManyPoints
        found += sorted(own, key=lambda region: -region.pixels)
    return found


def _of_class(mask_HW: NDArray[np.bool_], class_id: int) -> Iterator[Region]:
    # cv2 puts corners on pixel centres. In a picture of twice the size every centre lies on one side of its old pixel,
    # the side that faces the border; moving it there gives the edge itself.
    doubled = mask_HW.astype(np.uint8).repeat(2, 0).repeat(2, 1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if hierarchy is None:
        return
    for contour, (_, _, child, parent) in zip(contours, hierarchy[0].tolist(), strict=True):
        if parent >= 0:
            continue
        rings = [_ring(contour)]
        while child >= 0:
            rings.append(_ring(contours[child]))
            child = hierarchy[0][child][0]
        areas = [abs(_area(ring)) for ring in rings]
        yield Region(class_id=class_id, rings=tuple(rings), pixels=int(areas[0] - sum(areas[1:])))


def _ring(contour: NDArray[Any]) -> Ring:
    """Corners alone, on edges: equal neighbours and points inside of straight lines are dropped."""
    points = (contour[:, 0] + 1) // 2
    points = points[(points != np.roll(points, 1, 0)).any(1)]
    before, after = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
    return np.ascontiguousarray(points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]])


def _area(ring: Ring) -> int:
    """Signed area, pixels."""
    x, y = ring[:, 0].astype(np.int64), ring[:, 1].astype(np.int64)
    return int((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) // 2


def run_lengths(region: Region, height: int, width: int) -> list[int]:
    """COCO's uncompressed run lengths of the region in a picture: column by column, zeros first."""
    left, top, wide, high = region.box
    columns = np.zeros((height, wide), np.int8)
    columns[top : top + high] = _filled(region)
    changes = np.flatnonzero(np.diff(columns.ravel(order="F"), prepend=0, append=0)) + left * height
    runs = np.diff(changes, prepend=0, append=height * width).tolist()
    return runs if runs[-1] else runs[:-1]


def _filled(region: Region) -> NDArray[np.int8]:
    """The region's pixels as ones, int8 [H, W] of its box. A pixel is inside when an odd number of edges lies left of it."""
    left, top, wide, high = region.box
    edges = np.zeros((high + 1, wide + 1), np.int32)
    for ring in region.rings:
        x, y = (ring - (left, top)).T
        upright = x == np.roll(x, -1)
        low, far = np.minimum(y, np.roll(y, -1))[upright], np.maximum(y, np.roll(y, -1))[upright]
        np.add.at(edges, (low, x[upright]), 1)
        np.add.at(edges, (far, x[upright]), -1)
    crossed = edges.cumsum(0)[:-1].cumsum(1)[:, :-1]
    return (crossed & 1).astype(np.int8)
