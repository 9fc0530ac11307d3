"""Which positions of its input an operation reads for each position of its output, along one axis.

Every function takes the operation's arguments by name, the axis (0 rows, 1 columns) and its lengths before and after,
and returns indices, int64 [n out, taps]; at indices outside the input nothing is read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def _pick(values: Any, axis: int, default: int) -> int:
    """One number of an argument such as stride, which is one for both axes, one for each, or empty."""
    if values is None or (isinstance(values, list | tuple) and not values):
        return default
    if isinstance(values, int):
        return values
    return int(values[axis] if len(values) > 1 else values[0])


def convolution(named: dict[str, Any], axis: int, n_in: int, n_out: int) -> NDArray[np.int64]:
    """Plain or transposed, dilated, strided."""
    kernel = int(named["weight"].shape[axis - 2])
    stride, padding, dilation = (_pick(named[k], axis, 1) for k in ("stride", "padding", "dilation"))
    out, tap = np.arange(n_out)[:, None], np.arange(kernel)[None] * dilation
    if not named["transposed"]:
        return np.asarray(out * stride - padding + tap, np.int64)
    reach = out + padding - tap
    return np.asarray(np.where(reach % stride == 0, reach // stride, -1), np.int64)


def pooling(named: dict[str, Any], axis: int, n_in: int, n_out: int) -> NDArray[np.int64]:
    """Maximum or mean over windows."""
    kernel = _pick(named["kernel_size"], axis, 1)
    stride, padding = _pick(named.get("stride"), axis, kernel), _pick(named.get("padding", 0), axis, 0)
    tap = np.arange(kernel)[None] * _pick(named.get("dilation", 1), axis, 1)
    return np.asarray(np.arange(n_out)[:, None] * stride - padding + tap, np.int64)


def regions(named: dict[str, Any], axis: int, n_in: int, n_out: int) -> NDArray[np.int64]:
    """Adaptive pooling to n_out regions."""
    start = np.arange(n_out) * n_in // n_out
    end = -(-(np.arange(1, n_out + 1) * n_in) // n_out)
    return np.asarray(np.minimum(start[:, None] + np.arange((end - start).max()), end[:, None] - 1), np.int64)


def linear_resize(named: dict[str, Any], axis: int, n_in: int, n_out: int) -> NDArray[np.int64]:
    """Bilinear resizing: one or two neighbours."""
    place = np.arange(n_out)
    if named.get("align_corners"):
        source = place * ((n_in - 1) / max(n_out - 1, 1))
    else:
        source = ((place + 0.5) * (n_in / n_out) - 0.5).clip(0)
    low = np.floor(source + 1e-9).astype(np.int64)
    high = np.where(source - low > 1e-9, low + 1, low)
    return np.stack([low, high], 1).clip(0, n_in - 1)


def cubic_resize(named: dict[str, Any], axis: int, n_in: int, n_out: int) -> NDArray[np.int64]:
    """Bicubic resizing: four neighbours."""
    near = linear_resize(named, axis, n_in, n_out)
    return np.stack([near[:, 0] - 1, near[:, 0], near[:, 0] + 1, near[:, 0] + 2], 1).clip(0, n_in - 1)


def nearest_resize(named: dict[str, Any], axis: int, n_in: int, n_out: int) -> NDArray[np.int64]:
    """The nearest position, by the old rule or the exact one: they differ by half a pixel."""
    return (np.arange(n_out) * n_in // n_out)[:, None].astype(np.int64)


def padding(named: dict[str, Any], axis: int, n_in: int, n_out: int) -> NDArray[np.int64]:
    """Added borders see nothing."""
    pads = list(named["pad" if "pad" in named else "padding"])
    before = pads[0] if axis == 1 else pads[2] if len(pads) > 2 else 0
    return (np.arange(n_out) - before)[:, None]


def shuffled(named: dict[str, Any], axis: int, n_in: int, n_out: int) -> NDArray[np.int64]:
    """Pixels made of channels, or channels of pixels."""
    factor = max(n_in, n_out) // min(n_in, n_out)
    place = np.arange(n_out)[:, None]
    return place // factor if n_out > n_in else place * factor + np.arange(factor)[None]
