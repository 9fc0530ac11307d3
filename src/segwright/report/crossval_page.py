"""The report of a cross-validation: one page with every fold, stage and candidate, and a close look at the winner."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from segwright.build import build_scored_set, prediction_map
from segwright.evaluation.crossval_result import CrossvalResult
from segwright.evaluation.hardest import PictureScore, rank_pictures, worst_mistakes
from segwright.evaluation.result import Evaluation
from segwright.inference.predictor import Predictor
from segwright.models.converted import in_space
from segwright.models.weights import load_segmenter
from segwright.recipe import dump
from segwright.report.answer import caveats
from segwright.report.appendix import mark_yaml
from segwright.report.colors import style_rules, to_hex
from segwright.report.content import ReportPicture
from segwright.report.crossval_figures import (
    RoundCurves,
    candidate_chart,
    correlate_weights,
    fold_chart,
    fold_color,
    spread_chart,
    weight_figure,
)
from segwright.report.figures import iou_bars, picture_ranks
from segwright.report.frequency import correlate, describe, frequency_figure
from segwright.report.gallery import PictureRow, gallery_data, legend, picture_row, within
from segwright.report.html import COLUMNS
from segwright.report.page import render_page, static, write_page
from segwright.report.tables import LEVELS, NAMED_CELLS, class_rows, confusion_cells, confusion_data
from segwright.report.wording import duration, number, percent

PICTURES = 30
SECTIONS = {
    "answer": "Answer",
    "candidates": "Candidates",
    "folds": "Folds",
    "curves": "Curves",
    "classes": "Classes",
    "confusion": "Confusion",
    "frequency": "Frequency",
    "weights": "Weights",
    "pictures": "Pictures",
    "recipe": "Recipe",
}


def write_crossval_page(result: CrossvalResult) -> Path:
    """Write report.html into the folder, atomically. Returns its path. Raises UserError when it cannot be written."""
    return write_page(render_crossval_page(result), result.report)


def render_crossval_page(result: CrossvalResult) -> str:
    """The page as text, one file that loads nothing."""
    shown = result.test or result.winner.evaluation
    style = static("report.css") + static("viewer.css") + static("crossval.css") + style_rules(shown.space)
    return render_page("crossval.html", style=style, **_content(result, shown))


def class_weights_of(args: Mapping[str, Any]) -> list[float] | None:
    """The class weights in the arguments of a resolved loss, or of the first loss of a sum that has any."""
    own = args.get("class_weights")
    if isinstance(own, list | tuple):
        return [float(value) for value in own]
    parts = args.get("losses")
    found = [
        class_weights_of(part["args"])
        for part in (parts if isinstance(parts, list) else ())
        if isinstance(part, Mapping) and isinstance(part.get("args"), Mapping)
    ]
    return next((weights for weights in found if weights is not None), None)


def _content(result: CrossvalResult, shown: Evaluation) -> dict[str, Any]:
    """shown: what the close look at the winner is of, the test split where there is one."""
    scores, names = shown.scores, shown.space.class_names
    ious = shown.rule.iou(scores)
    rows = class_rows(shown, [])
    link = correlate(scores.share, ious)
    colors = [to_hex(c.color) for c in shown.space.classes]
    ranked = rank_pictures(shown)
    pictures, picture_rows = _pictures(result, shown, ranked)
    weights, weights_from = _weights(result)
    usable = weights is not None and len(weights) == len(names)
    return {
        "sections": SECTIONS.items(),
        "result": result,
        "settings": result.crossval.settings,
        "evaluation": shown,
        "scores": scores,
        "rule": shown.rule,
        "miou": shown.miou,
        "mean_accuracy": shown.rule.mean_accuracy(scores),
        "caveats": [*result.caveats, *caveats(shown)],
        "candidate_chart": candidate_chart(result.rounds),
        "spread_chart": spread_chart(result.rounds),
        "conditions": result.winner.interval.conditions,
        "fold_colors": [(n, fold_color(n)) for n in result.crossval.numbers],
        "curves": _curves(result),
        "spent": duration(math.fsum(fold.seconds for one in result.rounds for fold in one.folds)),
        "skyline": iou_bars(names, ious.tolist(), shown.miou),
        "columns": COLUMNS.items(),
        "rows": rows,
        "has_trend": False,
        "cells": confusion_cells(scores, names),
        "matrix": confusion_data(scores, names),
        "costly": worst_mistakes(shown, count=8),
        "levels": LEVELS,
        "named": NAMED_CELLS,
        "link": link,
        "link_sentence": describe(link),
        "scatter": frequency_figure(names, colors, scores.share, ious, link),
        "unplaced": [row.name for row in rows if not row.share > 0],
        "weights_from": weights_from,
        "weight_link": correlate_weights(weights or [], ious.tolist()) if usable else None,
        "weight_chart": weight_figure(names, colors, weights or [], ious.tolist()) if usable else None,
        "rankline": picture_ranks([p.name for p in ranked], [p.miou for p in ranked], {}),
        "picture_rows": picture_rows,
        "gallery": gallery_data(shown, picture_rows),
        "within": within(len(picture_rows), shown),
        "legend": legend(pictures, shown.space),
        "recipe": mark_yaml(dump(result.crossval.base)),
    }


def _curves(result: CrossvalResult) -> list[tuple[str, str, Any]]:
    """(title, note, chart) of what is drawn for each fold."""
    rounds = [_round_curves(one) for one in result.rounds]
    charts = [
        (
            "Validation mIoU",
            "in %, on the pictures that each fold held out",
            fold_chart("Validation mIoU", rounds, "val", "miou", form=percent, percents=True),
        ),
        ("Training loss", "mean over each epoch", fold_chart("Training loss", rounds, "train", "loss", form=number)),
        (
            "Validation loss",
            "on the pictures that each fold held out",
            fold_chart("Validation loss", rounds, "val", "loss", form=number),
        ),
    ]
    return [chart for chart in charts if chart[2] is not None]


def _round_curves(one: Any) -> RoundCurves:
    folds = {fold.number: fold.run.metrics() for fold in one.folds}
    return RoundCurves(one.round.name, one.round.epochs_before, folds)


def _weights(result: CrossvalResult) -> tuple[list[float] | None, str]:
    """Mean over folds of the class weights of the last stage that had any, and where they come from."""
    from segwright.recipe import load_recipe
    from segwright.recipe.stages import stage_recipes

    for one in reversed(result.rounds):
        recipes = [load_recipe(fold.run.recipe_file).recipe for fold in one.folds]
        last = [stage_recipes(recipe)[::-1] for recipe in recipes]
        for stages in zip(*last, strict=True):
            found = [class_weights_of(stage.recipe.loss.args) for stage in stages]
            numbers = [weights for weights in found if weights is not None]
            if len(numbers) == len(found):
                name = one.round.name or stages[0].name
                where = "" if name is None else f" of stage “{name}”"
                return np.mean(numbers, axis=0).tolist(), f"Weights of the loss{where}, mean over the folds."
    return None, ""


def _pictures(
    result: CrossvalResult, shown: Evaluation, ranked: tuple[PictureScore, ...]
) -> tuple[list[ReportPicture], list[PictureRow]]:
    """Up to PICTURES pictures from the best to the worst, at even steps of rank, predicted by the winner."""
    base = result.crossval.base
    dataset = build_scored_set(base.data, shown.split, shown.space)
    segmenter = load_segmenter(result.winner_file)
    predictor = Predictor(
        in_space(segmenter, prediction_map(segmenter.labels, shown.space)), memory_format="channels_last"
    )
    count = min(PICTURES, len(ranked))
    places = sorted({round(i * (len(ranked) - 1) / max(1, count - 1)) for i in range(count)})
    pictures: list[ReportPicture] = []
    rows: list[PictureRow] = []
    for place in places:
        score = ranked[place]
        sample = dataset[score.index]
        truth = sample.labels if sample.labels is not None else np.full(sample.rgb.shape[:2], 255, np.uint8)
        picture = ReportPicture(
            name=score.name,
            role="median",
            image=sample.rgb,
            truth=truth,
            prediction=predictor.predict(sample.rgb),
            miou=score.miou,
        )
        pictures.append(picture)
        rows.append(
            replace(picture_row(picture, shown.space, place=len(rows)), role=f"rank {place + 1} of {len(ranked)}")
        )
    return pictures, rows
