"""Small label maps for the tests of regions and borders."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from segwright.contracts import IGNORE

Ids = NDArray[Any]


@st.composite
def label_maps(draw: st.DrawFn, classes: int, *, void: bool = True) -> tuple[Ids, Ids]:
    """Truth, with void where wanted, and prediction: patches of 1 to 4 pixels, so that regions of many shapes occur."""
    height, width = draw(st.integers(3, 14)), draw(st.integers(3, 14))
    grain, seed = draw(st.integers(1, 4)), draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (height, width), dtype=np.uint8)
    labels = np.kron(coarse, np.ones((grain, grain), np.uint8))[:height, :width]
    changed = rng.random(labels.shape) < 0.2
    ids = np.where(changed, rng.integers(0, classes, labels.shape), labels).astype(np.uint8)
    if void:
        labels = np.where(rng.random(labels.shape) < 0.15, IGNORE, labels).astype(np.uint8)
    return labels, ids


def shifted_blobs(rng: np.random.Generator, size: tuple[int, int], classes: int) -> tuple[Ids, Ids]:
    """Truth of rectangles, and the same moved by a few pixels as prediction."""
    labels = np.zeros(size, np.uint8)
    for _ in range(4 * classes):
        top, left = rng.integers(0, size[0] - 12), rng.integers(0, size[1] - 12)
        high, wide = rng.integers(4, 24, 2)
        labels[top : top + high, left : left + wide] = rng.integers(0, classes)
    return labels, np.roll(labels, tuple(rng.integers(1, 4, 2)), (0, 1))
