"""The raw values of one mask: how often each occurs, and whether they can be class ids or class colours at all.

Letters: V values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.data.proposal import MAX_COLORS, Encoding
from segwright.labels.space import MAX_CLASSES


def encoding_of(raw: NDArray[Any]) -> Encoding:
    return "index" if raw.ndim == 2 else "rgb"


def packed(raw: NDArray[Any]) -> NDArray[Any]:
    """Raw mask values as one number a pixel [H, W]: colours become 0xRRGGBB (uint32)."""
    if raw.ndim == 2:
        return raw
    red, green, blue = (raw[..., i].astype(np.uint32) for i in range(3))
    return (red << np.uint32(16)) | (green << np.uint32(8)) | blue


def count_values(raw: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct raw values of a mask, ascending, and their pixels; colours are packed as 0xRRGGBB.

    raw: uint8 or uint16 [H, W], or uint8 [H, W, 3] in RGB order. Counts runs of equal pixels, of which masks have few.
    """
    flat = packed(raw).ravel()
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    lengths = np.diff(starts, append=flat.size)
    values, inverse = np.unique(flat[starts], return_inverse=True)
    counts = np.bincount(inverse, weights=lengths, minlength=len(values))
    return values.astype(np.int64), counts.astype(np.int64)


def implausible(
    encoding: Encoding, values: NDArray[np.int64], counts: NDArray[np.int64], distinct: int
) -> tuple[str, str] | None:
    """(code, sentence) when the values of one mask cannot be class ids or class colours, with the likely cause.

    values: ascending, with their pixels; distinct: how many there are, which may be more than are listed.
    """
    if encoding == "rgb":
        if distinct <= MAX_COLORS:
            return None
        return "smoothed-mask", (
            f"found {distinct:,} colours; a mask has one exact colour a class, at most {MAX_COLORS}. So many point to "
            "a mask that was JPEG once, was smoothed, or is a photograph. Export it again as PNG without smoothing."
        )
    high = int(values[-1])
    if high > 255:
        return "sixteen-bit-mask", (
            f"found 16-bit values up to {high}; class ids are 0..{MAX_CLASSES - 1} and 255. Values this large are "
            "often instance ids (class × 1000 + number) or depth. Export a mask of class ids, or list the values in "
            "labels.yaml."
        )
    inner = (values > 0) & (values < 255)
    levels, pixels = values[inner], counts[inner]
    black_and_white = values[0] == 0 and high == 255 and counts[0] + counts[-1] > pixels.sum()
    if black_and_white and len(levels) > 2 and levels[-1] - levels[0] > 64 and pixels.max() < 0.02 * counts.sum():
        return "smoothed-mask", (
            f"black and white with {len(levels)} grey levels between ({int(pixels.sum()):,} px): smoothed edges, or a "
            "mask that was JPEG once. Export it again as PNG without smoothing."
        )
    return None
