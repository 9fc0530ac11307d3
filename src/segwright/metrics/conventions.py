"""What has to be seen of each picture so that one pass answers under every scoring convention.

Pooled counts say most of it. Beside them: what is predicted where the truth is void, and counts at another size.
Letters: N pictures, K classes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from segwright.contracts import IGNORE
from segwright.data.nearest import nearest_exact
from segwright.labels import LabelSpace
from segwright.metrics.confusion import value_counts
from segwright.metrics.measure import Arrays, Measure, Scored

SizeOf = Callable[[int, int], tuple[int, int]]
"""(height, width) of a picture -> (height, width) at which it is scored."""


class VoidPredictions(Measure):
    """Pixels of each class that are predicted where the truth is void. Row: `predicted` int64 [N, K]."""

    name = "void"
    takes_void = True
    needs_rgb = False

    def begin(self, pictures: int) -> dict[str, Any]:
        return {"predicted": np.zeros((pictures, self.space.num_classes), np.int64)}

    def see(self, scored: Scored, arrays: Arrays) -> None:
        ids = scored.ids[scored.labels == IGNORE]
        arrays["predicted"][scored.index] = np.bincount(ids, minlength=256)[: self.space.num_classes]

    def result(self, arrays: Arrays, groups: Sequence[str]) -> dict[str, Any]:
        total_K = arrays["predicted"].sum(0).tolist()
        return {"pixels": sum(total_K), "classes": dict(zip(self.space.class_names, total_K, strict=True))}


class Resized(Measure):
    """Counts of the same predictions after prediction and mask were both resized, by the nearest pixel.

    Rows: `counts` int64 [N, K, K], `missed` int64 [N, K] as in `Scores`, `void` int64 [N, K] as in VoidPredictions, and
    `size` int64 [N, 2], height and width.
    """

    name = "resized"
    takes_void = True
    needs_rgb = False

    def __init__(self, space: LabelSpace, size_of: SizeOf) -> None:
        super().__init__(space)
        self._size_of = size_of

    def begin(self, pictures: int) -> dict[str, Any]:
        classes = self.space.num_classes
        shapes = {"counts": (classes, classes), "missed": (classes,), "void": (classes,), "size": (2,)}
        return {name: np.zeros((pictures, *shape), np.int64) for name, shape in shapes.items()}

    def see(self, scored: Scored, arrays: Arrays) -> None:
        size = self._size_of(scored.labels.shape[0], scored.labels.shape[1])
        labels, ids = (torch.from_numpy(nearest_exact(values, size)) for values in (scored.labels, scored.ids))
        counts, classes = value_counts(labels, ids).numpy(), self.space.num_classes
        arrays["counts"][scored.index] = counts[:classes, :classes]
        arrays["missed"][scored.index] = counts[:classes, IGNORE]
        arrays["void"][scored.index] = counts[IGNORE, :classes]
        arrays["size"][scored.index] = size

    def result(self, arrays: Arrays, groups: Sequence[str]) -> dict[str, Any]:
        return {"size": said_size(arrays["size"].tolist())}


class PictureSize(Measure):
    """Height and width at which each picture was scored. Row: `size` int64 [N, 2]."""

    name = "picture-size"
    takes_void = True
    needs_rgb = False

    def begin(self, pictures: int) -> dict[str, Any]:
        return {"size": np.zeros((pictures, 2), np.int64)}

    def see(self, scored: Scored, arrays: Arrays) -> None:
        arrays["size"][scored.index] = scored.labels.shape

    def result(self, arrays: Arrays, groups: Sequence[str]) -> dict[str, Any]:
        return {"size": said_size(arrays["size"].tolist())}


def said_size(sizes: Sequence[Sequence[int]]) -> str:
    """`512×1024` (height × width) where all pictures have one size, else the short sides: `short side 300 to 512`."""
    found = sorted({(int(height), int(width)) for height, width in sizes})
    if len(found) == 1:
        return f"{found[0][0]}×{found[0][1]}"
    short = sorted({min(pair) for pair in found})
    return f"short side {short[0]}" if len(short) == 1 else f"short side {short[0]} to {short[-1]}"
