"""What is random about one augmented sample, and the constants that every operation shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Window = tuple[int, int, int, int]
"""(top, left, height, width) in pixels of the stored picture; may reach beyond it."""

MEAN_COLOR = (124, 116, 104)
"""The mean colour of ImageNet in RGB: what the Segmenter pads with as well."""

ELASTIC, NOISE, CUTOUT, PARTNERS = range(4)
"""Streams of `Params.generator`: one for each operation that needs more than a few random numbers."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """Everything random about one augmented sample.

    window: the source window. flip: mirrored left to right. angle: degrees that the content turns counter-clockwise.
    elastic: largest shift of a pixel, as a share of the crop's shorter side, 0 for none.
    blur_sigma: pixels of the crop, 0 for none. sharpen: weight of the unsharp mask, 0 for none. gamma: exponent, 1 for
    none. brightness, contrast, saturation: factors, 1 for none. hue: turn of the colour wheel, red towards green, 1
    being a full one. channels: which source channel becomes R, G and B. balance: factors of R, G and B.
    noise: standard deviation in grey levels, 0 for none. color_mixup: share of another picture's colours, 0 for none.
    cutout, mosaic, copy_paste: whether these are done. balanced: whether the window moves onto a pixel of a rare class.
    seed: of `generator`, for what needs more than a few random numbers.
    """

    window: Window
    flip: bool = False
    angle: float = 0.0
    elastic: float = 0.0
    blur_sigma: float = 0.0
    sharpen: float = 0.0
    gamma: float = 1.0
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    channels: tuple[int, int, int] = (0, 1, 2)
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    noise: float = 0.0
    color_mixup: float = 0.0
    cutout: bool = False
    mosaic: bool = False
    copy_paste: bool = False
    balanced: bool = False
    seed: int = 0

    @property
    def mixes(self) -> bool:
        """Whether other samples, or statistics over them, are needed."""
        return self.mosaic or self.copy_paste or self.balanced or self.color_mixup > 0

    def generator(self, stream: int) -> np.random.Generator:
        """A generator that follows from these parameters alone, independent of the other streams."""
        return np.random.default_rng([self.seed, stream])


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one sample in one epoch: no other sample, worker or machine influences it."""
    return np.random.default_rng([seed, epoch, index])


def as_pixels(pixels: NDArray[Any]) -> Pixels:
    """OpenCV's stubs do not say that uint8 in means uint8 out."""
    return cast("Pixels", pixels)
