"""What may be measured of each picture while a model is scored, besides its confusion counts.

Letters: N pictures, K classes, H W pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segwright.labels import LabelSpace

Arrays = Mapping[str, NDArray[np.int64] | NDArray[np.float64]]
"""By name: one row a picture, [N, ...]."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One picture with its truth and its prediction, at its original size.

    index: place in the data set. rgb: uint8 [H, W, 3]. labels: uint8 [H, W], 0..K-1 or IGNORE. ids: uint8 [H, W], 0..K-1.
    Where predictions are files, ids is IGNORE where a file names no class, and raw holds its numbers in the coding of the
    label space's masks (`LabelClass.values`), which may tell ignored labels apart; raw is None for a model.
    raw_counts: with raw, int64 [256, 256], pixels by [labels, raw].
    instances: int32 [H, W] as the data set gives them, or None. logits: float32 [K, H, W] on the model's device, only
    for a measure that needs them.
    """

    index: int
    name: str
    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    instances: NDArray[np.int32] | None = None
    logits: Tensor | None = None
    raw: NDArray[np.uint8] | None = None
    raw_counts: NDArray[np.int64] | None = None


class Measure(ABC):
    """One measure of all pictures. It fills one row a picture, so rows of several processes add up to the whole, and
    pictures can be resampled or sliced afterwards."""

    name: ClassVar[str]
    needs_logits: ClassVar[bool] = False
    needs_instances: ClassVar[bool] = False
    needs_rgb: ClassVar[bool] = True
    """False: `Scored.rgb` may be empty, [0, 0, 3], so that prediction files are scored without decoding pictures."""
    takes_void: ClassVar[bool] = False
    """Whether ids may be IGNORE: a prediction file may name no class for a pixel, which is a miss."""

    def __init__(self, space: LabelSpace) -> None:
        self.space = space

    @classmethod
    def fits(cls, space: LabelSpace) -> bool:
        """Whether it can be measured on the classes of a label space."""
        return True

    @abstractmethod
    def begin(self, pictures: int) -> dict[str, Any]:
        """Zeros: int64 or float64 arrays [N, ...] by name."""

    @abstractmethod
    def see(self, scored: Scored, arrays: Arrays) -> None:
        """Fill row `scored.index` of each array, and no other row."""

    @abstractmethod
    def result(self, arrays: Arrays, groups: Sequence[str]) -> dict[str, Any]:
        """The measure of the whole set as plain data for JSON: None where undefined, never NaN."""
