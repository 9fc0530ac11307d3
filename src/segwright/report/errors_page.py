"""The review page of a search for label errors: one card a region, marked with keys, exported as a file of marks.

Letters: H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE
from segwright.evaluation.label_errors import BORDER, LabelRegion, Look
from segwright.evaluation.label_files import MARKS_FORMAT, Review
from segwright.labels import LabelSpace
from segwright.report.colors import style_rules
from segwright.report.page import render_page, static, write_page
from segwright.report.pictures import CLOSE_UP, VOID_RGB, Embedded, embed, window

PAGE = "review.html"
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Card:
    """A region as the page shows it: the picture around it, its labels and the model's answer, each outlined."""

    region: LabelRegion
    image: Embedded
    truth: Embedded
    prediction: Embedded


def card(look: Look, space: LabelSpace) -> Card:
    """Cut out and embed the surroundings of a region."""
    box = look.region.box
    top, left, bottom, right = window(look.image.shape, box)
    inside = np.zeros(look.truth.shape, np.uint8)
    inside[box.top : box.bottom, box.left : box.right] = look.region.mask
    rows, columns = slice(top, bottom), slice(left, right)
    size = (CLOSE_UP[0], max(1, round((bottom - top) * CLOSE_UP[0] / (right - left))))
    shape = cv2.resize(inside[rows, columns], size, interpolation=cv2.INTER_NEAREST_EXACT) > 0
    image = np.asarray(cv2.resize(look.image[rows, columns], size, interpolation=cv2.INTER_CUBIC), np.uint8)
    return Card(
        region=look.region,
        image=embed(_outlined(image, shape)),
        truth=embed(_outlined(_colored(look.truth[rows, columns], space, size), shape), exact=True),
        prediction=embed(_outlined(_colored(look.prediction[rows, columns], space, size), shape), exact=True),
    )


def _colored(ids: Pixels, space: LabelSpace, size: tuple[int, int]) -> Pixels:
    rgb = space.colorize(ids)
    rgb[ids == IGNORE] = VOID_RGB
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _outlined(rgb: Pixels, shape: NDArray[np.bool_]) -> Pixels:
    """White around the region, black around the white."""
    near, far = (cv2.dilate(shape.astype(np.uint8), np.ones((n, n), np.uint8)) > 0 for n in (5, 9))
    rgb = rgb.copy()
    rgb[far & ~near], rgb[near & ~shape] = 20, 255
    return rgb


def write_review_page(review: Review, looks: Iterable[Look], folder: Path) -> Path:
    """Write review.html into a folder, atomically. looks: of the review's regions, in any order.

    Raises UserError when it cannot be written.
    """
    cards = sorted((card(look, review.space) for look in looks), key=lambda c: c.region.rank)
    return write_page(render_review_page(review, cards), folder / PAGE)


def render_review_page(review: Review, cards: list[Card]) -> str:
    """The page as text: one file that loads nothing."""
    style = static("report.css") + static("label_errors.css") + style_rules(review.space)
    return render_page(
        "label_errors.html",
        style=style,
        script=static("label_errors.js"),
        review=review,
        about=review.about,
        cards=cards,
        names=review.space.class_names,
        border=BORDER,
        marking={"regions": review.fingerprint, "format": MARKS_FORMAT},
    )
