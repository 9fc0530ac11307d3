"""An exported model from a picture to class ids, with NumPy and OpenCV alone: the fastest way, and torch stays away.

Letters: H W pixels, C colour, K classes, h w at the network's own stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segwright.contracts import DataError, UserError
from segwright.inference.backends.description import Description
from segwright.inference.backends.sessions import Session

Picture = NDArray[np.uint8]
Size = tuple[int, int]


class PlainModel:
    """Plain RGB of any size in, class ids out. where: the file, for messages."""

    def __init__(self, session: Session, description: Description, *, where: str) -> None:
        self.session, self.description, self.where = session, description, where
        mean, std = (255 * np.array(values, np.float64) for values in (description.mean, description.std))
        self._scale, self._shift = (1 / std).astype(np.float32), (-mean / std).astype(np.float32)

    def ids(self, rgb_HWC: Picture, among: Sequence[int] | None = None) -> Picture:
        """The best class of every pixel: uint8 [H, W]. rgb_HWC: uint8 [H, W, 3], RGB, from 1×1.

        among: the classes to choose from, ascending; None for all. Of equal scores the first class wins.
        Raises UserError for a picture of another size than the file was exported for, DataError where a score is NaN.
        """
        given, inner, padded = self._sizes(rgb_HWC)
        if self.description.form == "picture" and among is None:
            check_size(self.description, given, "are", self.where)
            found: Picture = self.session.run(np.ascontiguousarray(rgb_HWC[None]), ["ids"])[0][0].copy()
            return found
        logits = self._scores(rgb_HWC)
        if np.isnan(logits.sum()) and np.isnan(logits).any():
            raise DataError(
                f"{self.where}: some scores are no numbers (NaN). The weights are damaged, or the precision is too small for "
                "them: export with --precision fp32, or from an earlier checkpoint."
            )
        return best_class(logits, padded, inner, given, among)

    def scores(self, rgb_HWC: Picture) -> NDArray[np.float32]:
        """What the network says of a picture: float32 [K, h, w], at its own stride. Argument and errors as for `ids`."""
        return self._scores(rgb_HWC).copy()

    def _scores(self, rgb_HWC: Picture) -> NDArray[np.float32]:
        given, inner, padded = self._sizes(rgb_HWC)
        if self.description.form == "picture":
            check_size(self.description, given, "are", self.where)
            whole: NDArray[Any] = np.ascontiguousarray(rgb_HWC[None])
        else:
            check_size(self.description, padded, "pad to", self.where)
            whole = self._input(rgb_HWC, inner, padded)
        (logits,) = self.session.run(whole, ["logits"])
        return logits[0]

    def _sizes(self, rgb_HWC: Picture) -> tuple[Size, Size, Size]:
        """Of the picture, inside of the network, and there with padding: height and width."""
        given = (rgb_HWC.shape[0], rgb_HWC.shape[1])
        inner = self._inner(given)
        return given, inner, (self._padded(inner[0]), self._padded(inner[1]))

    def _inner(self, given: Size) -> Size:
        short = self.description.short_side
        if short is None:
            return given
        factor = short / min(given)
        return max(1, round(given[0] * factor)), max(1, round(given[1] * factor))

    def _padded(self, side: int) -> int:
        stride = self.description.stride
        return max(self.description.min_size, -(-side // stride) * stride)

    def _input(self, rgb_HWC: Picture, inner: Size, padded: Any) -> NDArray[np.float32]:
        """float32 [1, 3, H, W], normalised, right and bottom padded with the mean colour, which is 0 then."""
        image = np.empty((1, 3, *padded), np.float32)
        image[:, :, inner[0] :] = 0
        image[:, :, :, inner[1] :] = 0
        for channel in range(3):
            plane = rgb_HWC[..., channel]
            if inner != plane.shape:  # antialiased where it shrinks
                real = Image.fromarray(plane.astype(np.float32))
                plane = np.asarray(real.resize((inner[1], inner[0]), Image.Resampling.BILINEAR))
            target = image[0, channel, : inner[0], : inner[1]]
            np.multiply(plane, self._scale[channel], out=target)
            target += self._shift[channel]
        return image


def check_graph(session: Session, description: Description, where: str) -> None:
    """Raises DataError where a graph and its description contradict each other."""
    wanted = ("ids", "logits") if description.form == "picture" else ("logits",)
    if missing := [name for name in wanted if name not in session.output_shapes]:
        raise DataError(
            f"{where} has no output '{missing[0]}', although it says that it is of the form {description.form}."
        )
    shape, classes = session.output_shapes["logits"], description.labels.num_classes
    if len(shape) != 4 or shape[1] not in (None, classes):
        raise DataError(
            f"{where} gives scores of the shape {list(shape)}, but lists {classes} classes. Export the model again."
        )
    kind = np.dtype("uint8" if description.form == "picture" else "float32")
    if len(session.input_shape) != 4 or session.input_type != kind:
        raise DataError(
            f"{where} takes {session.input_type} {list(session.input_shape)}; expected {kind} of four axes."
        )


def check_size(description: Description, size: Any, what: str, where: str) -> None:
    """Raises UserError where a file was exported for another size. what: what pictures do to have it, for the message."""
    if description.size not in (None, size):
        wanted, found = ("×".join(map(str, one or ())) for one in (description.size, size))
        raise UserError(
            f"{where} was exported for pictures that {what} {wanted} alone; this one gives {found}. Export it "
            "with --size dynamic, or resize the pictures."
        )


def best_class(
    logits_Khw: NDArray[np.float32], padded: Any, inner: Size, given: Size, among: Sequence[int] | None = None
) -> Picture:
    """Scores at the network's stride -> the best class of every pixel of the picture, uint8 [H, W].

    Bilinear, pixel centres kept, like `Segmenter.ids`, and like it one full-size plane at a time.
    padded, inner, given: what the network saw, its part that is picture, and the picture's own size.
    """
    first, *others = range(len(logits_Khw)) if among is None else among
    best_HW = _to_picture(logits_Khw[first], padded, inner, given).copy()
    ids_HW = np.full(given, first, np.uint8)
    better_HW = np.empty(given, np.uint8)
    for index in others:
        score_HW = _to_picture(logits_Khw[index], padded, inner, given)
        cv2.compare(score_HW, best_HW, cv2.CMP_GT, dst=better_HW)  # 255 where it is better
        np.bitwise_and(better_HW, index, out=better_HW)
        np.maximum(ids_HW, better_HW, out=ids_HW)  # classes ascend: the later one is the larger number
        cv2.max(score_HW, best_HW, dst=best_HW)
    return ids_HW


def _to_picture(score_hw: NDArray[np.float32], padded: Size, inner: Size, given: Size) -> NDArray[np.float32]:
    whole = _resized(score_hw, padded)[: inner[0], : inner[1]]
    return _resized(np.ascontiguousarray(whole), given)


def _resized(plane: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    if plane.shape == size:
        return plane
    return np.asarray(cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), np.float32)
