"""Rows of the per-class table and cells of the confusion matrix, from counts.

Letters: N pictures, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from segwright.evaluation.result import Evaluation
from segwright.metrics.scores import Scores
from segwright.report.figures import sparkline
from segwright.report.wording import NONE, count, percent

LEVELS = 12  # steps of the confusion matrix's colour scale, beside 0
NAMED_CELLS = 40  # up to so many classes the cells carry numbers and texts of their own


@dataclass(frozen=True)
class ClassRow:
    """One class: its scores as floats in 0..1 (NaN where undefined) and what it is mostly taken for."""

    id: int
    name: str
    share: float
    iou: float
    precision: float
    recall: float
    f1: float
    images: int
    taken_id: int
    taken_for: str
    taken_share: float
    trend: Markup | None


def class_rows(evaluation: Evaluation, history: Sequence[Mapping[str, Any]]) -> list[ClassRow]:
    """One row a class, in the order of the label space."""
    names, scores = evaluation.space.class_names, evaluation.scores
    iou_K = evaluation.rule.iou(scores)
    rates_KK = scores.confusion("truth")
    trends = [row["iou"] for row in history if row.get("kind") == "val" and isinstance(row.get("iou"), Mapping)]
    rows = []
    for k, name in enumerate(names):
        rate_K = np.nan_to_num(rates_KK[k])
        rate_K[k] = 0.0
        other = int(rate_K.argmax())
        values = [trend.get(name) for trend in trends]
        told = f"IoU of {name} over training: from {percent(values[0])} to {percent(values[-1])}" if values else ""
        rows.append(
            ClassRow(
                id=k,
                name=name,
                share=float(scores.share[k]),
                iou=float(iou_K[k]),
                precision=float(scores.precision[k]),
                recall=float(scores.recall[k]),
                f1=float(scores.f1[k]),
                images=int(evaluation.images_K[k]),
                taken_id=other,
                taken_for=names[other] if rate_K[other] > 0 else "",
                taken_share=float(rate_K[other]),
                trend=sparkline(values, label=told) if len(values) > 1 and any(values) else None,
            )
        )
    return rows


@dataclass(frozen=True)
class Cell:
    """One cell of the confusion matrix as first shown: shade class, percent of the truth, text to point at."""

    shade: str
    text: str
    title: str


def level(rate: float) -> int:
    """Shade of a rate in 0..1: 0 only for nothing at all, else 1..LEVELS by its square root (small errors show)."""
    return max(1, math.floor(math.sqrt(rate) * LEVELS + 0.5)) if rate > 0 else 0


def whole_percent(rate: float) -> str:
    """A rate as a bare number of percent; empty below half a percent."""
    return f"{math.floor(rate * 100 + 0.5)}" if rate >= 0.005 else ""


def confusion_cells(scores: Scores, names: Sequence[str]) -> list[list[Cell]]:
    """Rows are the truth, columns the prediction; rates over the truth."""
    counts_KK, truth_KK, found_KK = scores.counts_KK, scores.confusion("truth"), scores.confusion("prediction")
    small = len(names) <= NAMED_CELLS
    rows = []
    for t, truth in enumerate(names):
        row = []
        for p, found in enumerate(names):
            rate = 0.0 if math.isnan(truth_KK[t, p]) else float(truth_KK[t, p])
            title = (
                f"{truth} called {found}: {count(counts_KK[t, p])} pixels, {rate_text(truth_KK[t, p])} of the truth, "
                f"{rate_text(found_KK[t, p])} of the predictions"
            )
            shade = f"{'h' if t == p else 'm'}{level(rate)}"
            row.append(Cell(shade, whole_percent(rate) if small else "", title if small else ""))
        rows.append(row)
    return rows


def rate_text(rate: float) -> str:
    return NONE if math.isnan(rate) else percent(rate)


def confusion_data(scores: Scores, names: Sequence[str]) -> dict[str, Any]:
    """What the page's script needs to show counts and both rates of any cell."""
    return {"names": list(names), "counts": scores.counts_KK.tolist(), "levels": LEVELS, "named": NAMED_CELLS}
