"""What a report is made of: plain data, put together by whoever has the run, the model and the pictures at hand.

Letters: N pictures, K classes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import UserError
from segwright.evaluation.hardest import Box, Mistake
from segwright.evaluation.label_errors import LabelRegion
from segwright.evaluation.result import Evaluation
from segwright.evaluation.robustness import Robustness
from segwright.report.shelf import BUDGET, ShelfPicture

Role = Literal["best", "median", "worst"]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class ReportPicture:
    """One picture to show with its truth and prediction.

    image: uint8 [H, W, 3], RGB. truth, prediction: uint8 [H, W], class ids; 255 in truth is ignored.
    miou: of this picture alone, 0..1; None or NaN when undefined, shown as "–".
    """

    name: str
    role: Role
    image: Pixels
    truth: Pixels
    prediction: Pixels
    miou: float | None

    def __post_init__(self) -> None:
        _check_shapes(self.name, self.image, self.truth, self.prediction)


@dataclass(frozen=True, kw_only=True)
class MistakePicture:
    """A mistake with a picture that shows it: image uint8 [H, W, 3], RGB; truth and prediction uint8 [H, W].

    box: around the region to show, such as the largest connected one.
    """

    mistake: Mistake
    name: str
    image: Pixels
    truth: Pixels
    prediction: Pixels
    box: Box

    def __post_init__(self) -> None:
        _check_shapes(self.name, self.image, self.truth, self.prediction)
        top, left, bottom, right = self.box
        height, width = self.truth.shape
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise UserError(
                f"report picture {self.name}: box {tuple(self.box)} means rows {top}..{bottom - 1} and columns "
                f"{left}..{right - 1}; it must lie inside the picture of {height} rows and {width} columns."
            )

    @property
    def region(self) -> NDArray[np.bool_]:
        """bool [H, W]: the pixels of this mistake."""
        wrong_HW: NDArray[np.bool_] = (self.truth == self.mistake.truth) & (self.prediction == self.mistake.predicted)
        return wrong_HW


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """One run, ready to be written as a page.

    history: rows of metrics.jsonl in order. `kind` "train": epoch, loss, lr, images_per_s, data_wait (share 0..1 of the
    epoch's time), seconds (of this epoch), peak_memory_mb. `kind` "val": epoch, miou, loss, iou (class name -> 0..1 or
    None), best, seconds. Rows and values may be missing; empty when nothing was trained.
    environment: JSON data as runs.environment() gives it. data: one fingerprint a split, or a single one, as
    data.statistics.fingerprint() gives them; {} when there is none.
    mistakes: worst first. notes: what the reader must know, one sentence each. skipped: the files that were left out
    because they could not be read, one sentence each.
    shelf: further pictures, which the cells of the confusion matrix open, the most wanted first. budget: bytes that the
    page may have; of the shelf, as many pictures are written as fit.
    """

    title: str
    run: str
    evaluation: Evaluation
    history: Sequence[Mapping[str, Any]] = ()
    recipe_text: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    pictures: Sequence[ReportPicture] = ()
    mistakes: Sequence[MistakePicture | Mistake] = ()
    notes: Sequence[str] = ()
    skipped: Sequence[str] = ()
    shelf: Sequence[ShelfPicture] = ()
    budget: int = BUDGET
    robustness: Robustness | None = None
    """Scores of this model on corrupted pictures, where `segwright robustness` made some."""
    doubted: Sequence[LabelRegion] = ()
    """Regions of the scored pictures whose label `segwright data errors` doubts, where it searched them."""


def _check_shapes(name: str, image: Pixels, truth: Pixels, prediction: Pixels) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise UserError(
            f"report picture {name}: the image is {image.dtype} {list(image.shape)}; expected uint8 [H, W, 3] in RGB."
        )
    for kind, ids in (("truth", truth), ("prediction", prediction)):
        if ids.shape != image.shape[:2] or ids.dtype != np.uint8:
            raise UserError(
                f"report picture {name}: the {kind} is {ids.dtype} {list(ids.shape)}; "
                f"expected uint8 {list(image.shape[:2])}, the image's own size."
            )
