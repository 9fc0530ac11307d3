"""The page of a comparison: the verdict in words, tables and charts, and pictures of all runs side by side.

Letters: H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.contracts import IGNORE
from segwright.evaluation.compare import Comparison
from segwright.evaluation.compare_table import cost_note, grids
from segwright.evaluation.compare_words import bounds, chance_sentence, class_sentence, noise_line, points, verdict_line
from segwright.evaluation.differing import PictureGap
from segwright.report.colors import style_rules
from segwright.report.compare_figures import class_chart, key_mark, seed_chart
from segwright.report.gallery import LegendItem, View, palettes
from segwright.report.page import render_page, static, write_page
from segwright.report.pictures import DETAILS, Detail, embed, id_map
from segwright.report.wording import percent

Pixels = NDArray[np.uint8]
BUDGET = 12_000_000
"""Bytes that the pictures of a page may take; coarser ones are embedded where they would take more."""
SECTIONS = {
    "answer": "Answer",
    "runs": "Runs",
    "classes": "Classes",
    "seeds": "Seeds",
    "pictures": "Pictures",
    "changes": "What differs",
    "reading": "How to read",
}


@dataclass(frozen=True, kw_only=True)
class ComparedPicture:
    """A picture with its truth and what each run predicts.

    image: uint8 [H, W, 3] in RGB order. truth, predictions: uint8 [H, W] class ids of the common space, IGNORE in the
    truth for void. runs: whose predictions these are, in the same order.
    """

    gap: PictureGap
    image: Pixels
    truth: Pixels
    runs: tuple[str, ...]
    predictions: tuple[Pixels, ...]


def write_compare_page(
    comparison: Comparison, pictures: Sequence[ComparedPicture], path: Path, *, missing: str = ""
) -> Path:
    """Write the page, atomically. missing: why there are no pictures. Raises UserError when it cannot be written."""
    return write_page(render_compare_page(comparison, pictures, missing=missing), path)


def render_compare_page(comparison: Comparison, pictures: Sequence[ComparedPicture] = (), *, missing: str = "") -> str:
    """The page as text, one file that loads nothing."""
    style = static("report.css") + static("viewer.css") + static("compare.css") + style_rules(comparison.space)
    return render_page(
        "compare.html", style=style, script=static("compare.js"), **_content(comparison, pictures, missing)
    )


def _content(comparison: Comparison, pictures: Sequence[ComparedPicture], missing: str) -> dict[str, Any]:
    rows = _rows(comparison, pictures)
    found = grids(comparison)
    return {
        "sections": SECTIONS.items(),
        "found": comparison,
        "evaluation": comparison.against.evaluation,
        "marks": {name: key_mark(place) for place, name in enumerate(comparison.names)},
        "verdicts": [
            {
                "one": one,
                "sentence": class_sentence(one),
                "noisy": one.verdict != "cannot tell" and comparison.within_noise(one.run),
                "change": f"{points(one.miou.value)} {bounds(one.miou)}",
            }
            for one in comparison.differences.values()
        ],
        "chance": chance_sentence(next(iter(comparison.differences.values()))),
        "costed": any(one.cost is not None for one in comparison.entries),
        "timed": any(one.cost is not None and one.cost.latency for one in comparison.entries),
        "cost_note": cost_note(comparison),
        "class_chart": class_chart(comparison),
        "class_grid": found[1],
        "seed_chart": seed_chart(comparison),
        "seed_grid": next((grid for grid in found if grid.head[0] == "setting"), None),
        "changes": [grid for grid in found if grid.head[0] == "key"],
        "rows": rows,
        "missing": missing,
        "verdict_line": verdict_line(comparison),
        "noise_line": noise_line(comparison),
        "legend": _legend(comparison, pictures),
        "gallery": _gallery(comparison, rows),
        "points": points,
        "bounds": bounds,
    }


@dataclass(frozen=True)
class Row:
    """A picture's views from the left to the right, and what is said above them."""

    picture: ComparedPicture
    views: tuple[View, ...]
    notes: tuple[str, ...]
    slide: tuple[int, int] | None
    """Places of the views of the reference and of the run that differs most from it, where both are here."""

    @property
    def note(self) -> str:
        return " · ".join(self.notes)


def _rows(comparison: Comparison, pictures: Sequence[ComparedPicture]) -> list[Row]:
    """The finest rows that the budget allows; of the coarsest as many as fit."""
    rows: list[Row] = []
    for detail in DETAILS:
        rows = [_row(comparison, one, place, detail) for place, one in enumerate(pictures)]
        if _weight(rows) <= BUDGET:
            return rows
    while _weight(rows) > BUDGET:
        rows = rows[:-1]
    return rows


def _weight(rows: Sequence[Row]) -> int:
    return sum(len(view.picture.uri) for row in rows for view in row.views)


def _row(comparison: Comparison, picture: ComparedPicture, place: int, detail: Detail) -> Row:
    space = comparison.space
    layers = {"Image": embed(picture.image, detail=detail), "Truth": id_map(picture.truth, space, detail=detail)}
    drawn = [
        (run, id_map(ids, space, detail=detail)) for run, ids in zip(picture.runs, picture.predictions, strict=True)
    ]
    views = tuple(View(kind, one, f"picture-{place}-{at}") for at, (kind, one) in enumerate([*layers.items(), *drawn]))
    scores = dict(zip(comparison.names, zip(picture.gap.accuracy, picture.gap.miou, strict=True), strict=True))
    notes = tuple(f"{run} {percent(scores[run][0])} right, mIoU {percent(scores[run][1])}" for run in comparison.names)
    pair = (comparison.reference, picture.gap.run)
    both = all(run in picture.runs for run in pair)
    slide = (2 + picture.runs.index(pair[0]), 2 + picture.runs.index(pair[1])) if both else None
    return Row(picture, views, notes, slide)


def _legend(comparison: Comparison, pictures: Sequence[ComparedPicture]) -> list[LegendItem]:
    seen = {int(k) for one in pictures for ids in (one.truth, *one.predictions) for k in np.unique(ids)} - {IGNORE}
    return [LegendItem(k, name) for k, name in enumerate(comparison.space.class_names) if k in seen]


def _gallery(comparison: Comparison, rows: Sequence[Row]) -> dict[str, Any]:
    """What the viewer draws from; its form stands at the top of templates/layers.js."""
    pictures = []
    for row in rows:
        layers: list[dict[str, Any]] = [
            {"name": view.kind, "kind": "ids" if at else "picture", "src": f"#{view.id}"}
            for at, view in enumerate(row.views)
        ]
        errors = [
            {"name": f"Errors of {run}", "kind": "errors", "of": [1, 2 + at]} for at, run in enumerate(row.picture.runs)
        ]
        pictures.append({"name": row.picture.gap.name, "note": row.note, "truth": 1, "layers": layers + errors})
    return {**palettes(comparison.space), "pictures": pictures, "total": comparison.pictures}
