"""The page of a run: everything in one HTML file, readable without JavaScript."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from segwright.evaluation.error_budget import error_budget
from segwright.evaluation.hardest import rank_pictures, worst_mistakes
from segwright.report.answer import caveats, measures, mistake_card, where_lost, why_low
from segwright.report.appendix import data_table, fact_groups, mark_yaml
from segwright.report.chapters import CHAPTERS, Chapter
from segwright.report.colors import style_rules, to_hex
from segwright.report.content import RunReport
from segwright.report.curves import curves, time_spent
from segwright.report.figures import iou_bars, picture_ranks
from segwright.report.frequency import correlate, describe, frequency_figure
from segwright.report.gallery import gallery_data, legend, picture_row, within
from segwright.report.page import render_page, static, write_page
from segwright.report.pictures import DETAILS
from segwright.report.shelf import REST_SHARE, ShelfPicture
from segwright.report.tables import LEVELS, NAMED_CELLS, class_rows, confusion_cells, confusion_data

SECTIONS = {
    "answer": "Answer",
    "curves": "Curves",
    "classes": "Classes",
    "confusion": "Confusion",
    "frequency": "Frequency",
    "pictures": "Pictures",
    "recipe": "Recipe",
    "reading": "How to read",
}
COLUMNS = {
    "Share": "share of the labelled pixels that are this class in the truth",
    "IoU": "intersection over union",
    "Precision": "of what was called this class, the share that is it",
    "Recall": "of what is this class, the share that was found",
    "F1": "F1, which is Dice",
    "Pictures": "pictures with true pixels of this class",
}


def write_report(report: RunReport, path: Path) -> Path:
    """Write the page of one run to `path`, atomically. Returns the path. Raises UserError when it cannot be written."""
    return write_page(render_report(report), path)


def render_report(report: RunReport, *, written: datetime | None = None) -> str:
    """The page as text, within the report's budget where that can be. written: the time in its footer, now by default.

    Its own pictures come first, coarser ones where the budget is small; then as many of the shelf as there is room for.
    """
    style = static("report.css") + static("viewer.css") + static("chapters.css") + style_rules(report.evaluation.space)
    content, space = _content(report), report.evaluation.space

    def page(shelf: Sequence[ShelfPicture]) -> str:
        content["gallery"] = gallery_data(report.evaluation, content["picture_rows"], shelf)
        shown = len(content["gallery"]["pictures"])
        content["within"] = within(shown, report.evaluation)
        if shown < len(report.evaluation.names):
            content["within"] += f" For more or fewer: segwright report {report.run} --budget-mb N"
        return render_page("report.html", style=style, written=written, **content)

    needed = sum(one.bytes for one in report.shelf)
    for detail in DETAILS:
        content["picture_rows"] = [picture_row(p, space, place=n, detail=detail) for n, p in enumerate(report.pictures)]
        bare = page(())
        if (room := report.budget - len(bare.encode())) >= min(needed, (1 - REST_SHARE) * report.budget):
            break
    shelf = _fitting(report.shelf, room)
    text = page(shelf)
    while shelf and len(text.encode()) > report.budget:  # names and counts take some room too
        shelf = shelf[: len(shelf) * 9 // 10]
        text = page(shelf)
    return text


def _fitting(shelf: Sequence[ShelfPicture], room: int) -> list[ShelfPicture]:
    """The first pictures of the shelf that `room` bytes hold."""
    ends = itertools.accumulate(one.bytes for one in shelf)
    return [one for one, end in zip(shelf, ends, strict=True) if end <= room]


def _content(report: RunReport) -> dict[str, Any]:
    evaluation = report.evaluation
    scores, names = evaluation.scores, evaluation.space.class_names
    rows = class_rows(evaluation, report.history)
    ious = evaluation.rule.iou(scores)
    link = correlate(scores.share, ious)
    ranked = rank_pictures(evaluation)
    chapters = [made for chapter in CHAPTERS.values() if (made := chapter(report)) is not None]
    return {
        "sections": _sections(chapters).items(),
        "chapters": chapters,
        "report": report,
        "evaluation": evaluation,
        "scores": scores,
        "rule": evaluation.rule,
        "miou": evaluation.miou,
        "mean_accuracy": evaluation.rule.mean_accuracy(scores),
        "counted": sum(math.isfinite(row.iou) for row in rows),
        "ignored": int(evaluation.ignored_N.sum()),
        "why": " ".join(filter(None, (why_low(rows, evaluation.miou), where_lost(error_budget(evaluation))))),
        "caveats": caveats(evaluation),
        "measures": measures(evaluation),
        "skyline": iou_bars(names, ious.tolist(), evaluation.miou),
        "mistakes": [mistake_card(item) for item in report.mistakes],
        "curves": curves(report.history),
        "spent": time_spent(report.history),
        "columns": COLUMNS.items(),
        "rows": rows,
        "has_trend": any(row.trend for row in rows),
        "cells": confusion_cells(scores, names),
        "matrix": confusion_data(scores, names),
        "costly": worst_mistakes(evaluation, count=8),
        "levels": LEVELS,
        "named": NAMED_CELLS,
        "link": link,
        "link_sentence": describe(link),
        "scatter": frequency_figure(
            names, [to_hex(c.color) for c in evaluation.space.classes], scores.share, ious, link
        ),
        "unplaced": [row.name for row in rows if not row.share > 0],
        "rankline": picture_ranks(
            [p.name for p in ranked], [p.miou for p in ranked], {p.name: p.role for p in report.pictures}
        ),
        "legend": legend(report.pictures, evaluation.space),
        "recipe": mark_yaml(report.recipe_text),
        "data": data_table(report.data),
        "environment": fact_groups(report.environment),
    }


def _sections(chapters: list[Chapter]) -> dict[str, str]:
    """Anchors and titles in the order of the page: chapters stand before the pictures."""
    own = list(SECTIONS.items())
    place = list(SECTIONS).index("pictures")
    return dict([*own[:place], *((one.id, one.title) for one in chapters), *own[place:]])
