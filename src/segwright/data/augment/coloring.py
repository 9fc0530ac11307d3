"""Colours, blur, noise and cut-out of a placed crop: one look-up table and one matrix do most of it."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE
from segwright.data.augment.params import CUTOUT, MEAN_COLOR, NOISE, Params, Pixels, as_pixels
from segwright.data.augment.settings import Settings

Colors = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean and standard deviation of R, G and B."""

SHARPEN_SIGMA = 1.0
"""Blur of the unsharp mask, pixels of the crop."""

_LUMA = np.array([0.299, 0.587, 0.114])
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


def finish(picture: Pixels, mask: Pixels, params: Params, settings: Settings, colors: Colors | None = None) -> Pixels:
    """The picture in its new colours; `mask` changes only under cut-out, in place. colors: to mix in."""
    picture = _recolor(picture, params, colors)
    if params.blur_sigma > 0:
        picture = as_pixels(cv2.GaussianBlur(picture, (0, 0), params.blur_sigma))
    if params.sharpen > 0:
        soft = cv2.GaussianBlur(picture, (0, 0), SHARPEN_SIGMA)
        picture = as_pixels(cv2.addWeighted(picture, 1 + params.sharpen, soft, -params.sharpen, 0))
    if params.noise > 0:
        draws = np.frombuffer(params.generator(NOISE).bytes(picture.size), np.uint8).reshape(picture.shape)
        grain = cv2.LUT(draws, (_normal_levels() * params.noise).round().astype(np.int16))
        picture = as_pixels(cv2.add(picture, grain, dtype=cv2.CV_8U))
    if params.cutout:
        picture = _cut_out(picture, mask, params, settings)
    return picture


@cache
def _normal_levels() -> NDArray[np.float64]:
    """float64 [256]: the normal distribution in steps of equal probability, so that random bytes become noise."""
    return np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])


def colors_of(image: Pixels) -> Colors:
    """Mean and standard deviation of each channel, counted on a 64-pixel thumbnail by nearest neighbour."""
    step = max(1, min(image.shape[:2]) // 64)
    mean, deviation = cv2.meanStdDev(np.ascontiguousarray(image[::step, ::step]))
    return np.asarray(mean, np.float64).ravel(), np.asarray(deviation, np.float64).ravel()


def level_table(params: Params) -> Pixels | None:
    """Brightness, contrast around mid-grey and gamma: uint8 [256], level -> level; None where nothing changes."""
    if (params.brightness, params.contrast, params.gamma) == (1.0, 1.0, 1.0):
        return None
    level = np.linspace(0, 1, 256) * params.brightness
    level = ((level - 0.5) * params.contrast + 0.5).clip(0, 1) ** params.gamma
    return (level * 255).round().astype(np.uint8)


def channel_matrix(params: Params) -> NDArray[np.float32] | None:
    """Saturation and hue, then the channels' order and balance: [3, 3] for RGB columns; None where nothing changes."""
    if (params.saturation, params.hue, params.channels, params.balance) == (1.0, 0.0, (0, 1, 2), (1.0, 1.0, 1.0)):
        return None
    change = _color_matrix(params.saturation, params.hue)[list(params.channels)]
    return np.asarray(change * np.array(params.balance)[:, None], np.float32)


def _recolor(picture: Pixels, params: Params, colors: Colors | None) -> Pixels:
    """All levels in one look-up table, everything between the channels in one matrix."""
    table = level_table(params)
    if table is not None:
        picture = as_pixels(cv2.LUT(picture, table))
    matrix = channel_matrix(params) if colors is None else _mixing_matrix(picture, params, colors)
    return picture if matrix is None else as_pixels(cv2.transform(picture, matrix))


def _mixing_matrix(picture: Pixels, params: Params, colors: Colors) -> NDArray[np.float32]:
    """float32 [3, 4] for RGB columns: another picture's colours mixed in, then what `channel_matrix` does."""
    mean, deviation = colors_of(picture)
    share = params.color_mixup
    factor = 1 - share + share * colors[1] / np.maximum(deviation, 1)
    offset = mean + share * (colors[0] - mean) - factor * mean
    change = channel_matrix(params)
    change = np.eye(3, dtype=np.float32) if change is None else change
    return np.column_stack([change * factor, change @ offset]).astype(np.float32)


def _color_matrix(saturation: float, hue: float) -> NDArray[np.float64]:
    """float64 [3, 3] for RGB columns: keeps grey, scales the distance from it, then turns around the grey axis."""
    cos, sin = math.cos(2 * math.pi * hue), math.sin(2 * math.pi * hue)
    turn = _FROM_YIQ @ np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]]) @ _TO_YIQ
    fade = saturation * np.eye(3) + (1 - saturation) * np.tile(_LUMA, (3, 1))
    return np.asarray(turn @ fade)


def _cut_out(picture: Pixels, mask: Pixels, params: Params, settings: Settings) -> Pixels:
    """Rectangles of MEAN_COLOR; under them the mask becomes IGNORE unless `cutout_labels` is keep."""
    draws = params.generator(CUTOUT).random((settings.cutout_count, 4))
    picture = picture.copy()
    low, high = settings.cutout_size
    for draw in draws:
        sides = [max(1, round(s * (low + (high - low) * d))) for s, d in zip(mask.shape, draw[:2], strict=True)]
        top, left = (round((s - side) * d) for s, side, d in zip(mask.shape, sides, draw[2:], strict=True))
        hole = slice(top, top + sides[0]), slice(left, left + sides[1])
        picture[hole] = MEAN_COLOR
        if settings.cutout_labels == "ignore":
            mask[hole] = IGNORE
    return picture
