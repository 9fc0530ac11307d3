"""Augmentation of one sample in uint8: draw all random numbers once, then one slice, one resize, one look-up table.

A level is a name in AUGMENTATIONS, a size and probabilities. `draw` turns a random generator into `Params`, and `apply`
turns a picture and its mask into a training crop of exactly `size`; the same Params drive picture and mask.

Geometry. The picture counts as resized so that its shorter side is `short_side` (its own size without that), times the
drawn scale. A *crop* is a window of `size` pixels at a random place of that picture. Otherwise the *whole* picture is
used: the largest window with the aspect of `size`, shrunk by the drawn scale, at a random place (in the middle for the
level `none`), so nothing is ever distorted by more than the rounding of its edges. Where a window is larger than the
picture, the rest is filled with the mean colour and IGNORE.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE, DataError, Sample, UserError

Pixels = NDArray[np.uint8]

MEAN_COLOR = (124, 116, 104)
"""The mean colour of ImageNet in RGB: what the Segmenter pads with as well."""

AREA_FROM = 1.6
"""Pictures that shrink more than this are averaged by area: closer to what the Segmenter's antialiased resize shows."""

_LUMA = np.array([0.299, 0.587, 0.114])
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


@dataclass(frozen=True, kw_only=True)
class Params:
    """Everything random about one augmented sample.

    window: (top, left, height, width) of the source window in pixels of the stored picture; may reach beyond it.
    flip: mirrored left to right. blur_sigma: pixels of the crop, 0 for none. gamma: exponent, 1 for none.
    brightness, contrast, saturation: factors, 1 for none. hue: turn of the colour wheel, red towards green, 1 being a
    full one.
    """

    window: tuple[int, int, int, int]
    flip: bool = False
    blur_sigma: float = 0.0
    gamma: float = 1.0
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0


class Augmentation:
    """A function (Sample, generator) -> (image uint8 [h, w, 3], labels uint8 [h, w]) of exactly `size` = (h, w).

    flip_p, blur_p, gamma_p, scale_p, crop_p, jitter_p: probabilities, 0..1.
    scale: smallest and largest zoom; below 1 the picture shrinks and its border is filled.
    blur_sigma: range in pixels of the crop; gamma: range of the exponent, drawn evenly in its logarithm.
    brightness, contrast, saturation: factors are drawn from 1 - x .. 1 + x; hue: from -x .. x of a full turn.
    short_side: shorter side, in pixels, at which the network sees whole pictures (the Segmenter's); None: as stored.
    centred: windows sit in the middle instead of at a random place.
    Raises UserError for sizes, probabilities or ranges outside their bounds.
    """

    def __init__(
        self,
        size: Sequence[int],
        *,
        flip_p: float = 0.0,
        blur_p: float = 0.0,
        gamma_p: float = 0.0,
        scale_p: float = 0.0,
        crop_p: float = 0.0,
        jitter_p: float = 0.0,
        scale: Sequence[float] = (1.0, 1.2),
        blur_sigma: Sequence[float] = (0.3, 1.5),
        gamma: Sequence[float] = (0.7, 1.4),
        brightness: float = 0.3,
        contrast: float = 0.3,
        saturation: float = 0.3,
        hue: float = 0.05,
        short_side: int | None = None,
        centred: bool = False,
    ) -> None:
        if len(size) != 2 or min(size) < 1:
            raise UserError(f"augmentation.size is {list(size)}; give height and width in pixels, such as [240, 320].")
        shares = {"flip_p": flip_p, "blur_p": blur_p, "gamma_p": gamma_p, "scale_p": scale_p, "crop_p": crop_p}
        _check_shares(shares | {"jitter_p": jitter_p, "brightness": brightness, "contrast": contrast})
        _check_shares({"saturation": saturation, "hue": hue})
        _check_ranges({"scale": scale, "blur_sigma": blur_sigma, "gamma": gamma})
        if short_side is not None and short_side < 1:
            raise UserError(f"short_side is {short_side}; give pixels, at least 1, or leave it out.")
        self.size = (int(size[0]), int(size[1]))
        self.flip_p, self.blur_p, self.gamma_p = flip_p, blur_p, gamma_p
        self.scale_p, self.crop_p, self.jitter_p = scale_p, crop_p, jitter_p
        self.scale, self.blur_sigma, self.gamma = tuple(scale), tuple(blur_sigma), tuple(gamma)
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue
        self.short_side, self.centred = short_side, centred

    def __call__(self, sample: Sample, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        labels = sample.labels
        if labels is None:
            raise DataError(f"{sample.name}: it has no mask, so it cannot be trained on. Take it out of the split.")
        if labels.ndim != 2:
            raise UserError(
                f"{sample.name}: augmentation takes one class a pixel [H, W], found labels of shape {labels.shape}."
            )
        height, width = labels.shape
        return self.apply(sample.rgb, labels, self.draw(height, width, rng))

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Params:
        """The parameters for a picture of height × width pixels.

        Every parameter has its own place in one row of random numbers: changing one probability moves no other draw.
        """
        u = rng.random(16)
        zoom = _between(self.scale, u[1]) if u[0] < self.scale_p else 1.0
        jitter = u[8] < self.jitter_p

        def factor(strength: float, draw: float) -> float:
            return 1 + strength * (2 * draw - 1) if jitter else 1.0

        low, high = (math.log(g) for g in self.gamma)
        return Params(
            window=self._window(height, width, zoom, crop=bool(u[2] < self.crop_p), place=(u[3], u[4])),
            flip=bool(u[5] < self.flip_p),
            blur_sigma=_between(self.blur_sigma, u[7]) if u[6] < self.blur_p else 0.0,
            brightness=factor(self.brightness, u[9]),
            contrast=factor(self.contrast, u[10]),
            saturation=factor(self.saturation, u[11]),
            hue=self.hue * (2 * u[12] - 1) if jitter else 0.0,
            gamma=math.exp(low + (high - low) * u[14]) if u[13] < self.gamma_p else 1.0,
        )

    def _window(
        self, height: int, width: int, zoom: float, *, crop: bool, place: tuple[float, float]
    ) -> tuple[int, int, int, int]:
        h, w = self.size
        if crop:
            pixel = (1.0 if self.short_side is None else min(height, width) / self.short_side) / zoom
        else:
            pixel = min(height / h, width / w) / zoom
        rows, columns = max(1, round(h * pixel)), max(1, round(w * pixel))
        down, right = (0.5, 0.5) if self.centred else place
        return round((height - rows) * down), round((width - columns) * right), rows, columns

    def apply(self, image: Pixels, labels: Pixels, params: Params) -> tuple[Pixels, Pixels]:
        """The crop that `params` describes, of image uint8 [H, W, 3] and labels uint8 [H, W], which stay unchanged."""
        picture, mask = _cut(image, labels, params.window, self.size)
        if params.flip:
            picture, mask = _uint8(cv2.flip(picture, 1)), _uint8(cv2.flip(mask, 1))
        picture = _recolor(picture, params)
        if params.blur_sigma > 0:
            picture = _uint8(cv2.GaussianBlur(picture, (0, 0), params.blur_sigma))
        return picture, mask


def none(size: Sequence[int], *, short_side: int | None = None) -> Augmentation:
    """The whole picture at `size`, cut in the middle where the aspect differs; nothing random."""
    return Augmentation(size, short_side=short_side, centred=True)


def standard(
    size: Sequence[int],
    *,
    flip_p: float = 0.5,
    blur_p: float = 0.3,
    gamma_p: float = 0.25,
    scale_p: float = 0.5,
    crop_p: float = 0.4,
    jitter_p: float = 0.5,
    scale: Sequence[float] = (1.0, 1.2),
    blur_sigma: Sequence[float] = (0.3, 1.5),
    gamma: Sequence[float] = (0.7, 1.4),
    brightness: float = 0.3,
    contrast: float = 0.3,
    saturation: float = 0.3,
    hue: float = 0.05,
    short_side: int | None = None,
) -> Augmentation:
    """Flip, blur, gamma, up-scale, crop and colour jitter. Arguments: Augmentation.

    crop_p=1, scale_p=1 and scale=(0.5, 2.0) make the usual random scale and crop.
    """
    return Augmentation(
        size,
        flip_p=flip_p,
        blur_p=blur_p,
        gamma_p=gamma_p,
        scale_p=scale_p,
        crop_p=crop_p,
        jitter_p=jitter_p,
        scale=scale,
        blur_sigma=blur_sigma,
        gamma=gamma,
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        hue=hue,
        short_side=short_side,
    )


AUGMENTATIONS: Mapping[str, Callable[..., Augmentation]] = MappingProxyType({"none": none, "standard": standard})
"""Level -> factory(size, **args)."""


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one sample in one epoch: no other sample, worker or machine influences it."""
    return np.random.default_rng([seed, epoch, index])


def _cut(
    image: Pixels, labels: Pixels, window: tuple[int, int, int, int], size: tuple[int, int]
) -> tuple[Pixels, Pixels]:
    """The window of both, resized to `size`; what lies outside the picture becomes MEAN_COLOR and IGNORE."""
    top, left, rows, columns = window
    (y0, y1), (x0, x1) = _overlap(top, rows, labels.shape[0]), _overlap(left, columns, labels.shape[1])
    (oy0, oy1), (ox0, ox1) = _target(y0 - top, y1 - top, rows, size[0]), _target(x0 - left, x1 - left, columns, size[1])
    inner = (ox1 - ox0, oy1 - oy0)  # OpenCV counts width first
    shrinks = max((y1 - y0) / inner[1], (x1 - x0) / inner[0]) > AREA_FROM
    picture = cv2.resize(image[y0:y1, x0:x1], inner, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    mask = cv2.resize(labels[y0:y1, x0:x1], inner, interpolation=cv2.INTER_NEAREST_EXACT)
    if inner == size[::-1]:
        return _uint8(picture), _uint8(mask)
    filled = np.empty((*size, 3), np.uint8)
    filled[:] = MEAN_COLOR
    void = np.full(size, IGNORE, np.uint8)
    filled[oy0:oy1, ox0:ox1] = picture
    void[oy0:oy1, ox0:ox1] = mask
    return filled, void


def _overlap(start: int, length: int, limit: int) -> tuple[int, int]:
    """The part of start .. start + length inside 0 .. limit; at least one pixel, windows always touch the picture."""
    first = min(max(start, 0), limit - 1)
    return first, max(min(start + length, limit), first + 1)


def _target(first: int, last: int, length: int, size: int) -> tuple[int, int]:
    """Where the pixels first .. last of a window of `length` lie once it is resized to `size`; at least one pixel."""
    start = min(round(first * size / length), size - 1)
    return start, min(max(round(last * size / length), start + 1), size)


def _recolor(picture: Pixels, params: Params) -> Pixels:
    """Brightness, contrast around mid-grey and gamma in one table; saturation and hue in one 3×3 matrix."""
    if (params.brightness, params.contrast, params.gamma) != (1.0, 1.0, 1.0):
        level = np.linspace(0, 1, 256) * params.brightness
        level = ((level - 0.5) * params.contrast + 0.5).clip(0, 1) ** params.gamma
        picture = _uint8(cv2.LUT(picture, (level * 255).round().astype(np.uint8)))
    if (params.saturation, params.hue) != (1.0, 0.0):
        picture = _uint8(cv2.transform(picture, _color_matrix(params.saturation, params.hue)))
    return picture


def _color_matrix(saturation: float, hue: float) -> NDArray[np.float32]:
    """float32 [3, 3] for RGB columns: keeps grey, scales the distance from it, then turns around the grey axis."""
    cos, sin = math.cos(2 * math.pi * hue), math.sin(2 * math.pi * hue)
    turn = _FROM_YIQ @ np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]]) @ _TO_YIQ
    fade = saturation * np.eye(3) + (1 - saturation) * np.tile(_LUMA, (3, 1))
    return np.asarray(turn @ fade, np.float32)


def _uint8(pixels: NDArray[Any]) -> Pixels:
    """OpenCV's stubs do not say that uint8 in means uint8 out."""
    return cast("Pixels", pixels)


def _between(limits: Sequence[float], draw: float) -> float:
    return float(limits[0] + (limits[1] - limits[0]) * draw)


def _check_shares(values: Mapping[str, float]) -> None:
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UserError(f"augmentation.args.{name} is {value}; allowed is 0..1.")


def _check_ranges(values: Mapping[str, Sequence[float]]) -> None:
    for name, limits in values.items():
        if len(limits) != 2 or not 0 < limits[0] <= limits[1]:
            raise UserError(
                f"augmentation.args.{name} is {list(limits)}; give the smallest and largest value, both above 0, "
                "such as [1.0, 1.2]."
            )
