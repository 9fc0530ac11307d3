"""Class shares over the time of a video, in bounded memory.

Letters: T points in time, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST = 1000
"""Points that a timeline holds; beyond, each two become one."""


@dataclass(frozen=True, kw_only=True)
class Shares:
    """times_T: float64, seconds of the middle of each point. shares_TK: float64, 0..1, each row with the sum 1, or 0."""

    times_T: NDArray[np.float64]
    shares_TK: NDArray[np.float64]


class Timeline:
    """Pixels of each class, added frame by frame; a point is one frame, then two, four, ... as the video goes on."""

    def __init__(self, num_classes: int) -> None:
        self._classes = num_classes
        self._each = 1  # frames a point
        self._frames: list[int] = []
        self._times: list[float] = []  # sums over the frames of a point
        self._pixels: list[NDArray[np.int64]] = []

    def add(self, ids_HW: NDArray[np.uint8], time: float) -> None:
        """uint8 [H, W], class ids or IGNORE, which counts nowhere. time: seconds."""
        pixels_K = np.bincount(ids_HW.ravel(), minlength=256)[: self._classes].astype(np.int64)
        if self._frames and self._frames[-1] < self._each:
            self._frames[-1] += 1
            self._times[-1] += time
            self._pixels[-1] += pixels_K
            return
        if len(self._frames) == MOST:
            self._each *= 2
            self._frames = [a + b for a, b in zip(self._frames[::2], self._frames[1::2], strict=True)]
            self._times = [a + b for a, b in zip(self._times[::2], self._times[1::2], strict=True)]
            self._pixels = [a + b for a, b in zip(self._pixels[::2], self._pixels[1::2], strict=True)]
        self._frames.append(1)
        self._times.append(time)
        self._pixels.append(pixels_K)

    def shares(self) -> Shares:
        pixels_TK = np.array(self._pixels, np.float64).reshape(-1, self._classes)
        return Shares(
            times_T=np.array(self._times, np.float64) / np.maximum(1, self._frames),
            shares_TK=pixels_TK / np.maximum(1, pixels_TK.sum(1, keepdims=True)),
        )

    def mean(self) -> NDArray[np.float64]:
        """float64 [K]: share of each class in all pixels that have one, 0..1."""
        total_K = np.sum(self._pixels, axis=0, dtype=np.float64) if self._pixels else np.zeros(self._classes)
        return np.asarray(total_K / max(1.0, float(total_K.sum())))
