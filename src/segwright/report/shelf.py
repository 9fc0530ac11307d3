"""The pictures behind the confusion matrix: which are worth a place in the page, at what size, within how many bytes.

Letters: N pictures, K classes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segwright.evaluation.hardest import correction_gain
from segwright.evaluation.result import Evaluation
from segwright.labels import LabelSpace
from segwright.report.pictures import DETAILS, Detail, Embedded, embed, id_map

Pixels = NDArray[np.uint8]
Look = Callable[[int], tuple[Pixels, Pixels, Pixels]]
"""Index in the evaluation -> image uint8 [H, W, 3] in RGB order, truth and prediction uint8 [H, W]."""
BUDGET = 15_000_000
"""Bytes of a page unless said otherwise."""
PER_MB = 8
"""So many pictures are predicted again for each megabyte of the budget, at most."""
EACH = 6
"""So many pictures are wanted of each confusion."""
CELLS = 400
"""Of the costliest confusions."""
REST, REST_SHARE = 2_500_000, 0.4
"""Bytes of the budget, and share of it at most, that are left to the rest of the page."""


@dataclass(frozen=True, kw_only=True)
class ShelfPicture:
    """A picture of the evaluation (`index`: its position there), embedded with its truth and prediction as id maps."""

    index: int
    image: Embedded
    truth: Embedded
    prediction: Embedded

    @property
    def bytes(self) -> int:
        """What it adds to the page: its data URIs."""
        return sum(len(one.uri) for one in (self.image, self.truth, self.prediction))


def wanted(evaluation: Evaluation, *, most: int) -> list[int]:
    """Indices of up to `most` pictures, the most wanted first.

    First the picture with most pixels of each confusion, from the costliest one down, then that of each class that was
    found, then the second ones, and so on: EACH of every one.
    """
    counts_NKK = evaluation.counts_NKK
    gain_KK = correction_gain(evaluation.scores, protocol=evaluation.protocol)
    costly = np.argsort(-gain_KK, axis=None, kind="stable")[:CELLS]
    cells = [divmod(int(flat), len(gain_KK)) for flat in costly if gain_KK.flat[flat] > 0]
    cells += [(k, k) for k in range(len(gain_KK))]
    ranked = [_largest(counts_NKK[:, t, p]) for t, p in cells]
    chosen: dict[int, None] = {}
    for place in range(EACH):
        for pictures in ranked:
            if place < len(pictures):
                chosen.setdefault(pictures[place])
    return list(chosen)[:most]


def _largest(pixels_N: NDArray[np.int64]) -> list[int]:
    order = np.argsort(-pixels_N, kind="stable")[:EACH]
    return [int(i) for i in order if pixels_N[i] > 0]


def fill_shelf(
    evaluation: Evaluation, look: Look, *, budget: int = BUDGET, leave_out: Sequence[int] = ()
) -> list[ShelfPicture]:
    """The most wanted pictures, embedded at the finest detail at which all of them would fit.

    budget: bytes of the whole page, of which REST are for other things. Where even the coarsest detail is too much, as
    many pictures as fit. One picture's pixels are in memory at a time. leave_out: indices of pictures that are in the
    page anyway.
    """
    indices = [i for i in wanted(evaluation, most=PER_MB * budget // 1_000_000) if i not in leave_out]
    space = evaluation.space
    room = budget - min(REST, round(budget * REST_SHARE))
    detail = _detail(indices, look, space, room)
    shelf, used = [], 0
    for index in indices:
        made = shelf_picture(index, *look(index), space, detail)
        used += made.bytes
        if used > room:
            break
        shelf.append(made)
    return shelf


def _detail(indices: Sequence[int], look: Look, space: LabelSpace, room: int) -> Detail:
    """The finest detail at which, judged by a few of them, all pictures fit."""
    tried = [look(i) for i in indices[:: max(1, len(indices) // 3)][:3]]
    for detail in DETAILS:
        sizes = [shelf_picture(0, *pixels, space, detail).bytes for pixels in tried]
        if sum(sizes) * len(indices) <= room * len(sizes):
            return detail
    return DETAILS[-1]


def shelf_picture(
    index: int, image: Pixels, truth: Pixels, prediction: Pixels, space: LabelSpace, detail: Detail
) -> ShelfPicture:
    """Embed one picture."""
    return ShelfPicture(
        index=index,
        image=embed(image, detail=detail),
        truth=id_map(truth, space, detail=detail),
        prediction=id_map(prediction, space, detail=detail),
    )
