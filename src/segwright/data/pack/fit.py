"""The size at which pictures are kept in a pack, and a data set at that size read from its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.contracts import Dataset, Sample, UserError


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How pictures are resized before they are kept; by default not at all. At most one of the two may be given.

    short_side: pixels; pictures whose shorter side is longer shrink to it and keep their aspect, others stay.
    size: (H, W) in pixels that every picture gets, whatever its aspect.
    Raises UserError for both at once and for numbers below 1.
    """

    short_side: int | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.short_side is not None and self.size is not None:
            raise UserError("short side and size exclude each other: give one of them, or none to keep pictures as is.")
        if min(self.short_side or 1, *(self.size or (1,))) < 1 or self.short_side == 0:
            raise UserError(f"a pack of {self} has no pixels; sizes are at least 1.")

    def __str__(self) -> str:
        if self.size is not None:
            return f"{self.size[0]}×{self.size[1]}"
        return "as stored" if self.short_side is None else f"shorter side {self.short_side} at most"

    def to_dict(self) -> dict[str, Any]:
        return {"short_side": self.short_side, "size": None if self.size is None else list(self.size)}

    def target(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) in the pack of a picture of height × width pixels."""
        if self.size is not None:
            return self.size
        if self.short_side is None or min(height, width) <= self.short_side:
            return height, width
        scale = self.short_side / min(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def __call__(self, sample: Sample) -> Sample:
        """The sample at its new size: area averages where a picture shrinks, else bilinear; labels by exact nearest."""
        height, width = sample.rgb.shape[:2]
        new = self.target(height, width)
        if new == (height, width):
            return sample
        how = cv2.INTER_AREA if new[0] < height or new[1] < width else cv2.INTER_LINEAR
        rgb = np.asarray(cv2.resize(sample.rgb, new[::-1], interpolation=how), np.uint8)
        labels = None if sample.labels is None else _nearest(sample.labels, new)
        return replace(sample, planes={"rgb": rgb}, labels=labels)


def _nearest(labels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Labels [H, W] or bool [K, H, W] at (H, W) = size."""
    if labels.ndim == 3:
        return np.stack([_nearest(plane.view(np.uint8), size) for plane in labels]).view(labels.dtype)
    return np.asarray(cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


class Fitted:
    """A Dataset whose pictures are resized as they are read: the pixels of its pack, and no instance maps."""

    def __init__(self, source: Dataset, fit: Fit) -> None:
        self.source, self.fit = source, fit
        self.names: Sequence[str] = source.names
        self.groups: Sequence[str] = source.groups

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        return self.fit(replace(self.source[index], instances=None))
