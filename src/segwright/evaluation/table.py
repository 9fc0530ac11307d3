"""The scores of each class as a table for terminals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from segwright.evaluation.result import Evaluation

NONE = "–"


def percent(value: float) -> str:
    """0.6234 -> "62.3"; an undefined number is an en dash, a share that is not zero never shows as 0.0."""
    if math.isnan(value):
        return NONE
    return "<0.1" if 0 < value < 0.0005 else f"{100 * value:.1f}"


def score_table(evaluation: Evaluation) -> Table:
    """One row a class: px % of the truth, IoU, precision, recall, F1, pictures with true pixels. Below: the means.

    Undefined scores show as "–". All scores are in per cent.
    """
    scores, rule = evaluation.scores, evaluation.rule
    table = Table(
        title=f"{escape(evaluation.run)} on {escape(evaluation.split)}: mIoU {percent(evaluation.miou)} %",
        caption=caption(evaluation),
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        caption_style="dim",
        show_footer=True,
    )
    table.add_column("class", footer="mean over classes")
    means = (
        ("px %", ""),
        ("IoU", percent(evaluation.miou)),
        ("precision", percent(scores.macro_precision)),
        ("recall", percent(rule.mean_accuracy(scores))),
        ("F1", percent(scores.macro_f1)),
        ("images", str(len(evaluation.names))),
    )
    for heading, footer in means:
        table.add_column(heading, footer=footer, justify="right", no_wrap=True)
    columns = (scores.share, rule.iou(scores), scores.precision, scores.recall, scores.f1)
    for k, name in enumerate(evaluation.space.class_names):
        style = None if scores.present[k] else "dim"
        table.add_row(escape(name), *(percent(float(c[k])) for c in columns), str(evaluation.images_K[k]), style=style)
    return table


def caption(evaluation: Evaluation) -> str:
    """What the numbers mean, in four lines: the protocol, the classes left out, the other means."""
    scores = evaluation.scores
    left_out = ", ".join(evaluation.left_out) or "none"
    kinds = {"macro": scores.macro_iou, "micro": scores.micro_iou, "weighted": scores.weighted_iou}
    lines = (
        f"Protocol {evaluation.rule.sentence}",
        f"Left out of the mean: {left_out}.",
        "IoU " + " · ".join(f"{kind} {percent(value)}" for kind, value in kinds.items()),
        f"Pixel accuracy {percent(scores.accuracy)} · mean class accuracy {percent(scores.mean_accuracy)} (all in %)",
    )
    return escape("\n".join(lines))
