"""How well borders are drawn: boundary IoU and boundary F of two label maps.

Both compare, class by class, the mask of the truth with that of the prediction, and both leave void out in the same way:
a void pixel belongs to no mask and no contour, and where a class meets void it has no border, because nobody said what
lies there. So only pixels that are labelled in the truth can be right or wrong.

Boundary IoU looks at the band of pixels inside each mask along its border. Boundary F looks at the contours alone: how
many of their pixels have a contour pixel of the same class nearby on the other side.

Sources: Cheng et al. 2021, "Boundary IoU" (arXiv 2103.16562); Csurka et al. 2013, "What is a good evaluation measure for
semantic segmentation?"; SegNet-Tutorial, computeBFmeasure.m; Perazzi et al. 2016 (DAVIS).
Letters: K classes, T tolerances, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE
from segwright.metrics.scores import Floats, ratio

Ids = NDArray[np.uint8]
Ints = NDArray[np.int64]

BAND = 0.02
"""Width of the band of boundary IoU, as a share of the picture's diagonal."""
TOLERANCES = ("segnet", "davis", "1px", "2px", "3px")
"""Named distances within which two contour pixels match; `tolerance` says how long each is."""

_CHUNK = 200_000
"""From so many unmatched contour pixels on, whole distance maps are faster than looking around each pixel."""


def band_width(shape: tuple[int, ...], share: float = BAND) -> int:
    """Pixels: `share` of the diagonal of a picture of (H, W), rounded, at least 1."""
    return max(1, round(share * math.hypot(*shape[:2])))


def tolerance(name: str, shape: tuple[int, ...]) -> float:
    """How far apart two contour pixels may lie, in pixels, in a picture of (H, W).

    `segnet`: 0.0075 of the diagonal. `davis`: 0.008 of the diagonal, rounded up. `1px`, `2px`, `3px`: as they say.
    Raises ValueError for another name.
    """
    diagonal = math.hypot(*shape[:2])
    if name == "segnet":
        return 0.0075 * diagonal
    if name == "davis":
        return float(math.ceil(0.008 * diagonal))
    if name in TOLERANCES:
        return float(name.removesuffix("px"))
    raise ValueError(f"unknown tolerance {name!r}; known are {', '.join(TOLERANCES)}")


def boundary_counts(labels: Ids, ids: Ids, num_classes: int, *, width: int | None = None) -> Ints:
    """Pixels of the bands along the borders: int64 [K, 3], columns both, truth, prediction.

    labels: uint8 [H, W], 0..K-1 or IGNORE. ids: uint8 [H, W], 0..K-1. width: of the band in pixels, `band_width` when
    None. A pixel of a class is in its band when a pixel of another class, or the outside of the picture, is at most
    `width` rows and columns away: what Cheng's `mask_to_boundary` computes for each class, here for all at once.
    """
    width = band_width(labels.shape) if width is None else width
    known = labels != IGNORE
    truth_band, found_band = _band(labels, known, width), _band(ids, known, width)
    counts_K3 = np.zeros((num_classes, 3), np.int64)
    both = truth_band & found_band & (labels == ids)
    for column, (values, chosen) in enumerate(((labels, both), (labels, truth_band), (ids, found_band))):
        counts_K3[:, column] = np.bincount(values[chosen], minlength=num_classes)[:num_classes]
    return counts_K3


def boundary_iou(counts_K3: Ints) -> Floats:
    """Boundary IoU, [..., K] in 0..1, from `boundary_counts` [..., K, 3] (summed over pictures or not).

    NaN for a class that has a band in neither truth nor prediction.
    """
    both, truth, found = (counts_K3[..., column] for column in range(3))
    return ratio(both, truth + found - both)


def _band(values: Ids, known: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """bool [H, W]: known pixels that have another known value, or the picture's edge, within `width`."""
    window = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    highest = cv2.dilate(np.where(known, values, np.uint8(0)), window)
    lowest = cv2.erode(np.where(known, values, np.uint8(255)), window)
    band = np.asarray(highest != lowest)
    band[:width], band[-width:], band[:, :width], band[:, -width:] = True, True, True, True
    return band & known


class Contours(NamedTuple):
    """Contour pixels of every class and how many of them have a partner.

    pixels_K2: int64 [K, 2], contour pixels in truth and prediction. matched_KT2: int64 [K, T, 2], those with a contour
    pixel of the class within each tolerance on the other side.
    """

    pixels_K2: Ints
    matched_KT2: Ints


def match_contours(labels: Ids, ids: Ids, num_classes: int, tolerances: Sequence[float]) -> Contours:
    """Contours of both label maps, and their pixels with a partner within each tolerance (Euclidean, pixels, inclusive).

    labels, ids: as for `boundary_counts`. A pixel of a class is on its contour when one of its four neighbours is a
    labelled pixel of another class; the picture's edge is no contour. A partner may serve several pixels (Csurka's
    form; the Berkeley code that SegNet's script calls pairs them one to one, which gives slightly lower numbers).
    """
    known = labels != IGNORE
    sides = _contour(labels, known), _contour(ids, known)
    pixels_K2 = np.zeros((num_classes, 2), np.int64)
    matched_KT2 = np.zeros((num_classes, len(tolerances), 2), np.int64)
    limits = [math.floor(t * t + 1e-6) for t in tolerances]  # squared distances are whole numbers
    for side, (own, other) in enumerate((sides, sides[::-1])):
        places = np.flatnonzero(own != IGNORE)
        classes = own.reshape(-1)[places]
        squared = _squared_distances(places, classes, other, max(limits, default=0))
        pixels_K2[:, side] = np.bincount(classes, minlength=num_classes)[:num_classes]
        for t, limit in enumerate(limits):
            near = np.bincount(classes[squared <= limit], minlength=num_classes)
            matched_KT2[:, t, side] = near[:num_classes]
    return Contours(pixels_K2, matched_KT2)


def boundary_f(pixels_K2: Ints, matched_K2: Ints) -> Floats:
    """Boundary F, [..., K] in 0..1: 2·P·R / (P + R) of contour precision P and recall R.

    pixels_K2: [..., K, 2] contour pixels in truth and prediction, matched_K2: those with a partner.
    NaN for a class without contour in both; 0 for one with a contour in only one of them.
    """
    recall, precision = (ratio(matched_K2[..., side], pixels_K2[..., side]) for side in range(2))
    recall, precision = np.nan_to_num(recall), np.nan_to_num(precision)
    score = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    return np.where(pixels_K2.any(-1), score, np.nan)


def _contour(values: Ids, known: NDArray[np.bool_]) -> Ids:
    """uint8 [H, W]: the class of each contour pixel, IGNORE elsewhere."""
    edge = np.zeros(values.shape, np.bool_)
    across = (values[:, 1:] != values[:, :-1]) & known[:, 1:] & known[:, :-1]
    down = (values[1:] != values[:-1]) & known[1:] & known[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return np.where(edge, values, np.uint8(IGNORE))


def _squared_distances(places: NDArray[np.intp], classes: Ids, other: Ids, limit: int) -> Ints:
    """For each place (flat index) the squared distance to the nearest pixel of its class in `other`; limit + 1 beyond.

    Looks around all places at once, ring by ring; places that have found a partner are done. Where very many find none
    nearby, a distance map for each class is cheaper and gives the same numbers.
    """
    reach = math.isqrt(limit)
    padded = np.pad(other, reach, constant_values=IGNORE)
    flat, wide = padded.reshape(-1), padded.shape[1]
    rows, columns = np.divmod(places, other.shape[1])
    at = (rows + reach) * wide + columns + reach
    squared = np.full(len(places), limit + 1, np.int64)
    left = np.arange(len(places))
    for ring, steps in _rings(limit):
        if len(left) > _CHUNK and ring > 9:
            squared[left] = _by_maps(places[left], classes[left], other, limit)
            return squared
        wanted, centre = classes[left], at[left]
        near = np.zeros(len(left), np.bool_)
        for down, across in steps:
            near |= flat[centre + (down * wide + across)] == wanted
        squared[left[near]] = ring
        left = left[~near]
        if not len(left):
            break
    return squared


@lru_cache(maxsize=16)
def _rings(limit: int) -> tuple[tuple[int, tuple[tuple[int, int], ...]], ...]:
    """Squared distance -> the steps (down, across) of that length, nearest first."""
    reach = math.isqrt(limit)
    found: dict[int, list[tuple[int, int]]] = {}
    for down in range(-reach, reach + 1):
        for across in range(-reach, reach + 1):
            if (length := down * down + across * across) <= limit:
                found.setdefault(length, []).append((down, across))
    return tuple((length, tuple(found[length])) for length in sorted(found))


def _by_maps(places: NDArray[np.intp], classes: Ids, other: Ids, limit: int) -> Ints:
    """As `_squared_distances`, by an exact distance map for each class."""
    squared = np.full(len(places), limit + 1, np.int64)
    for k in np.unique(classes):
        away = (other != k).astype(np.uint8)
        if away.all():
            continue
        distance = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).reshape(-1)
        of_class = classes == k
        exact = np.rint(np.square(distance[places[of_class]].astype(np.float64))).astype(np.int64)
        squared[of_class] = np.minimum(exact, limit + 1)
    return squared
