"""The safe palette: class colours that people with a colour-vision deficiency can tell apart, with stripes beyond eight.

Up to eight classes have the colours of Okabe and Ito (2008). Further ones have colours as far as possible from all
before them, and stripes of their own, so that no class is told by its colour alone.

Letters: H W pixels, K classes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from segwright.data.colors import OKABE_ITO, distinct_colors
from segwright.labels.space import RGB, LabelSpace

PALETTES = ("official", "safe")
PLAIN = 8
"""So many classes are told apart by colour alone."""
STRIPE = 0.6
"""How much of a stripe is black or white, 0..1; the rest is the class colour."""


@cache
def safe_colors(count: int) -> tuple[RGB, ...]:
    """`count` different colours: the eight of Okabe and Ito, black last of them, then ever closer ones."""
    return tuple(distinct_colors(count, (*OKABE_ITO, (0, 0, 0))))


def safe_space(space: LabelSpace) -> LabelSpace:
    """The same classes in the colours of the safe palette; raw mask values and everything else stay."""
    colors = safe_colors(space.num_classes)
    return replace(
        space, classes=tuple(replace(c, color=color) for c, color in zip(space.classes, colors, strict=True))
    )


def stripe_color(color: RGB) -> RGB:
    """The colour of a class's stripes: its own, darkened where it is bright and brightened where it is dark."""
    bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 110
    red, green, blue = (round(v * (1 - STRIPE) + (0 if bright else 255) * STRIPE) for v in color)
    return (red, green, blue)


def stripes(ids_HW: NDArray[np.uint8], *, unit: int = 1) -> NDArray[np.bool_]:
    """bool [H, W]: the pixels that lie on a stripe of their class. unit: how many times wider than usual stripes are.

    Classes 0..7 have none. Each further eight share a direction (of four) and a width, which grows after four eights.
    """
    rows_H1, columns_1W = np.ogrid[: ids_HW.shape[0], : ids_HW.shape[1]]
    rows_H1, columns_1W = rows_H1 // unit, columns_1W // unit
    lit_HW = np.zeros(ids_HW.shape, bool)
    present = np.unique(ids_HW // PLAIN)
    for band in present[(present > 0) & (present < 255 // PLAIN + 1)].tolist():
        step, turn = divmod(band - 1, 4)
        along = (rows_H1 + columns_1W, rows_H1 - columns_1W, rows_H1, columns_1W)[turn]
        lit_HW |= (ids_HW // PLAIN == band) & (along % (8 + 4 * step) < 3 + step)
    return lit_HW & (ids_HW != 255)


def safe_picture(ids_HW: NDArray[np.uint8], space: LabelSpace) -> NDArray[np.uint8]:
    """uint8 [H, W] class ids -> uint8 [H, W, 3] in the colours of the safe palette with its stripes; IGNORE is black."""
    safe = safe_space(space)
    rgb = safe.colorize(ids_HW)
    if space.num_classes > PLAIN:
        table = safe.palette.copy()
        for k, item in enumerate(safe.classes):
            table[k] = stripe_color(item.color)
        lit = stripes(ids_HW, unit=max(1, ids_HW.shape[1] // 640))
        rgb[lit] = table[ids_HW[lit]]
    return rgb
