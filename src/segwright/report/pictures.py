"""Pictures inside the page: WebP data URIs of images, class masks, error maps and close-ups of mistakes.

Letters: H W pixels.
"""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segwright.contracts import IGNORE
from segwright.labels import LabelSpace
from segwright.labels.space import RGB, pack_rgb

Pixels = NDArray[np.uint8]
WIDEST = 640  # pictures in the page are at most this wide, in pixels
VOID_RGB = (205, 205, 205)
QUALITIES = (78, 55, 30, 5)  # of WebP, tried in turn until a picture is light enough
HEAVIEST = 80_000  # bytes of one picture
CLOSE_UP = (480, 320)  # width and height of the pictures on the mistake cards
ERROR_RGB = (255, 86, 48)


@dataclass(frozen=True)
class Embedded:
    """An <img>: its data URI and its size in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Detail:
    """How finely pictures are embedded: at most `width` pixels wide, in WebP of `quality` (0..100)."""

    width: int
    quality: int


DETAILS = (Detail(WIDEST, QUALITIES[0]), Detail(480, 65), Detail(360, 50), Detail(240, 40))
"""From the finest to the coarsest: a size budget takes the first that fits."""


def embed(rgb: Pixels, *, exact: bool = False, detail: Detail = DETAILS[0]) -> Embedded:
    """uint8 [H, W, 3] -> a WebP data URI, no wider than the detail says, of at most about HEAVIEST bytes.

    `exact`: lossless, for flat colours, unless that is too heavy. Noisy pictures get a lower quality.
    """
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    if (size := shown_size(rgb.shape, detail)) != picture.size:
        picture = picture.resize(size, Image.Resampling.NEAREST if exact else Image.Resampling.BOX)
    qualities = (detail.quality, *(q for q in QUALITIES if q < detail.quality))
    for quality in (None, *qualities) if exact else qualities:
        content = _webp(picture, quality)
        if len(content) <= HEAVIEST:
            break
    return Embedded("data:image/webp;base64," + base64.b64encode(content).decode(), picture.width, picture.height)


def shown_size(shape: tuple[int, ...], detail: Detail) -> tuple[int, int]:
    """(width, height) at which a picture of shape (H, W, ...) is embedded; never larger than it is."""
    height, width = shape[:2]
    return (width, height) if width <= detail.width else (detail.width, max(1, round(height * detail.width / width)))


def id_colors(space: LabelSpace) -> list[RGB]:
    """The colour that stands for each id in `id_map`, and that of void last: the classes' own, nudged where two agree."""
    found: list[RGB] = []
    for color in (*(c.color for c in space.classes), VOID_RGB):
        packed = pack_rgb(color)
        while (unpacked := (packed >> 16 & 255, packed >> 8 & 255, packed & 255)) in found:
            packed += 1
        found.append(unpacked)
    return found


def id_map(ids: Pixels, space: LabelSpace, *, detail: Detail = DETAILS[0]) -> Embedded:
    """uint8 [H, W] class ids -> a palette PNG: lossless, and without a script it shows the class colours.

    Larger maps lose whole pixels, never mix them: each that is shown is the nearest one of the map. Two maps of one size
    keep the same pixels, so that truth and prediction stay paired.
    """
    places = np.where(ids == IGNORE, space.num_classes, ids).astype(np.uint8)
    picture = Image.fromarray(places)
    if (size := shown_size(ids.shape, detail)) != picture.size:
        picture = picture.resize(size, Image.Resampling.NEAREST)
    picture.putpalette([value for color in id_colors(space) for value in color])
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return Embedded("data:image/png;base64," + base64.b64encode(stream.getvalue()).decode(), *picture.size)


def _webp(picture: Image.Image, quality: int | None) -> bytes:
    stream = io.BytesIO()
    if quality is None:
        picture.save(stream, "WEBP", lossless=True, quality=60, method=4)
    else:
        picture.save(stream, "WEBP", quality=quality, method=4)
    return stream.getvalue()


def class_picture(ids: Pixels, space: LabelSpace) -> Pixels:
    """uint8 [H, W] ids -> uint8 [H, W, 3] in the class colours; ignored pixels are hatched grey."""
    rgb = space.colorize(ids)
    void = ids == IGNORE
    rgb[void] = hatching(ids.shape)[void]
    return rgb


def hatching(shape: tuple[int, ...]) -> Pixels:
    """uint8 [H, W, 3]: light grey with darker diagonal stripes, the mark of pixels that count nowhere."""
    height, width = shape[:2]
    period = max(8, width // 60)
    rows, columns = np.ogrid[:height, :width]
    stripe = (rows + columns) % period < period // 3
    return np.where(stripe[..., None], np.uint8(150), np.uint8(205)).repeat(3, axis=2)


def error_picture(image: Pixels, truth: Pixels, prediction: Pixels) -> Pixels:
    """uint8 [H, W, 3]: right pixels in dim grey, wrong ones in one vivid colour, ignored ones hatched."""
    grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    rgb = (grey * 0.38 + 24)[..., None].repeat(3, axis=2)
    wrong = (truth != prediction) & (truth != IGNORE)
    rgb[wrong] = 0.22 * grey[wrong][:, None] + 0.78 * np.array(ERROR_RGB, np.float32)
    void = truth == IGNORE
    rgb[void] = hatching(truth.shape)[void] * 0.45
    return rgb.clip(0, 255).astype(np.uint8)


def wrong_share(truth: Pixels, prediction: Pixels) -> float:
    """Wrong pixels over labelled pixels, in 0..1; NaN when every pixel is ignored."""
    labelled = truth != IGNORE
    return float((truth != prediction)[labelled].mean()) if labelled.any() else float("nan")


def window(shape: tuple[int, ...], box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The part of a picture to show for a region: room around it, in the close-up's aspect where possible.

    shape: (H, W, ...). box and result: (top, left, bottom, right) in pixels, ends excluded.
    """
    height, width = shape[:2]
    top, left, bottom, right = box
    aspect = CLOSE_UP[0] / CLOSE_UP[1]
    wide = max((right - left) * 1.7, (bottom - top) * 1.5 * aspect, width * 0.3)
    wide = min(wide, width, height * aspect)
    high = min(wide / aspect, height)
    x = min(max((left + right) / 2 - wide / 2, 0), width - wide)
    y = min(max((top + bottom) / 2 - high / 2, 0), height - high)
    return math.floor(y), math.floor(x), min(height, math.ceil(y + high)), min(width, math.ceil(x + wide))


def close_up(image: Pixels, region: NDArray[np.bool_], box: tuple[int, int, int, int]) -> Pixels:
    """uint8 [h, w, 3]: the picture around a region, the rest of it dimmed, the region outlined in white and black."""
    top, left, bottom, right = window(image.shape, box)
    crop = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    width = CLOSE_UP[0]
    height = max(1, round(crop.height * width / crop.width))
    rgb = np.asarray(crop.resize((width, height), Image.Resampling.LANCZOS)).astype(np.float32)
    mask = Image.fromarray(region[top:bottom, left:right].astype(np.uint8) * 255)
    inside = np.asarray(mask.resize((width, height), Image.Resampling.BILINEAR)) > 127
    rgb[~inside] = rgb[~inside] * 0.72 + 30
    white, black = _grow(inside, 2) & ~inside, _grow(inside, 4) & ~_grow(inside, 2)
    rgb[black], rgb[white] = 20, 255
    return rgb.clip(0, 255).astype(np.uint8)


def _grow(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """The mask and every pixel within `steps` of it, counted in rows and columns."""
    for _ in range(steps):
        wider = mask.copy()
        wider[1:] |= mask[:-1]
        wider[:-1] |= mask[1:]
        wider[:, 1:] |= mask[:, :-1]
        wider[:, :-1] |= mask[:, 1:]
        mask = wider
    return mask
