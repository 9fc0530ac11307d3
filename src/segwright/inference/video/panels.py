"""One frame of the finished video: panels of the original and of each model with titles, and a legend below.

Letters: H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segwright.contracts import UserError
from segwright.data.safe_palette import PALETTES, safe_picture
from segwright.inference.drawing import INK, PAPER, RGB, legend_strip, overlay, text_size
from segwright.labels import LabelSpace

LAYOUTS = ("overlay", "mask", "side-by-side", "grid")
MOST_WIDE = 3840
"""Pixels; wider sheets get smaller panels."""
MOST_NAMED = 40
"""Classes in a legend."""
GAP = 6
"""Pixels between panels, at 960 pixels a panel."""
ORIGINAL = "original"


class Panels:
    """How frames are laid out: `overlay` or `mask` of one model alone, `side-by-side` in a row, or a `grid` near a square.

    The last two begin with the original. height, width: of a frame, pixels. models: name -> its label space.
    legend: a strip with the classes' colours and names below; models of one label space share it. A label space of more
    than 40 classes shows the first 40. opacity: of overlays, 0..1. palette: official or safe.
    Raises UserError for an unknown layout, for several models in a layout of one, and for values out of range.
    """

    def __init__(
        self,
        layout: str,
        models: Mapping[str, LabelSpace],
        *,
        height: int,
        width: int,
        opacity: float = 0.5,
        palette: str = "official",
        legend: bool = True,
    ) -> None:
        check_layout(layout, len(models), opacity, palette)
        self._spaces, self._opacity, self._safe = list(models.values()), opacity, palette == "safe"
        self._mask, single = layout == "mask", layout in ("overlay", "mask")
        titles = [None] if single else [ORIGINAL, *models]
        columns = len(titles) if layout == "side-by-side" else math.ceil(math.sqrt(len(titles)))
        rows = -(-len(titles) // columns)
        shrink = min(1.0, MOST_WIDE / (columns * width + (columns - 1) * GAP))
        self._panel = max(1, round(height * shrink)), max(1, round(width * shrink))
        gap = 0 if single else _even(max(2, round(GAP * self._panel[1] / 960)))
        bars = [None if title is None else _title(title, self._panel) for title in titles]
        bar = max((b.shape[0] for b in bars if b is not None), default=0)
        sheet_width = columns * self._panel[1] + (columns - 1) * gap
        strip = self._legend(models, sheet_width) if legend else np.zeros((0, sheet_width, 3), np.uint8)
        high, wide = rows * (bar + self._panel[0]) + (rows - 1) * gap, max(sheet_width, strip.shape[1])
        self._sheet = np.full((_even(high + len(strip)), _even(wide), 3), PAPER, np.uint8)
        self._sheet[high : high + len(strip), : strip.shape[1]] = strip
        self._corners = []
        for place, drawn in enumerate(bars):
            row, column = divmod(place, columns)
            top, left = row * (bar + self._panel[0] + gap), column * (self._panel[1] + gap)
            if drawn is not None:
                self._sheet[top : top + bar, left : left + self._panel[1]] = drawn
            self._corners.append((top + bar, left))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the finished frames, both even, pixels."""
        return self._sheet.shape[0], self._sheet.shape[1]

    def draw(self, rgb: RGB, ids: Sequence[NDArray[np.uint8]]) -> RGB:
        """uint8 [H, W, 3] and the ids of each model, uint8 [H, W] -> the finished frame, valid until the next call."""
        drawn = [self._colored(rgb, one, space) for one, space in zip(ids, self._spaces, strict=True)]
        for picture, (top, left) in zip([rgb, *drawn][-len(self._corners) :], self._corners, strict=True):
            height, width = self._panel
            if picture.shape[:2] != self._panel:
                shrunk = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
                picture = np.asarray(shrunk, np.uint8)
            self._sheet[top : top + height, left : left + width] = picture
        return self._sheet

    def _colored(self, rgb: RGB, ids_HW: NDArray[np.uint8], space: LabelSpace) -> RGB:
        if self._mask:
            return safe_picture(ids_HW, space) if self._safe else space.colorize(ids_HW)
        return overlay(rgb, ids_HW, space, opacity=self._opacity, safe=self._safe)

    def _legend(self, models: Mapping[str, LabelSpace], width: int) -> RGB:
        """One strip a label space, each under its title where there are several."""
        spaces = {space.class_names: space for space in models.values()}
        size = text_size(*self._panel)
        parts = []
        for names, space in spaces.items():
            if len(spaces) > 1:
                parts.append(_bar(space.title, width, size))
            shown = dict.fromkeys(names[:MOST_NAMED])
            parts.append(legend_strip(shown, space, width=width, size=size, safe=self._safe))
        wide = max(part.shape[1] for part in parts)
        padded = [
            cv2.copyMakeBorder(p, 0, 0, 0, wide - p.shape[1], cv2.BORDER_CONSTANT, value=PAPER) for p in parts if len(p)
        ]
        return np.concatenate(padded)


def check_layout(layout: str, models: int, opacity: float, palette: str) -> None:
    """Raises UserError for an unknown layout, for several models in a layout of one, and for values out of range."""
    if layout not in LAYOUTS:
        raise UserError(f"--layout is '{layout}'; allowed are {', '.join(LAYOUTS)}.")
    if models > 1 and layout in ("overlay", "mask"):
        raise UserError(f"--layout {layout} shows one model; for {models} of them take grid or side-by-side.")
    if not 0 <= opacity <= 1:
        raise UserError(f"--opacity is {opacity:g}; allowed are 0 (picture only) to 1 (colours only).")
    if palette not in PALETTES:
        raise UserError(f"--palette is '{palette}'; allowed are {' or '.join(PALETTES)}.")


def _title(text: str, panel: tuple[int, int]) -> RGB:
    return _bar(text, panel[1], text_size(*panel))


@cache
def _bar(text: str, width: int, size: int) -> RGB:
    """A line of text on paper, cut to the width."""
    font = ImageFont.load_default(size)
    margin = round(0.5 * size)
    shown = text
    while len(shown) > 1 and font.getlength(shown) > width - 2 * margin:
        shown = f"{shown.rstrip('…')[:-1]}…"
    canvas = Image.new("RGB", (width, _even(round(1.9 * size))), PAPER)
    ImageDraw.Draw(canvas).text((margin, canvas.height // 2), shown, INK, font, anchor="lm")
    return np.asarray(canvas)


def _even(length: int) -> int:
    return length + length % 2
