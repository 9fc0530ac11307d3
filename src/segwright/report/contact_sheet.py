"""A sheet of small labelled pictures: the original of each row first, then what the augmentation makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segwright.contracts import IGNORE
from segwright.inference.drawing import INK, PAPER, class_shares, overlay, with_legend
from segwright.labels import LabelSpace
from segwright.report.pictures import hatching

Pixels = NDArray[np.uint8]
WIDTH = 1600
"""Of the sheet, about, in pixels."""
OPACITY = 0.4
GAP, TITLE, CAPTION = 8, 28, 18
"""Pixels between pictures; heights of the text above the sheet and below the pictures."""
_FAINT = (96, 102, 110)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A picture, uint8 [H, W, 3] in RGB order, its labels, uint8 [H, W], and a few words below it."""

    image: Pixels
    labels: Pixels
    caption: str


def contact_sheet(rows: Sequence[Sequence[Cell]], space: LabelSpace, *, title: str) -> Pixels:
    """All cells with their labels laid over them, ignored pixels hatched, and a legend of the classes that occur.

    Pictures of a row share one height. Returns uint8 [H, W, 3]. Raises ValueError without any cell.
    """
    columns = max(len(row) for row in rows)
    width = (WIDTH - GAP * (columns + 1)) // columns
    drawn = [[_drawn(cell, space, width) for cell in row] for row in rows]
    heights = [max(picture.shape[0] for picture in row) for row in drawn]
    total = TITLE + 3 * GAP + sum(heights) + len(rows) * (CAPTION + 2 * GAP)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, total), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, INK, ImageFont.load_default(TITLE - 4))
    small = ImageFont.load_default(CAPTION - 2)
    top = TITLE + 2 * GAP
    for row, pictures, height in zip(rows, drawn, heights, strict=True):
        for number, (cell, picture) in enumerate(zip(row, pictures, strict=True)):
            left = GAP + number * (width + GAP)
            sheet.paste(Image.fromarray(picture), (left, top))
            draw.text((left, top + height + 2), _shortened(cell.caption, small, width), _FAINT, small)
        top += height + CAPTION + 2 * GAP
    labels = np.concatenate([cell.labels.ravel() for row in rows for cell in row])[None]
    line = np.full((1, sheet.width, 3), PAPER, np.uint8)  # text grows with the picture: that of a whole sheet is huge
    legend = with_legend(line, class_shares(labels, space), space)
    return np.concatenate([np.asarray(sheet), legend[:, : sheet.width]])


def _drawn(cell: Cell, space: LabelSpace, width: int) -> Pixels:
    """The cell's overlay, `width` pixels wide."""
    height = max(1, round(cell.labels.shape[0] * width / cell.labels.shape[1]))
    shrinks = width < cell.labels.shape[1]
    image = cv2.resize(cell.image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    labels = np.asarray(cv2.resize(cell.labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    picture = overlay(np.asarray(image, np.uint8), labels, space, opacity=OPACITY)
    void = labels == IGNORE
    picture[void] = cv2.addWeighted(picture, 0.5, hatching(labels.shape), 0.5, 0)[void]
    return picture


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while font.getlength(text) > width and len(text) > 1:
        text = f"{text[:-2]}…"
    return text
