"""What kind of error each wrong pixel is: how far from a border, in a small, missed or invented region.

Every wrong pixel falls into exactly one cell, so any part of the errors is a sum of cells, and parts can be told apart
without counting a pixel twice. For IoU only two numbers of a class matter in each cell: its missed pixels and its
false ones. They are kept instead of a matrix [truth, predicted], and what follows from them is exact all the same.

Letters: N pictures, K classes, E cells, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE
from segwright.metrics.connected import connected_regions
from segwright.metrics.measure import Arrays, Measure, Scored
from segwright.metrics.sizes import LIMITS, MISSED

BORDER_PX = (1, 3, 5)
"""Upper ends of the border bands; beyond the last one is the interior."""
SMALL = LIMITS[0]
"""A region is small up to this share of its picture's pixels: the limit of the measure `sizes`."""
BANDS = len(BORDER_PX) + 1
CELLS = BANDS * 2 * 2 * 2

Ids = NDArray[np.uint8]
Flags = NDArray[np.bool_]


class Cell(NamedTuple):
    """What the wrong pixels of one cell have in common.

    band: 0, 1, 2 for the border bands of BORDER_PX, 3 for the interior. small, missed: the true region that the pixel
    belongs to is. invented: the predicted region that it belongs to holds no true pixel of its class.
    """

    band: int
    small: bool
    missed: bool
    invented: bool


def cells() -> Iterator[Cell]:
    """All cells, in the order of the array."""
    for index in range(CELLS):
        yield Cell(index // 8, bool(index & 4), bool(index & 2), bool(index & 1))


def cells_where(chosen: Callable[[Cell], bool]) -> Flags:
    """bool [E]: the cells for which `chosen` is true."""
    return np.array([chosen(cell) for cell in cells()])


def border_band(labels: Ids) -> Ids:
    """uint8 [H, W]: 0 up to 1 px from a border between two labels, 1 up to 3 px, 2 up to 5 px, 3 beyond.

    labels: uint8 [H, W]. A pixel is within r px when the square of 2r + 1 px around it holds another label (chessboard
    distance). Void is a label here; the edge of the picture is no border.
    """
    band = np.full(labels.shape, BANDS - 1, np.uint8)
    low = high = labels
    reached = 0
    for number, limit in enumerate(BORDER_PX):
        kernel = np.ones((2 * (limit - reached) + 1,) * 2, np.uint8)
        low, high = np.asarray(cv2.erode(low, kernel), np.uint8), np.asarray(cv2.dilate(high, kernel), np.uint8)
        band[(low != high) & (band == BANDS - 1)] = number
        reached = limit
    return band


class Errors(NamedTuple):
    """The wrong pixels of one picture, and its regions.

    wrong: int64 [E, 2, K], by true class (missed pixels) and by called class (false pixels). regions: int64 [4, K]:
    true regions, small ones, missed ones, and, by called class, invented ones.
    """

    wrong: NDArray[np.int64]
    regions: NDArray[np.int64]


def find_errors(labels: Ids, ids: Ids, num_classes: int) -> Errors:
    """Sort the wrong pixels of one picture into cells.

    labels: uint8 [H, W], 0..K-1 or IGNORE. ids: uint8 [H, W], 0..K-1. A region is a connected part of one class, where
    touching corners connect; a predicted one may reach into void, whose pixels are not wrong.
    """
    truth, called = labels.ravel(), ids.ravel()
    void = truth == IGNORE
    places = np.flatnonzero((truth != called) & ~void)
    regions = np.zeros((4, num_classes), np.int64)

    true = connected_regions(labels)
    wrong_in = true.at(places)
    lost_R = np.bincount(wrong_in, minlength=len(true.area_R))
    small_R = true.area_R <= SMALL * labels.size
    missed_R = true.area_R - lost_R < MISSED * true.area_R
    for row, of in enumerate((np.ones_like(small_R), small_R, missed_R)):
        regions[row] = np.bincount(true.label_R[of], minlength=256)[:num_classes]

    predicted = connected_regions(ids)
    false_in = predicted.at(places)
    false_R = np.bincount(false_in, minlength=len(predicted.area_R))
    idle_R = np.bincount(predicted.at(np.flatnonzero(void)), minlength=len(predicted.area_R))
    invented_R = (false_R > 0) & (false_R + idle_R == predicted.area_R)
    regions[3] = np.bincount(predicted.label_R[invented_R], minlength=num_classes)

    band = border_band(labels).ravel()[places].astype(np.int64)
    cell = ((band * 2 + small_R[wrong_in]) * 2 + missed_R[wrong_in]) * 2 + invented_R[false_in]
    wrong = np.stack(
        [
            np.bincount(cell * num_classes + side[places], minlength=CELLS * num_classes).reshape(CELLS, num_classes)
            for side in (truth, called)
        ],
        axis=1,
    )
    return Errors(wrong, regions)


class ErrorCells(Measure):
    """Measure `errors`: wrong pixels by cell and class, and how many regions were missed or invented.

    Arrays: wrong int64 [N, E, 2, K] and regions int64 [N, 4, K], as in `Errors`.
    """

    name: ClassVar[str] = "errors"

    def begin(self, pictures: int) -> dict[str, Any]:
        num_classes = self.space.num_classes
        return {
            "wrong": np.zeros((pictures, CELLS, 2, num_classes), np.int64),
            "regions": np.zeros((pictures, 4, num_classes), np.int64),
        }

    def see(self, scored: Scored, arrays: Arrays) -> None:
        found = find_errors(scored.labels, scored.ids, self.space.num_classes)
        arrays["wrong"][scored.index], arrays["regions"][scored.index] = found

    def result(self, arrays: Arrays, groups: Sequence[str]) -> dict[str, Any]:
        """Wrong pixels of the set by kind, and each class's regions. Kinds overlap, but the bands do not."""
        wrong_E = arrays["wrong"][:, :, 0].sum((0, 2))
        regions_4K = arrays["regions"].sum(0)
        bands = [*(f"up to {limit} px" for limit in BORDER_PX), f"beyond {BORDER_PX[-1]} px"]
        kinds: dict[str, Callable[[Cell], bool]] = {
            "small": lambda cell: cell.small,
            "missed": lambda cell: cell.missed,
            "invented": lambda cell: cell.invented,
        }
        return {
            "definition": (
                "Border distance in pixels (chessboard) to the nearest other true label. A region is a connected part of "
                f"one class. Small: true regions up to 1/{round(1 / SMALL)} of the picture; missed: true regions with less than "
                f"{MISSED:.0%} right; "
                "invented: predicted regions without a true pixel of their class."
            ),
            "wrong_pixels": int(wrong_E.sum()),
            "by_border": {
                name: int(wrong_E[cells_where(lambda cell, b=number: cell.band == b)].sum())  # type: ignore[misc]
                for number, name in enumerate(bands)
            },
            "by_region": {name: int(wrong_E[cells_where(chosen)].sum()) for name, chosen in kinds.items()},
            "regions": {
                name: dict(zip(("true", "small", "missed", "invented"), column.tolist(), strict=True))
                for name, column in zip(self.space.class_names, regions_4K.T, strict=True)
            },
        }
