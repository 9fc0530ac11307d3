"""Class ids as pictures: colour masks, overlays with outlines, and a legend strip.

Letters: H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segwright.contracts import IGNORE
from segwright.data.safe_palette import safe_picture, safe_space
from segwright.labels import LabelSpace

RGB = NDArray[np.uint8]
INK, PAPER, FRAME = (32, 36, 42), (255, 255, 255), (150, 156, 164)
STRIPE = (160, 160, 160)


def class_shares(ids_HW: NDArray[np.uint8], space: LabelSpace) -> dict[str, float]:
    """Class name -> share of the pixels that are not IGNORE, 0..1, the largest first; empty classes are left out."""
    counts = np.bincount(ids_HW.ravel(), minlength=256)[: space.num_classes]
    total = max(1, int(counts.sum()))
    order = [k for k in np.argsort(-counts, kind="stable").tolist() if counts[k]]
    return {space.class_names[k]: int(counts[k]) / total for k in order}


def palette_picture(ids_HW: NDArray[np.uint8], space: LabelSpace, *, safe: bool = False) -> Image.Image:
    """A palette picture: its indices are the class ids, its 256 palette entries the class colours (IGNORE is black).

    safe: the colours of the safe palette, without its stripes, which no palette entry can hold.
    Viewers show colours, and Pillow's raw read (`np.asarray(Image.open(path))`) gives the ids back.
    """
    picture = Image.fromarray(ids_HW)
    picture.putpalette(
        (safe_space(space) if safe else space).palette.tobytes()
    )  # all 256 entries: short palettes make 1- to 4-bit files
    return picture


def overlay(
    rgb_HWC: RGB, ids_HW: NDArray[np.uint8], space: LabelSpace, *, opacity: float = 0.5, safe: bool = False
) -> RGB:
    """The picture with class colours laid over it at `opacity` (0..1), and outlines where classes meet.

    rgb: uint8 [H, W, 3], RGB. ids: uint8 [H, W]; pixels that are IGNORE keep the picture. Returns uint8 [H, W, 3].
    safe: colours, and beyond eight classes stripes, of the safe palette.
    """
    colors = safe_picture(ids_HW, space) if safe else space.colorize(ids_HW)
    mixed = cv2.addWeighted(rgb_HWC, 1 - opacity, colors, opacity, 0)
    strong = min(1.0, 1.7 * opacity)  # the outline is the class colour again, only denser
    cv2.copyTo(cv2.addWeighted(rgb_HWC, 1 - strong, colors, strong, 0), _outline(ids_HW), mixed)
    cv2.copyTo(rgb_HWC, (ids_HW == IGNORE).view(np.uint8), mixed)
    return np.asarray(mixed, np.uint8)


def hatch_void(picture: RGB, ids_HW: NDArray[np.uint8]) -> RGB:
    """The picture with grey diagonal lines where ids is IGNORE: uint8 [H, W, 3], a copy."""
    period = max(8, ids_HW.shape[1] // 60)
    rows, columns = np.ogrid[: ids_HW.shape[0], : ids_HW.shape[1]]
    hatched = picture.copy()
    hatched[(ids_HW == IGNORE) & ((rows + columns) % period < period // 4)] = STRIPE
    return hatched


def _outline(ids_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 for pixels beside a pixel of another class, else 0; two pixels wide in pictures of more than a megapixel."""
    size = 3 if ids_HW.size < 1_000_000 else 5
    kernel = cv2.getStructuringElement(cv2.MORPH_CROSS, (size, size))
    return np.asarray(cv2.compare(cv2.dilate(ids_HW, kernel), cv2.erode(ids_HW, kernel), cv2.CMP_NE), np.uint8)


def with_legend(picture: RGB, shares: Mapping[str, float], space: LabelSpace, *, safe: bool = False) -> RGB:
    """The picture with a strip below it: a swatch, the name and the share of pixels of each class in `shares`.

    Text grows with the picture. A picture too narrow for one entry gets white space to its right. Returns uint8 RGB.
    """
    strip = legend_strip(shares, space, width=picture.shape[1], size=text_size(*picture.shape[:2]), safe=safe)
    beside = ((0, 0), (0, strip.shape[1] - picture.shape[1]), (0, 0))
    return np.concatenate([np.pad(picture, beside, constant_values=PAPER[0]), strip])


def text_size(height: int, width: int) -> int:
    """Pixels of the letters below a picture of this size."""
    return int(min(40, max(13, 0.016 * (width + height))))


def legend_strip(
    shares: Mapping[str, float | None], space: LabelSpace, *, width: int, size: int, safe: bool = False
) -> RGB:
    """A strip with a swatch and the name of each class in `shares`, and its share (0..1) unless that is None.

    size: pixels of the letters. Returns uint8 RGB [h, W, 3]: W is `width`, or what one entry needs; h is 0 without classes.
    """
    if not shares:
        return np.zeros((0, width, 3), np.uint8)
    font = ImageFont.load_default(size)
    places = {name: k for k, name in enumerate(space.class_names)}
    names = {name: shown if len(shown := name.strip()) <= 28 else f"{shown[:27]}…" for name in shares}
    values = {name: _percent(share) for name, share in shares.items() if share is not None}
    swatch, gap, line = round(1.1 * size), round(0.6 * size), round(1.75 * size)
    name_width = max((font.getlength(text) for text in names.values()), default=0)
    value_width = max((gap + font.getlength(text) for text in values.values()), default=0)
    entry = round(swatch + gap + name_width + value_width)
    margin, between = round(1.1 * size), round(1.4 * size)
    columns = max(1, (width - 2 * margin + between) // (entry + between))
    rows = -(-len(shares) // columns)
    columns = -(-len(shares) // rows)  # without empty columns on the right
    strip_width = max(width, entry + 2 * margin)
    canvas = Image.new("RGB", (strip_width, 2 * margin + rows * line), PAPER)
    draw = ImageDraw.Draw(canvas)
    step = (strip_width - 2 * margin + between) // columns
    for position, name in enumerate(shares):
        column, row = divmod(position, rows)
        left, middle = margin + column * step, margin + row * line + line // 2
        top = middle - swatch // 2
        box = (left, top, left + swatch, top + swatch)
        canvas.paste(_swatch(places[name], swatch, space, safe), box[:2])
        draw.rounded_rectangle(box, radius=max(2, swatch // 5), outline=FRAME)
        draw.text((left + swatch + gap, middle), names[name], INK, font, anchor="lm")
        if name in values:
            draw.text((left + entry, middle), values[name], INK, font, anchor="rm")
    return np.asarray(canvas)


def _swatch(k: int, size: int, space: LabelSpace, safe: bool) -> Image.Image:
    ids_HW = np.full((size + 1, size + 1), k, np.uint8)
    return Image.fromarray(safe_picture(ids_HW, space) if safe else space.colorize(ids_HW))


def _percent(share: float) -> str:
    return "<0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"
