"""Display colours for classes that come without any, kept apart for people with colour-vision deficiencies too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import UserError
from segwright.labels.space import MAX_CLASSES, RGB

OKABE_ITO: tuple[RGB, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""The palette of Okabe and Ito (2008) without black, which stands for void here."""
DARKEST = 0.35
"""No colour has less OKLab lightness (0..1): it would pass for void."""

# Linear sRGB as people without red or green cones see it (Machado, Oliveira, Fernandes 2009, severity 1).
_PROTAN = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
_DEUTAN = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
# Linear sRGB -> cone responses -> OKLab (Ottosson 2020).
_CONES = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
          [0.0883024619, 0.2817188376, 0.6299787005]]  # fmt: skip
_OKLAB = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
          [0.0259040371, 0.7827717662, -0.8086757660]]  # fmt: skip


def distinct_colors(count: int, start: tuple[RGB, ...] = OKABE_ITO) -> list[RGB]:
    """`count` different colours: first those of `start`, then none near black, each as far as possible from all before
    it, for normal, red-blind and green-blind eyes alike. Raises UserError above MAX_CLASSES."""
    if count > MAX_CLASSES:
        raise UserError(f"{count} classes are too many: allowed are 1..{MAX_CLASSES}.")
    chosen = list(start[:count])
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    candidates = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    candidates = candidates[_appearances(candidates)[0, :, 0] > DARKEST]
    seen = _appearances(candidates)
    nearest_N = np.full(len(candidates), np.inf)
    for color in chosen:
        nearest_N = np.minimum(nearest_N, _distances(seen, np.array([color], np.uint8)))
    while len(chosen) < count:
        best = candidates[int(nearest_N.argmax())]
        chosen.append((int(best[0]), int(best[1]), int(best[2])))
        nearest_N = np.minimum(nearest_N, _distances(seen, best[None]))
    return chosen


def _appearances(colors_N3: NDArray[np.uint8]) -> NDArray[np.float64]:
    """float64 [3, N, 3]: OKLab coordinates as normal, red-blind and green-blind eyes see the colours."""
    level = colors_N3 / 255
    linear_N3 = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    eyes = [linear_N3, linear_N3 @ np.array(_PROTAN).T, linear_N3 @ np.array(_DEUTAN).T]
    return np.stack([np.cbrt(e.clip(0, 1) @ np.array(_CONES).T) @ np.array(_OKLAB).T for e in eyes])


def _distances(seen: NDArray[np.float64], color_13: NDArray[np.uint8]) -> NDArray[np.float64]:
    """float64 [N]: distance of every candidate from one colour, for the eyes that tell them apart worst."""
    return np.asarray(np.linalg.norm(seen - _appearances(color_13), axis=-1).min(0), np.float64)
