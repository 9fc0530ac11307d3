"""The page: everything in one HTML file with no request to anywhere, readable without JavaScript.

Names of classes, files and runs are hostile until escaped: the templates escape everything by default, and the page
forbids any script but its own (a content security policy with the hash of the one script).
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from segwright.evaluation.hardest import Mistake, rank_pictures
from segwright.evaluation.result import Evaluation
from segwright.files import write_text
from segwright.report import wording
from segwright.report.colors import style_rules, to_hex
from segwright.report.content import MistakePicture, ReportPicture, RunReport
from segwright.report.curves import curves
from segwright.report.figures import iou_bars, picture_ranks
from segwright.report.frequency import correlate, frequency_figure
from segwright.report.pictures import class_picture, close_up, embed, error_picture, wrong_share
from segwright.report.tables import ClassRow, class_rows, confusion_cells, confusion_data

PARTS = ("answer", "curves", "classes", "confusion", "frequency", "pictures", "appendix", "reading")


def write_report(report: RunReport, path: Path) -> Path:
    """Write the page of one run to `path`, atomically. Returns the path. Raises OSError when it cannot be written."""
    return write_text(path, render_report(report))


def render_report(report: RunReport, *, written: datetime | None = None) -> str:
    """The page as text. written: the time in its footer, now by default."""
    style = _static("report.css") + "\n" + style_rules(report.evaluation.space)
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
    for name in ("percent", "points", "count", "number", "duration"):
        made.filters[name] = getattr(wording, name)
    made.filters["thousands"] = wording.count
    return made


def _static(name: str) -> str:
    return (resources.files("segwright.report") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _content(report: RunReport) -> dict[str, Any]:
    evaluation = report.evaluation
    scores, space = evaluation.scores, evaluation.space
    rows = class_rows(evaluation, report.history)
    iou_K = np.array([row.iou for row in rows])
    colors = [to_hex(item.color) for item in space.classes]
    link = correlate(scores.share, iou_K)
    ranked = {p.name: p.miou for p in rank_pictures(evaluation)}
    return {
        "report": report,
        "evaluation": evaluation,
        "scores": scores,
        "rule": evaluation.rule,
        "miou": evaluation.miou,
        "mean_accuracy": evaluation.rule.mean_accuracy(scores),
        "rows": rows,
        "means": _means(evaluation),
        "skyline": iou_bars(space.class_names, iou_K.tolist(), evaluation.miou),
        "why": why_low(rows, evaluation.miou),
        "caveats": caveats(evaluation),
        "mistakes": [_mistake_card(item) for item in report.mistakes],
        "curves": curves(report.history),
        "cells": confusion_cells(scores, space.class_names),
        "matrix": confusion_data(scores, space.class_names),
        "link": link,
        "scatter": frequency_figure(space.class_names, colors, scores.share, iou_K, link),
        "rankline": picture_ranks(list(ranked), list(ranked.values()), {p.name: p.role for p in report.pictures}),
        "picture_rows": [_picture_row(p, evaluation) for p in report.pictures],
        "legend": _legend(report.pictures, evaluation),
        "recipe": mark_yaml(report.recipe_text),
        "environment": list(flatten(report.environment)),
    }
