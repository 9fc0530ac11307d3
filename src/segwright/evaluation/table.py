"""The scores of each class as a table for terminals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from segwright.evaluation.result import applied_words

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

    A protocol's own scores are further columns (iIoU of Cityscapes, F of the SUIM paper), and its categories further rows.
    Undefined scores show as "–". All scores are in per cent.
    """
    scores, rule = evaluation.scores, evaluation.rule
    table = Table(
        title=f"{escape(evaluation.run)} on {escape(evaluation.split)}: mIoU {percent(evaluation.miou)} %{_size(evaluation)}",
        caption=caption(evaluation),
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        caption_style="dim",
        show_footer=True,
    )
    table.add_column("class", footer="mean over classes")
    own = _own_columns(evaluation)
    means = (
        ("px %", ""),
        ("IoU", percent(evaluation.miou)),
        *((heading, _cell(mean)) for heading, _, mean in own),
        ("precision", percent(scores.macro_precision)),
        ("recall", percent(rule.mean_accuracy(scores))),
        ("F1", percent(scores.macro_f1)),
        ("images", str(len(evaluation.names))),
    )
    for heading, footer in means:
        table.add_column(heading, footer=footer, justify="right", no_wrap=True)
    columns = (scores.precision, scores.recall, scores.f1)
    for k, name in enumerate(evaluation.space.class_names):
        style = None if scores.present[k] else "dim"
        cells = [percent(float(c[k])) for c in (scores.share, evaluation.iou_K)]
        cells += [_cell(values.get(name)) for _, values, _ in own]
        cells += [percent(float(c[k])) for c in columns]
        table.add_row(escape(name), *cells, str(evaluation.images_K[k]), style=style)
    _add_categories(table, evaluation)
    return table


def _size(evaluation: Evaluation) -> str:
    size = "" if evaluation.at is None else f" at {evaluation.at}, not the original size"
    return f"{size}, {applied_words(evaluation.applied)}" if evaluation.applied else size


def _own_columns(evaluation: Evaluation) -> list[tuple[str, dict[str, float | None], float | None]]:
    """What the protocol measures of classes besides IoU: heading, value by class, mean."""
    classes, averages = evaluation.official.get("classes", {}), evaluation.official.get("averages", {})
    return [
        (heading, {name: found[key] for name, found in classes.items()}, averages.get(key))
        for key, heading in (("iiou", "iIoU"), ("f", "F"))
        if classes and key in averages
    ]


def _add_categories(table: Table, evaluation: Evaluation) -> None:
    """Rows of the protocol's categories: IoU and iIoU, under those of the classes."""
    categories, averages = evaluation.official.get("categories", {}), evaluation.official.get("averages", {})
    if not categories:
        return
    wide = bool(evaluation.official["classes"])  # without classes, in cityscapes7, there is no column iIoU
    table.add_section()
    rows = {f"{name} (category)": (found["iou"], found["iiou"]) for name, found in categories.items()}
    rows["mean over categories"] = (averages["category_iou"], averages["category_iiou"])
    for name, (iou, iiou) in rows.items():
        table.add_row(escape(name), "", _cell(iou), *([_cell(iiou)] if wide else []))


def _cell(value: float | None) -> str:
    return NONE if value is None else percent(value)


def caption(evaluation: Evaluation) -> str:
    """What the numbers mean, in a few lines: the protocol, its numbers, the classes left out, the other means."""
    scores, rule = evaluation.scores, evaluation.rule
    left_out = ", ".join(evaluation.left_out) or "none"
    kinds = {"macro": scores.macro_iou, "micro": scores.micro_iou, "weighted": scores.weighted_iou}
    lines = [
        f"Protocol {evaluation.definition}",
        *(
            [" · ".join(f"{name} {percent(v)}" for name, v in rule.numbers(scores).items())]
            if len(rule.headline) > 1
            else []
        ),
        *_instances(evaluation),
        f"Left out of the mean: {left_out}.",
        "IoU " + " · ".join(f"{kind} {percent(value)}" for kind, value in kinds.items()),
        f"Pixel accuracy {percent(scores.accuracy)} · mean class accuracy {percent(scores.mean_accuracy)} (all in %)",
    ]
    if not rule.counted:
        lines[-2:] = ["Precision, recall, F1 and px % are of pooled pixels at original size (all in %)"]
    if evaluation.missed_NK is not None:
        share = evaluation.missed_NK.sum() / scores.pixels
        lines.append(f"{percent(share)} % of the labelled pixels are predicted as no class, which is a miss.")
    return escape("\n".join(lines))


def _instances(evaluation: Evaluation) -> list[str]:
    """Where the protocol scores instances: over how many, or that there were no maps."""
    if not evaluation.rule.instances:
        return []
    found = evaluation.official.get("instances")
    averages = evaluation.official.get("averages", {})
    if found is None:
        return ["No instance maps were read: iIoU is undefined."]
    text = f"category IoU {_cell(averages['category_iou'])} · category iIoU {_cell(averages['category_iiou'])}"
    return [f"iIoU {_cell(averages['iiou'])} over {found} instances · {text}"]
