"""The scores of the SUIM paper: five classes as binary masks at 320×240, mean over pictures.

Source: xahidbuffon/SUIM, get_f1_iou.py and utils/measure_utils.py (Islam et al., IROS 2020); its boundary measure is that
of DAVIS (Perazzi et al., CVPR 2016). Masks are resized by Pillow's default filter, bicubic since Pillow 7.
Letters: N pictures, C = 5 scored classes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, hypot
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segwright.labels import LabelSpace, load_label_space
from segwright.metrics.measure import Arrays, Measure, Scored
from segwright.metrics.scores import mean_in_order

SIZE = (240, 320)
"""Height and width at which masks are compared."""
TOLERANCE = 0.008
"""Of the diagonal: how far apart two borders may lie and still match."""


def scored_classes() -> tuple[str, ...]:
    """Robot, fish, diver, reef, wreck: the shipped space suim5, in the paper's order."""
    return load_label_space("suim5").class_names


class SuimPaper(Measure):
    """IoU and boundary F of each scored class and picture.

    Rows: `present` int64 [N, C], 1 where the resized truth has the class; `iou` and `f` float64 [N, C], 0..1, 0 where
    it has not (those count in no mean).
    """

    name = "suim-paper"
    takes_void = True
    needs_rgb = False

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(space)
        self._ids = [space.class_names.index(name) for name in scored_classes()]

    @classmethod
    def fits(cls, space: LabelSpace) -> bool:
        return set(space.class_names) == set(load_label_space("suim8").class_names)

    def begin(self, pictures: int) -> dict[str, Any]:
        shape = (pictures, len(self._ids))
        return {"present": np.zeros(shape, np.int64), "iou": np.zeros(shape), "f": np.zeros(shape)}

    def see(self, scored: Scored, arrays: Arrays) -> None:
        for place, ident in enumerate(self._ids):
            truth = small_mask(scored.labels == ident)
            if not truth.any():
                continue
            predicted = small_mask(scored.ids == ident)
            arrays["present"][scored.index, place] = 1
            arrays["iou"][scored.index, place] = (truth & predicted).sum() / (truth | predicted).sum()
            arrays["f"][scored.index, place] = boundary_f(truth, predicted)

    def result(self, arrays: Arrays, groups: Sequence[str]) -> dict[str, Any]:
        present = arrays["present"] > 0
        means: dict[str, list[float]] = {
            key: [mean_in_order(arrays[key][present[:, c], c].astype(np.float64)) for c in range(len(self._ids))]
            for key in ("iou", "f")
        }
        return {
            "classes": {
                name: {
                    "iou": _plain(means["iou"][c]),
                    "f": _plain(means["f"][c]),
                    "pictures": int(present[:, c].sum()),
                }
                for c, name in enumerate(scored_classes())
            },
            "averages": {key: _plain(mean_in_order(np.array(values))) for key, values in means.items()},
        }


def small_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool [H, W] -> bool [240, 320]: resized as a grey picture of 0 and 255, then cut at one half."""
    grey = Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).resize(SIZE[::-1], Image.Resampling.BICUBIC)
    return np.asarray(grey) / 255.0 >= 0.5


def boundary_f(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """Boundary F of two masks bool [H, W], 0..1, with the tolerance of DAVIS; 1 where neither has a border."""
    radius = ceil(TOLERANCE * hypot(*truth.shape))
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)
    borders = [border_map(mask).astype(np.uint8) for mask in (truth, predicted)]
    if not borders[0].any() or not borders[1].any():
        return float(not borders[0].any() and not borders[1].any())
    wide = [np.asarray(cv2.dilate(border, disk), np.uint8) for border in borders]
    found, right = ((own & others).sum() / own.sum() for own, others in zip(borders, wide[::-1], strict=True))
    return float(2 * found * right / (found + right)) if found + right else 0.0


def border_map(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool [H, W]: pixels that differ from their neighbour to the right, below, or below right.

    At the last row and column only the neighbour along it is compared; the last corner is never a border.
    """
    border = np.zeros_like(mask)
    border[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    border[:-1] |= mask[:-1] ^ mask[1:]
    border[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return border


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
