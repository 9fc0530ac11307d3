"""How steady the label maps of a video are: without labels, and with them.

A changed pixel may be right, because things move. One that changes and soon changes back hardly ever is: that flickers.
So flicker needs no labels and no optical flow, where measures of consistency along the flow need both a flow and its
errors (Varghese et al. 2020; Liu et al. 2020, "Efficient semantic video segmentation with per-frame inference").

Letters: H W pixels, T frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE, DataError

Ids = NDArray[np.uint8]
WITHIN = 3


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Shares in 0..1 of pixels, all pairs of consecutive frames together; NaN where there is nothing to compare.

    change_rate: whose class differs from that in the frame before. flicker_rate: whose class differs from that in the
    frame before and is that class again in one of the next `within` frames; taken where all these frames exist.
    frames: how many there were.
    """

    change_rate: float
    flicker_rate: float
    within: int
    frames: int


@dataclass(frozen=True, kw_only=True)
class ErrorStability:
    """Shares in 0..1 of pixels whose true class stays the same from one frame to the next; NaN where there are none.

    turned: right in exactly one of the two frames. stayed: of those wrong in the first frame, the share that has the
    same wrong class in the second. frames: how many there were.
    """

    turned: float
    stayed: float
    frames: int


class Steadiness:
    """Change and flicker of label maps that come one at a time; holds within + 2 of them.

    within: frames to look ahead, 1 or more. Raises ValueError for less.
    """

    def __init__(self, within: int = WITHIN) -> None:
        if within < 1:
            raise ValueError(f"within is {within}; allowed are whole numbers from 1")
        self._within = within
        self._window: deque[Ids] = deque(maxlen=within + 2)
        self._changed = self._compared = self._flickered = self._watched = self._frames = 0

    def add(self, ids_HW: Ids) -> None:
        """The next frame: uint8 [H, W], class ids or IGNORE, of the size of those before; it is kept, not copied."""
        self._window.append(ids_HW)
        self._frames += 1
        if self._frames > 1:
            before_HW = self._window[-2]
            both_HW = (before_HW != IGNORE) & (ids_HW != IGNORE)
            self._compared += int(np.count_nonzero(both_HW))
            self._changed += int(np.count_nonzero(both_HW & (before_HW != ids_HW)))
        if len(self._window) == self._within + 2:
            before_HW, now_HW, *later = self._window
            both_HW = (before_HW != IGNORE) & (now_HW != IGNORE)
            self._watched += int(np.count_nonzero(both_HW))
            left_HW = both_HW & (before_HW != now_HW)
            back_HW = np.zeros_like(left_HW)
            for frame_HW in later:
                back_HW |= frame_HW == before_HW
            self._flickered += int(np.count_nonzero(left_HW & back_HW))

    def result(self) -> Stability:
        """Of the frames so far."""
        return Stability(
            change_rate=_share(self._changed, self._compared),
            flicker_rate=_share(self._flickered, self._watched),
            within=self._within,
            frames=self._frames,
        )


def stability(maps: Iterable[Ids], *, within: int = WITHIN) -> Stability:
    """Change and flicker of the label maps of consecutive frames.

    maps: uint8 [H, W] each, class ids or IGNORE, one size; a pixel that is IGNORE in one of two frames is not compared.
    An iterator is enough: at most within + 2 frames are held. within: frames to look ahead, 1 or more.
    Raises DataError for a frame of another size; ValueError for another type and for `within` below 1.
    """
    found = Steadiness(within)
    for ids_HW in _checked(maps):
        found.add(ids_HW)
    return found.result()


def error_stability(maps: Iterable[Ids], truths: Iterable[Ids]) -> ErrorStability:
    """Whether mistakes stay or come and go, where the truth of consecutive frames is known.

    maps, truths: uint8 [H, W] each, of one size and as many; pixels whose truth is IGNORE in one of two frames count
    nowhere. At most two frames of each are held. Raises DataError for a frame of another size and for other numbers of
    frames; ValueError for another type.
    """
    turned = steady = wrong = stayed = frames = 0
    before: tuple[Ids, Ids] | None = None
    try:
        for frames, (ids_HW, truth_HW) in enumerate(zip(_checked(maps), _checked(truths), strict=True), 1):
            if ids_HW.shape != truth_HW.shape:
                raise DataError(f"frame {frames}: the map is {list(ids_HW.shape)}, its truth {list(truth_HW.shape)}.")
            if before is not None:
                same_HW = (truth_HW != IGNORE) & (before[1] == truth_HW)
                hit_HW, miss_HW = ids_HW == truth_HW, same_HW & (before[0] != truth_HW)
                steady += int(same_HW.sum())
                turned += int((same_HW & (hit_HW == (before[0] != truth_HW))).sum())
                wrong += int(miss_HW.sum())
                stayed += int((miss_HW & (before[0] == ids_HW)).sum())
            before = ids_HW, truth_HW
    except ValueError as error:
        if "argument 2 is" not in str(error):
            raise
        raise DataError("there are not as many truths as label maps: give one for each frame.") from error
    return ErrorStability(turned=_share(turned, steady), stayed=_share(stayed, wrong), frames=frames)


def _checked(maps: Iterable[Ids]) -> Iterator[Ids]:
    first: tuple[int, ...] | None = None
    for number, ids_HW in enumerate(maps, 1):
        if ids_HW.dtype != np.uint8 or ids_HW.ndim != 2:
            raise ValueError(f"frame {number} is {ids_HW.dtype} {list(ids_HW.shape)}, not uint8 [H, W]")
        first = first or ids_HW.shape
        if ids_HW.shape != first:
            raise DataError(
                f"frame {number} is {list(ids_HW.shape)}, the first one {list(first)} (H, W): frames of one video have one "
                "size. Measure each video alone."
            )
        yield ids_HW


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
