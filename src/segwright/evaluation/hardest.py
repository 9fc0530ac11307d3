"""Where a model fails: pictures ranked by their own mIoU, and the mistakes that cost most, in words.

Letters: N pictures, K classes, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.evaluation.result import Evaluation
from segwright.metrics.protocols import Protocol, find_protocol
from segwright.metrics.scores import Floats, Scores

NO_BREAK = "\u202f"  # narrow no-break space: between digits and before a unit


@dataclass(frozen=True, kw_only=True)
class PictureScore:
    """How well one picture went.

    index: its position in the evaluation. miou: mean IoU over the classes in its truth or prediction, 0..1.
    accuracy: share of its labelled pixels that are right, 0..1. pixels: labelled pixels. wrong: those that are wrong.
    """

    index: int
    name: str
    miou: float
    accuracy: float
    pixels: int
    wrong: int


@dataclass(frozen=True, kw_only=True)
class PicturePart:
    """How many pixels of a mistake lie in one picture (`index`: its position in the evaluation)."""

    index: int
    name: str
    pixels: int


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One confusion: pixels of class `truth` that were called `predicted`.

    truth, predicted: class ids. pixels: how many. share: of all true pixels of the class, 0..1.
    gain: how much mIoU would rise (0..1) if these pixels, and nothing else, were corrected.
    pictures: those that hold most of it, the largest part first.
    """

    truth: int
    predicted: int
    truth_name: str
    predicted_name: str
    pixels: int
    share: float
    gain: float
    pictures: tuple[PicturePart, ...]

    @property
    def sentence(self) -> str:
        """`23 % of pole pixels (41 210) were called building; correcting them alone would add 1.9 points of mIoU.`"""
        pixels = f"{self.pixels:,}".replace(",", NO_BREAK)
        verb = "was" if self.pixels == 1 else "were"
        return (
            f"{_percent(self.share)} of {self.truth_name} pixels ({pixels}) {verb} called {self.predicted_name}; "
            f"correcting them alone would add {_points(self.gain)} of mIoU."
        )


class Box(NamedTuple):
    """A rectangle of pixels: rows top..bottom-1, columns left..right-1."""

    top: int
    left: int
    bottom: int
    right: int


def _percent(share: float) -> str:
    percent = 100 * share
    if percent < 0.1:
        return f"Less than 0.1{NO_BREAK}%"
    rounded = 100 if share == 1 else min(99, round(percent))
    return f"{percent:.1f}{NO_BREAK}%" if percent < 9.95 else f"{rounded}{NO_BREAK}%"


def _points(gain: float) -> str:
    if gain < 0.0005:
        return "less than 0.1 points"
    return "1.0 point" if f"{100 * gain:.1f}" == "1.0" else f"{100 * gain:.1f} points"


def rank_pictures(evaluation: Evaluation) -> tuple[PictureScore, ...]:
    """Pictures with labelled pixels, from the best to the worst mIoU; ties in the order of the data set."""
    counts = evaluation.counts_NKK
    hits_NK = counts.diagonal(axis1=1, axis2=2)
    union_NK = counts.sum(2) + counts.sum(1) - hits_NK
    pixels_N, right_N = counts.sum((1, 2)), hits_NK.sum(1)
    iou_NK = np.divide(hits_NK, union_NK, out=np.zeros(hits_NK.shape), where=union_NK > 0)
    present_N = (union_NK > 0).sum(1)
    ranked = [
        PictureScore(
            index=i,
            name=evaluation.names[i],
            miou=float(iou_NK[i].sum() / present_N[i]),
            accuracy=float(right_N[i] / pixels_N[i]),
            pixels=int(pixels_N[i]),
            wrong=int(pixels_N[i] - right_N[i]),
        )
        for i in np.flatnonzero(pixels_N).tolist()
    ]
    return tuple(sorted(ranked, key=lambda p: -p.miou))


class Showcase(NamedTuple):
    """Pictures worth looking at, none twice. best: best first. median: around the middle. worst: worst first."""

    best: tuple[PictureScore, ...]
    median: tuple[PictureScore, ...]
    worst: tuple[PictureScore, ...]


def showcase(evaluation: Evaluation, *, best: int = 2, median: int = 2, worst: int = 2) -> Showcase:
    """The best, middle and worst pictures. In a small set the worst come first, then the best, then the middle."""
    ranked = list(rank_pictures(evaluation))
    lowest = tuple(reversed(ranked[max(0, len(ranked) - worst) :]))
    rest = ranked[: len(ranked) - len(lowest)]
    highest = tuple(rest[:best])
    centre = len(ranked) / 2 - 0.5 - len(highest)  # of the whole set, counted within what is left
    middle = rest[len(highest) :]
    start = min(max(0, round(centre - (median - 1) / 2)), max(0, len(middle) - median))
    return Showcase(highest, tuple(middle[start : start + median]), lowest)


def correction_gain(scores: Scores, *, protocol: str | Protocol = "pooled") -> Floats:
    """float64 [K, K]: how much the protocol's mIoU rises when all pixels of truth a, predicted b, turn into hits of a.

    The diagonal and confusions without pixels are 0. A class that only exists as this mistake disappears with it.
    """
    rule = find_protocol(protocol) if isinstance(protocol, str) else protocol
    wrong_KK = scores.counts_KK - np.diag(scores.counts_KK.diagonal())
    hits_K = scores.counts_KK.diagonal()
    union_K = scores.support + scores.predicted - hits_K
    iou_K = rule.iou(scores)
    counted = int((~np.isnan(iou_K)).sum())
    if not wrong_KK.any() or not counted:
        return np.zeros(wrong_KK.shape)
    gained_KK = wrong_KK / np.maximum(union_K, 1)[:, None]  # a: its union stays, its hits grow
    left_KK = union_K[None] - wrong_KK  # b: its union shrinks, its hits stay
    relieved_KK = np.divide(hits_K[None], left_KK, out=np.zeros(gained_KK.shape), where=left_KK > 0)
    rise_KK = gained_KK + relieved_KK - np.divide(hits_K, np.maximum(union_K, 1))[None]
    total = float(np.nansum(iou_K))
    vanishes_KK = (left_KK == 0) & (wrong_KK > 0)
    classes_KK = counted - (vanishes_KK & ~np.isnan(iou_K) & (not rule.all_classes))
    mean_after_KK = (total + rise_KK) / classes_KK
    return np.where(wrong_KK > 0, mean_after_KK - total / counted, 0.0)


def worst_mistakes(evaluation: Evaluation, *, count: int = 3, pictures: int = 3) -> tuple[Mistake, ...]:
    """The confusions that cost most mIoU under the evaluation's protocol, the costliest first.

    Each is judged alone: their gains do not simply add up. Fewer than `count` come back when fewer exist.
    """
    scores = evaluation.scores
    gain_KK = correction_gain(scores, protocol=evaluation.rule)
    names = evaluation.space.class_names
    order = np.argsort(-gain_KK, axis=None, kind="stable")[:count]
    found = []
    for truth, predicted in zip(*np.unravel_index(order, gain_KK.shape), strict=True):
        pixels = int(scores.counts_KK[truth, predicted])
        if gain_KK[truth, predicted] <= 0:
            break
        found.append(
            Mistake(
                truth=int(truth),
                predicted=int(predicted),
                truth_name=names[truth],
                predicted_name=names[predicted],
                pixels=pixels,
                share=pixels / int(scores.support[truth]),
                gain=float(gain_KK[truth, predicted]),
                pictures=_largest_parts(evaluation, int(truth), int(predicted), pictures),
            )
        )
    return tuple(found)


def _largest_parts(evaluation: Evaluation, truth: int, predicted: int, count: int) -> tuple[PicturePart, ...]:
    pixels_N = evaluation.counts_NKK[:, truth, predicted]
    order = np.argsort(-pixels_N, kind="stable")[:count]
    return tuple(
        PicturePart(index=int(i), name=evaluation.names[i], pixels=int(pixels_N[i])) for i in order if pixels_N[i] > 0
    )


def largest_region(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], a: int, b: int) -> Box | None:
    """Bounding box of the largest connected region (corners touch) where truth is `a` and the prediction `b`.

    truth, prediction: uint8 [H, W] class ids. None where this mistake does not occur in the picture.
    """
    wrong = ((truth == a) & (prediction == b)).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(wrong, connectivity=8)
    if count < 2:  # component 0 is everything else
        return None
    left, top, width, height = stats[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()), :4].tolist()
    return Box(top, left, top + height, left + width)
