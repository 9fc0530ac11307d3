"""Steadying label maps over time: the running mean of probabilities, and classes that have to last before they show.

Letters: K classes, H W pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import UserError
from segwright.inference.predictor import Predictor
from segwright.metrics.stability import Stability, Steadiness

Ids = NDArray[np.uint8]
LONGEST = 255
"""Frames that `hysteresis` may ask for."""


def check_steadying(smooth: float, hysteresis: int) -> None:
    """Raises UserError unless 0 ≤ smooth < 1 and 1 ≤ hysteresis ≤ 255."""
    if not 0 <= smooth < 1:
        raise UserError(f"--smooth {smooth:g}: allowed are 0 (off) to below 1, such as 0.6.")
    if not 1 <= hysteresis <= LONGEST:
        raise UserError(f"--hysteresis {hysteresis}: allowed are 1 (off) to {LONGEST} frames, such as 3.")


class RunningMean:
    """Exponential mean of class probabilities: memory · mean so far + (1 − memory) · new; the first frame counts whole."""

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self._mean_KHW: NDArray[np.float32] | None = None

    def add(self, probs_KHW: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [K, H, W] of the next frame, which is overwritten -> the mean, to be read before the next call."""
        if self._mean_KHW is None:
            self._mean_KHW = probs_KHW
        else:
            self._mean_KHW *= self._memory
            probs_KHW *= 1 - self._memory
            self._mean_KHW += probs_KHW
        return self._mean_KHW


class Hysteresis:
    """A pixel takes another class only after `frames` frames in a row that have it; the first frame shows as it is."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._shown_HW: Ids | None = None

    def add(self, ids_HW: Ids) -> Ids:
        """uint8 [H, W] of the next frame -> what to show for it, an array of its own."""
        if self._shown_HW is None:
            self._shown_HW, self._candidate_HW = ids_HW.copy(), ids_HW.copy()
            self._count_HW = np.zeros_like(ids_HW)
            return ids_HW.copy()
        self._count_HW[ids_HW != self._candidate_HW] = 0
        self._count_HW += self._count_HW < LONGEST
        self._candidate_HW = ids_HW.copy()
        np.copyto(self._shown_HW, ids_HW, where=self._count_HW >= self._frames)
        return self._shown_HW.copy()


class Track:
    """One model on the frames of one video, in order.

    smooth: memory of the running mean of probabilities, 0 for none. hysteresis: frames that a class has to last, 1 for
    none. before, after: how steady the model's own answers are, and those that are shown.
    Raises UserError for other values.
    """

    def __init__(self, predictor: Predictor, *, smooth: float = 0.0, hysteresis: int = 1) -> None:
        check_steadying(smooth, hysteresis)
        self.predictor = predictor
        self._mean = RunningMean(smooth) if smooth else None
        self._lasting = Hysteresis(hysteresis) if hysteresis > 1 else None
        self._before, self._after = Steadiness(), Steadiness()

    @property
    def steadied(self) -> bool:
        return self._mean is not None or self._lasting is not None

    def add(self, rgb: NDArray[np.uint8]) -> Ids:
        """uint8 [H, W, 3] of the next frame -> the class ids to show, uint8 [H, W]."""
        if self._mean is None:
            own = shown = self.predictor.predict(rgb)
        else:
            found = self.predictor.maps([rgb], ["probabilities"])[0]
            own, probs_KHW = found.ids, found.probabilities
            shown = _best(self._mean.add(np.asarray(probs_KHW, np.float32)))
        if self._lasting is not None:
            shown = self._lasting.add(shown)
        self._before.add(own)
        if self.steadied:
            self._after.add(shown)
        return shown

    @property
    def before(self) -> Stability:
        return self._before.result()

    @property
    def after(self) -> Stability | None:
        """None where nothing is steadied."""
        return self._after.result() if self.steadied else None


def _best(probs_KHW: NDArray[np.float32]) -> Ids:
    """The class of the largest value at each pixel, the first of equal ones: uint8 [H, W]."""
    best_HW = probs_KHW[0].copy()
    ids_HW = np.zeros(best_HW.shape, np.uint8)
    for index in range(1, len(probs_KHW)):
        better_HW = probs_KHW[index] > best_HW
        ids_HW[better_HW] = index
        np.maximum(best_HW, probs_KHW[index], out=best_HW)
    return ids_HW
