"""Activations, filters and class maps as pictures: sheets of tiles, and heat laid over a photo.

Letters: C channels, H W pixels, N filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segwright.evaluation.gradcam import Box
from segwright.inference.drawing import INK, PAPER

Pixels = NDArray[np.uint8]
WIDTH = 1600
"""Of a sheet, about, pixels."""
GAP, TITLE, CAPTION = 6, 30, 17
_FAINT = (96, 102, 110)
_BOX = (0, 229, 255)


def heat_colors(values_HW: NDArray[np.floating[Any]]) -> Pixels:
    """0..1 -> uint8 [H, W, 3], RGB: dark violet for 0, over red, to light yellow for 1."""
    levels = (255 * np.clip(values_HW, 0, 1)).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB), np.uint8)


def activation_sheet(maps_CHW: NDArray[np.float32], channels: Sequence[int], *, title: str, photo: Pixels) -> Pixels:
    """The picture, then the given channels, each scaled to its own least and largest value. uint8 [H, W, 3]."""
    height, width = maps_CHW.shape[1:]
    columns = min(8, len(channels) + 1) if width <= 2 * height else 6
    wide = (WIDTH - GAP * (columns + 1)) // columns
    tall = max(12, round(wide * height / width))
    tiles = [np.asarray(Image.fromarray(photo).resize((wide, tall), Image.Resampling.BOX), np.uint8)]
    captions = ["the picture"]
    for channel in channels:
        values = maps_CHW[channel]
        low, high = float(values.min()), float(values.max())
        scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
        tiles.append(
            np.asarray(cv2.resize(heat_colors(scaled), (wide, tall), interpolation=cv2.INTER_NEAREST), np.uint8)
        )
        captions.append(f"{channel}: {low:.2g} to {high:.2g}")
    return _sheet(tiles, captions, columns, title)


def filter_sheet(filters_NCHW: NDArray[np.float32], *, title: str) -> Pixels:
    """Filters as small RGB pictures, grey for 0, each scaled to its largest weight. uint8 [H, W, 3]."""
    columns = min(16, max(4, round(len(filters_NCHW) ** 0.5 * 1.5)))
    side = min(120, (WIDTH - GAP * (columns + 1)) // columns)
    tiles = []
    for weights in filters_NCHW:
        largest = float(np.abs(weights).max()) or 1.0
        rgb = (127.5 + 127.5 * weights / largest).round().astype(np.uint8).transpose(1, 2, 0)
        tiles.append(np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.NEAREST), np.uint8))
    return _sheet(tiles, [str(number) for number in range(len(tiles))], columns, title)


def heat_overlay(photo: Pixels, heat_HW: NDArray[np.float32], *, title: str, region: Box | None, note: str) -> Pixels:
    """The picture, the heat over a grey form of it with the region outlined, and a scale. uint8 [H, W, 3]."""
    height, width = photo.shape[:2]
    factor = max(1, round(640 / width))
    size = (width * factor, height * factor)
    grey = np.repeat(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.float32)
    share = np.clip(heat_HW, 0, 1)[..., None] * 0.8
    mixed = ((1 - share) * (0.85 * grey) + share * heat_colors(0.25 + 0.75 * heat_HW)).round().astype(np.uint8)
    pair = []
    for pixels in (photo, mixed):
        picture = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
        if region is not None:
            left, top, right, bottom = (factor * value for value in region)
            ImageDraw.Draw(picture).rectangle((left, top, right - 1, bottom - 1), outline=_BOX, width=max(2, factor))
        pair.append(np.asarray(picture, np.uint8))
    sheet = Image.fromarray(_sheet(pair, ["the picture", note], 2, title))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(CAPTION - 3)
    scale = heat_colors(np.linspace(0.25, 1, 120, dtype=np.float32)[None].repeat(10, 0))
    left, top = sheet.width - GAP - 120 - 40, GAP + 8
    sheet.paste(Image.fromarray(scale), (left, top))
    draw.text((left - 6, top + 5), "none", _FAINT, font, anchor="rm")
    draw.text((left + 126, top + 5), "most", _FAINT, font, anchor="lm")
    return np.asarray(sheet)


def _sheet(tiles: Sequence[Pixels], captions: Sequence[str], columns: int, title: str) -> Pixels:
    """Tiles of one size in rows, a caption below each, a title above all."""
    tall, wide = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    step_x, step_y = wide + GAP, tall + CAPTION + GAP
    sheet = Image.new("RGB", (max(columns * step_x + GAP, 480), TITLE + 2 * GAP + rows * step_y), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(min(13, max(9, wide // 9)))
    draw.text((GAP, GAP), title, INK, ImageFont.load_default(18))
    for number, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        row, column = divmod(number, columns)
        left, top = GAP + column * step_x, TITLE + GAP + row * step_y
        sheet.paste(Image.fromarray(tile), (left, top))
        draw.text((left, top + tall + 2), caption, _FAINT, font)
    return np.asarray(sheet)
