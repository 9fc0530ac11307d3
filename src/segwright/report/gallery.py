"""The pictures of a page: rows of image, truth, prediction and errors, and what the viewer needs to draw all of them.

The form of that data stands at the top of templates/layers.js.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segwright.contracts import IGNORE
from segwright.data.safe_palette import safe_colors
from segwright.evaluation.hardest import rank_pictures
from segwright.evaluation.result import Evaluation
from segwright.labels import LabelSpace
from segwright.report.colors import to_hex
from segwright.report.content import ReportPicture
from segwright.report.pictures import DETAILS, Detail, Embedded, embed, error_picture, id_colors, id_map, wrong_share
from segwright.report.shelf import ShelfPicture
from segwright.report.wording import count, percent


@dataclass(frozen=True)
class View:
    """One picture of a row. id: of its <img>, unique in the page."""

    kind: str
    picture: Embedded
    id: str


@dataclass(frozen=True)
class PictureRow:
    name: str
    role: str
    miou: float | None
    wrong: float
    views: tuple[View, ...]


def picture_row(picture: ReportPicture, space: LabelSpace, *, place: int, detail: Detail = DETAILS[0]) -> PictureRow:
    """The four views of a picture. place: of the row in the page, from 0."""
    image, truth, prediction = picture.image, picture.truth, picture.prediction
    pictures = {
        "Image": embed(image, detail=detail),
        "Truth": id_map(truth, space, detail=detail),
        "Prediction": id_map(prediction, space, detail=detail),
        "Errors": embed(error_picture(image, truth, prediction), detail=detail),
    }
    views = tuple(View(kind, made, f"picture-{place}-{at}") for at, (kind, made) in enumerate(pictures.items()))
    return PictureRow(picture.name, picture.role, picture.miou, wrong_share(truth, prediction), views)


@dataclass(frozen=True)
class LegendItem:
    id: int
    name: str


def legend(pictures: Sequence[ReportPicture], space: LabelSpace) -> list[LegendItem]:
    """The classes that are in the truth or the prediction of any of the pictures."""
    seen = {int(k) for p in pictures for ids in (p.truth, p.prediction) for k in np.unique(ids)} - {IGNORE}
    return [LegendItem(k, name) for k, name in enumerate(space.class_names) if k in seen]


def gallery_data(
    evaluation: Evaluation, rows: Sequence[PictureRow], shelf: Sequence[ShelfPicture] = ()
) -> dict[str, Any]:
    """What the page's script draws pictures from: those of the rows, in their order, then those of the shelf."""
    places = {name: index for index, name in reversed(list(enumerate(evaluation.names)))}
    mious = {score.index: score.miou for score in rank_pictures(evaluation)}
    own = [
        _entry(evaluation, places[row.name], mious, {view.kind: f"#{view.id}" for view in row.views}) for row in rows
    ]
    further = [
        _entry(
            evaluation,
            one.index,
            mious,
            {"Image": one.image.uri, "Truth": one.truth.uri, "Prediction": one.prediction.uri},
        )
        for one in shelf
    ]
    return {**palettes(evaluation.space), "pictures": own + further, **_extent(evaluation)}


def palettes(space: LabelSpace) -> dict[str, Any]:
    """Classes, their colours in both palettes, and those that stand for ids in id maps."""
    return {
        "classes": list(space.class_names),
        "colors": {
            "official": [to_hex(c.color) for c in space.classes],
            "safe": [to_hex(color) for color in safe_colors(space.num_classes)],
        },
        "codes": [to_hex(color) for color in id_colors(space)[:-1]],
    }


def _entry(
    evaluation: Evaluation, index: int, mious: Mapping[int, float], sources: Mapping[str, str]
) -> dict[str, Any]:
    counts_KK = evaluation.counts_NKK[index]
    return {
        "name": evaluation.names[index],
        "note": f"mIoU {percent(mious.get(index))}",
        "truth": 1,
        "layers": [
            {"name": "Image", "kind": "picture", "src": sources["Image"]},
            {"name": "Truth", "kind": "ids", "src": sources["Truth"]},
            {"name": "Prediction", "kind": "ids", "src": sources["Prediction"]},
            {"name": "Errors", "kind": "errors", "of": [1, 2]},
        ],
        "counts": [[t, p, int(counts_KK[t, p])] for t, p in np.argwhere(counts_KK).tolist()],
    }


def _extent(evaluation: Evaluation) -> dict[str, Any]:
    return {"total": len(evaluation.names), "holding": (evaluation.counts_NKK > 0).sum(0).tolist()}


def within(shown: int, evaluation: Evaluation) -> str:
    """How many of the pictures are in the page."""
    total = len(evaluation.names)
    return (
        f"all {count(total)} are in this page."
        if shown >= total
        else f"{count(shown)} of {count(total)} are in this page."
    )
