"""The rows of pictures: image, truth, prediction and errors side by side, and the legend of their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segwright.contracts import IGNORE
from segwright.labels import LabelSpace
from segwright.report.content import ReportPicture
from segwright.report.pictures import Embedded, class_picture, embed, error_picture, wrong_share


@dataclass(frozen=True)
class View:
    kind: str
    picture: Embedded


@dataclass(frozen=True)
class PictureRow:
    name: str
    role: str
    miou: float | None
    wrong: float
    views: tuple[View, ...]


def picture_row(picture: ReportPicture, space: LabelSpace) -> PictureRow:
    image, truth, prediction = picture.image, picture.truth, picture.prediction
    views = (
        View("Image", embed(image)),
        View("Truth", embed(class_picture(truth, space), exact=True)),
        View("Prediction", embed(class_picture(prediction, space), exact=True)),
        View("Errors", embed(error_picture(image, truth, prediction))),
    )
    return PictureRow(picture.name, picture.role, picture.miou, wrong_share(truth, prediction), views)


@dataclass(frozen=True)
class LegendItem:
    id: int
    name: str


def legend(pictures: Sequence[ReportPicture], space: LabelSpace) -> list[LegendItem]:
    """The classes that are in the truth or the prediction of any of the pictures."""
    seen = {int(k) for p in pictures for ids in (p.truth, p.prediction) for k in np.unique(ids)} - {IGNORE}
    return [LegendItem(k, name) for k, name in enumerate(space.class_names) if k in seen]
