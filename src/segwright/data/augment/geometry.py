"""Where the pixels of a crop come from: windows, exact resizing, and warps with one rule for picture and mask.

Plain windows are one slice and one resize. Turned or elastic ones are looked up pixel by pixel: the picture by bilinear
interpolation at real coordinates, the mask at the same coordinates rounded here to whole ones (OpenCV's own nearest
warps have no exact mode). Letters: h w pixels of the crop.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE
from segwright.data.augment.params import ELASTIC, MEAN_COLOR, Params, Pixels, Window, as_pixels

AREA_FROM = 1.6
"""Pictures that shrink more than this are averaged by area: closer to what the Segmenter's antialiased resize shows."""
WAVES = 4
"""Control points of the elastic field along the crop's shorter side: shifts change slowly, nothing folds over."""


def place(image: Pixels, labels: Pixels, params: Params, size: tuple[int, int]) -> tuple[Pixels, Pixels]:
    """Picture and mask of the window of `params`, warped, resized to `size` = (h, w), flipped; colours untouched."""
    if params.angle or params.elastic:
        picture, mask = _warp(image, labels, params, size)
    else:
        picture, mask = cut(image, labels, params.window, size)
    if params.flip:
        return as_pixels(cv2.flip(picture, 1)), as_pixels(cv2.flip(mask, 1))
    return picture, mask


def cut(image: Pixels, labels: Pixels, window: Window, size: tuple[int, int]) -> tuple[Pixels, Pixels]:
    """The window of both, resized to `size`; what lies outside the picture becomes MEAN_COLOR and IGNORE."""
    at = placement(window, labels.shape, size)
    (y0, y1), (x0, x1) = at.source_rows, at.source_columns
    inner = at.inner[::-1]  # OpenCV counts width first
    shrinks = max((y1 - y0) / inner[1], (x1 - x0) / inner[0]) > AREA_FROM
    picture = cv2.resize(image[y0:y1, x0:x1], inner, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    mask = cv2.resize(labels[y0:y1, x0:x1], inner, interpolation=cv2.INTER_NEAREST_EXACT)
    if at.inner == size:
        return as_pixels(picture), as_pixels(mask)
    filled = np.empty((*size, 3), np.uint8)
    filled[:] = MEAN_COLOR
    void = np.full(size, IGNORE, np.uint8)
    filled[slice(*at.rows), slice(*at.columns)] = picture
    void[slice(*at.rows), slice(*at.columns)] = mask
    return filled, void


class Placement(NamedTuple):
    """Which pixels of the picture go where in the crop: (first, last + 1) each; `inner` is the size there, (h, w)."""

    source_rows: tuple[int, int]
    source_columns: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def inner(self) -> tuple[int, int]:
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]


def placement(window: Window, shape: tuple[int, ...], size: tuple[int, int]) -> Placement:
    """The part of `window` inside a picture of `shape` (H, W), and its place in a crop of `size` (h, w)."""
    top, left, rows, columns = window
    (y0, y1), (x0, x1) = _overlap(top, rows, shape[0]), _overlap(left, columns, shape[1])
    return Placement(
        source_rows=(y0, y1),
        source_columns=(x0, x1),
        rows=_target(y0 - top, y1 - top, rows, size[0]),
        columns=_target(x0 - left, x1 - left, columns, size[1]),
    )


def hold(
    window: Window, shape: tuple[int, ...], pixel: tuple[int, int], at: tuple[float, float] = (0.5, 0.5)
) -> Window:
    """The window moved so that it shows `pixel` (row, column) at the share `at` of its height and width.

    It stays inside a picture of `shape` (H, W) along each side on which it is not larger than that.
    """
    _, _, rows, columns = window
    starts = [
        min(max(round(where - share * length), min(0, limit - length)), max(0, limit - length))
        for where, share, length, limit in zip(pixel, at, (rows, columns), shape[:2], strict=True)
    ]
    return starts[0], starts[1], rows, columns


def _overlap(start: int, length: int, limit: int) -> tuple[int, int]:
    """The part of start .. start + length inside 0 .. limit; at least one pixel, windows always touch the picture."""
    first = min(max(start, 0), limit - 1)
    return first, max(min(start + length, limit), first + 1)


def _target(first: int, last: int, length: int, size: int) -> tuple[int, int]:
    """Where the pixels first .. last of a window of `length` lie once it is resized to `size`; at least one pixel."""
    start = min(round(first * size / length), size - 1)
    return start, min(max(round(last * size / length), start + 1), size)


def _warp(image: Pixels, labels: Pixels, params: Params, size: tuple[int, int]) -> tuple[Pixels, Pixels]:
    """The turned window of both, then shifted elastically.

    A pixel that the turned window shows from outside the picture becomes MEAN_COLOR and IGNORE. One that only the
    elastic shift takes outside is mirrored at the picture's edge, its label too: both come from the same place.
    """
    height, width = labels.shape
    y_hw, x_hw = _turned(params, size)
    outside = (y_hw < -0.5) | (y_hw > height - 0.5) | (x_hw < -0.5) | (x_hw > width - 0.5)
    if params.elastic:
        down_hw, right_hw = _shifts(params, size)
        y_hw = _mirrored(y_hw + down_hw * np.float32(params.window[2] / size[0]), height)
        x_hw = _mirrored(x_hw + right_hw * np.float32(params.window[3] / size[1]), width)
    rows, columns = np.floor(y_hw + np.float32(0.5)), np.floor(x_hw + np.float32(0.5))
    mask = as_pixels(cv2.remap(labels, columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE))
    mask[outside] = IGNORE
    picture = _looked_up(image, y_hw, x_hw, shrink=max(params.window[2] / size[0], params.window[3] / size[1]))
    picture[outside] = MEAN_COLOR
    return picture, mask


def _turned(params: Params, size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Source row and column, float32 [h, w] each, of every pixel's centre in the window turned about its middle."""
    top, left, rows, columns = params.window
    down_h1 = ((np.arange(size[0]) + 0.5) * rows / size[0] - rows / 2)[:, None]
    right_1w = ((np.arange(size[1]) + 0.5) * columns / size[1] - columns / 2)[None]
    cos, sin = math.cos(math.radians(params.angle)), math.sin(math.radians(params.angle))
    y_h1, y_1w = cos * down_h1 + (top + rows / 2 - 0.5), sin * right_1w
    x_h1, x_1w = -sin * down_h1 + (left + columns / 2 - 0.5), cos * right_1w
    return y_h1.astype(np.float32) + y_1w.astype(np.float32), x_h1.astype(np.float32) + x_1w.astype(np.float32)


def _shifts(params: Params, size: tuple[int, int]) -> NDArray[np.float32]:
    """float32 [2, h, w]: smooth shifts down and right in pixels of the crop, none longer than `elastic` allows."""
    step = min(size) / WAVES
    grid = (2, max(2, round(size[0] / step) + 1), max(2, round(size[1] / step) + 1))
    coarse = params.generator(ELASTIC).uniform(-1, 1, grid).astype(np.float32)
    smooth = np.stack([cv2.resize(c, size[::-1], interpolation=cv2.INTER_CUBIC) for c in coarse])
    length = math.sqrt(float((smooth[0] * smooth[0] + smooth[1] * smooth[1]).max()))
    return smooth * np.float32(params.elastic * min(size) / max(1.0, length))


def _mirrored(at: NDArray[np.float32], limit: int) -> NDArray[np.float32]:
    """Coordinates beyond the outer edges -0.5 and limit - 0.5 mirrored there."""
    edge = np.float32(limit - 0.5)
    return np.asarray(edge - np.abs(edge - (np.abs(at + np.float32(0.5)) - np.float32(0.5))))


def _looked_up(image: Pixels, y_hw: NDArray[np.float32], x_hw: NDArray[np.float32], *, shrink: float) -> Pixels:
    """Bilinear values at real coordinates; of the picture averaged by area first where the crop shrinks it much."""
    height, width = image.shape[:2]
    if shrink > AREA_FROM:
        smaller = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        image = as_pixels(cv2.resize(image, smaller, interpolation=cv2.INTER_AREA))
        y_hw = (y_hw + np.float32(0.5)) * np.float32(smaller[1] / height) - np.float32(0.5)
        x_hw = (x_hw + np.float32(0.5)) * np.float32(smaller[0] / width) - np.float32(0.5)
    return as_pixels(cv2.remap(image, x_hw, y_hw, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
