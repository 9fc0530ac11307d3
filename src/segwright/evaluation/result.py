"""The result of an evaluation: counts per picture, from which every score follows. It holds no tensors and saves as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from segwright.labels import LabelSpace


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Pixel counts of one model on one split, and how they were made.

    counts_NKK: int64 [N, K, K], one matrix [truth, predicted] a picture; pixels whose truth is IGNORE count nowhere.
    ignored_N: int64 [N], the pixels left out in each picture.
    protocol: the scoring definition that goes with every number, such as "pooled".
    seconds: wall time of decoding, prediction and counting together.
    """

    run: str
    checkpoint: str
    split: str
    protocol: str
    space: LabelSpace
    names: tuple[str, ...]
    groups: tuple[str, ...]
    counts_NKK: NDArray[np.int64]
    ignored_N: NDArray[np.int64]
    seconds: float

    @cached_property
    def counts_KK(self) -> NDArray[np.int64]:
        """int64 [K, K]: the counts summed over the set."""
        return self.counts_NKK.sum(0)
