"""The page: everything in one HTML file that requests nothing from anywhere and is readable without JavaScript.

Names of classes, files and runs are hostile until escaped: the templates escape everything by default, and the page
allows no script but its own (a content security policy with the hash of that one script).
"""

from __future__ import annotations

import base64
import hashlib
import math
from datetime import UTC, datetime
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from segwright.contracts import UserError
from segwright.evaluation.hardest import rank_pictures, worst_mistakes
from segwright.files import write_text
from segwright.report import wording
from segwright.report.answer import caveats, measures, mistake_card, why_low
from segwright.report.appendix import data_table, fact_groups, mark_yaml
from segwright.report.colors import style_rules, to_hex
from segwright.report.content import RunReport
from segwright.report.curves import curves, time_spent
from segwright.report.figures import iou_bars, picture_ranks
from segwright.report.frequency import correlate, describe, frequency_figure
from segwright.report.gallery import legend, picture_row
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
    page = render_report(report)
    try:
        return write_text(path, page)
    except OSError as error:
        raise UserError(
            f"{path}: the report cannot be written ({error.strerror}). Free the path or make its folder writable, then "
            "write it again."
        ) from error


def render_report(report: RunReport, *, written: datetime | None = None) -> str:
    """The page as text. written: the time in its footer, now by default."""
    style = _static("report.css") + style_rules(report.evaluation.space)
    script = _static("report.js")
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )
    return (
        _environment()
        .get_template("report.html")
        .render(
            policy=policy,
            style=Markup(style),
            script=Markup(script),
            version=metadata.version("segwright"),
            written=(written or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
            **_content(report),
        )
    )


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("segwright.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": wording.percent,
        "bare": wording.bare,
        "points": wording.points,
        "thousands": wording.count,
        "coefficient": wording.coefficient,
        "sentence": lambda text: text[:1].upper() + text[1:],
    }
    return made


def _static(name: str) -> str:
    return (resources.files("segwright.report") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _content(report: RunReport) -> dict[str, Any]:
    evaluation = report.evaluation
    scores, names = evaluation.scores, evaluation.space.class_names
    rows = class_rows(evaluation, report.history)
    ious = evaluation.rule.iou(scores)
    link = correlate(scores.share, ious)
    ranked = rank_pictures(evaluation)
    return {
        "sections": SECTIONS.items(),
        "report": report,
        "evaluation": evaluation,
        "scores": scores,
        "rule": evaluation.rule,
        "miou": evaluation.miou,
        "mean_accuracy": evaluation.rule.mean_accuracy(scores),
        "counted": sum(math.isfinite(row.iou) for row in rows),
        "ignored": int(evaluation.ignored_N.sum()),
        "why": why_low(rows, evaluation.miou),
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
        "picture_rows": [picture_row(picture, evaluation.space) for picture in report.pictures],
        "legend": legend(report.pictures, evaluation.space),
        "recipe": mark_yaml(report.recipe_text),
        "data": data_table(report.data),
        "environment": fact_groups(report.environment),
    }
