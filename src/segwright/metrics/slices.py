"""What a slice of the pixels or of the pictures needs: counts by image row, brightness and contrast of each picture.

Letters: N pictures, K classes, B bands of rows, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from segwright.metrics.confusion import confusion
from segwright.metrics.measure import Arrays, Measure, Scored

ROW_BANDS = 5
"""Bands of equal height, from the top of the picture to its bottom."""


def band_edges(height: int) -> NDArray[np.int64]:
    """int64 [B + 1]: the first row of each band, and the height. Bands of a picture with few rows may be empty."""
    return np.arange(ROW_BANDS + 1, dtype=np.int64) * height // ROW_BANDS


def light(rgb: NDArray[np.uint8]) -> tuple[float, float]:
    """Brightness and contrast of a picture: mean and standard deviation of its luma (ITU-R BT.601), 0..1.

    rgb: uint8 [H, W, 3].
    """
    mean, deviation = cv2.meanStdDev(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
    return float(mean[0, 0]) / 255, float(deviation[0, 0]) / 255


class SliceCounts(Measure):
    """Measure `slices`.

    Arrays: rows int64 [N, B, 3, K], hits, true and predicted pixels of each class in each band of rows; light float64
    [N, 2], brightness and contrast.
    """

    name: ClassVar[str] = "slices"

    def begin(self, pictures: int) -> dict[str, Any]:
        return {
            "rows": np.zeros((pictures, ROW_BANDS, 3, self.space.num_classes), np.int64),
            "light": np.zeros((pictures, 2)),
        }

    def see(self, scored: Scored, arrays: Arrays) -> None:
        edges = band_edges(len(scored.labels)).tolist()
        labels, ids = (torch.from_numpy(np.require(a, requirements=["C", "W"])) for a in (scored.labels, scored.ids))
        for band, (top, bottom) in enumerate(pairwise(edges)):
            if top < bottom:
                part = confusion(labels[top:bottom], ids[top:bottom], self.space.num_classes, source=scored.name)
                counts_KK = part.numpy()
                arrays["rows"][scored.index, band] = counts_KK.diagonal(), counts_KK.sum(1), counts_KK.sum(0)
        arrays["light"][scored.index] = light(scored.rgb)

    def result(self, arrays: Arrays, groups: Sequence[str]) -> dict[str, Any]:
        """Where the thirds by brightness and contrast lie, and accuracy by band. `evaluation.slices` makes scores."""
        brightness_N, contrast_N = arrays["light"].T
        totals_B3 = arrays["rows"].sum((0, 3))
        return {
            "row_bands": ROW_BANDS,
            "accuracy_by_rows": [int(hits) / int(true) if true else None for hits, true, _ in totals_B3.tolist()],
            "brightness_thirds": thirds(brightness_N).tolist(),
            "contrast_thirds": thirds(contrast_N).tolist(),
        }


def thirds(values_N: NDArray[Any]) -> NDArray[np.float64]:
    """float64 [2]: the values that part the pictures into a lower, a middle and an upper third."""
    return np.quantile(np.asarray(values_N, np.float64), [1 / 3, 2 / 3])
