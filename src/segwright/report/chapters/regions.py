"""The chapter on borders, sizes and objects: where IoU hides what was drawn badly or not found at all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from segwright.report.chapters.chapter import Chapter
from segwright.report.content import RunReport
from segwright.report.figures import Frame, Scale, hit, tag
from segwright.report.page import render_part
from segwright.report.wording import bare, count, percent

MOST_ROWS = 20
"""Classes in the chart: those that lose most at their borders."""
FORM = "segnet"
"""The tolerance of boundary F in the table."""
CLEAR = 0.01
"""A class is named when it loses at least this much of its IoU at the borders."""


@dataclass(frozen=True)
class RegionRow:
    """One class: scores as floats in 0..1, NaN where undefined or not measured. lost: IoU minus boundary IoU."""

    id: int
    name: str
    iou: float
    boundary_iou: float
    boundary_f: float
    recall: tuple[float, ...]
    regions: int
    missed: int

    @property
    def lost(self) -> float:
        return round(self.iou - self.boundary_iou, 4) + 0.0  # no "-0.0"

    @property
    def missed_share(self) -> float:
        return self.missed / self.regions if self.regions else math.nan


def regions_chapter(report: RunReport) -> Chapter | None:
    """Borders and sizes; None for an evaluation without these measures."""
    measures = report.evaluation.measures
    boundary, sizes, objects = (measures.get(name) for name in ("boundary", "sizes", "instances"))
    if objects is not None and not objects["objects"]:
        objects = None
    if boundary is None and sizes is None and objects is None:
        return None
    rows = _rows(report, boundary, sizes)
    html = render_part(
        "regions.html",
        boundary=boundary,
        sizes=sizes,
        objects=objects,
        rows=rows,
        form=FORM,
        borders_say=_borders_say(rows) if boundary else "",
        sizes_say=_sizes_say(rows, sizes) if sizes else "",
        objects_say=_objects_say(objects) if objects else "",
        border_chart=_border_chart(rows) if boundary else None,
        size_chart=_size_chart(sizes) if sizes else None,
        ids={name: k for k, name in enumerate(report.evaluation.space.class_names)},
    )
    return Chapter("regions", "Borders", html)


def _rows(report: RunReport, boundary: Mapping[str, Any] | None, sizes: Mapping[str, Any] | None) -> list[RegionRow]:
    evaluation = report.evaluation
    names, ious = evaluation.space.class_names, evaluation.rule.iou(evaluation.scores).tolist()
    bands: Mapping[str, Any] = boundary["boundary_iou"]["classes"] if boundary else {}
    contours: Mapping[str, Any] = boundary["boundary_f"]["tolerances"][FORM]["classes"] if boundary else {}
    rows = []
    for k, name in enumerate(names):
        by_size = list(sizes["classes"][name].values()) if sizes else []
        rows.append(
            RegionRow(
                id=k,
                name=name,
                iou=ious[k],
                boundary_iou=_number(bands.get(name)),
                boundary_f=_number(contours.get(name)),
                recall=tuple(_number(size["recall"]) for size in by_size),
                regions=sum(size["regions"] for size in by_size),
                missed=sum(size["missed"] for size in by_size),
            )
        )
    return rows


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _borders_say(rows: Sequence[RegionRow]) -> str:
    known = [row for row in rows if math.isfinite(row.lost)]
    if not known:
        return "No class has a border to judge."
    worst = max(known, key=lambda row: row.lost)
    if worst.lost < CLEAR:
        return "No class loses much at its borders: what is wrong lies inside, or is a whole region."
    return (
        f"Borders cost {worst.name} most: its IoU is {percent(worst.iou)}, but only {percent(worst.boundary_iou)} in the "
        "band along them."
    )


def _sizes_say(rows: Sequence[RegionRow], sizes: Mapping[str, Any]) -> str:
    told = [f"{size} {percent(found['recall'])}" for size, found in sizes["all"].items() if found["regions"]]
    if not told:
        return "There is no true region to find."
    said = f"Share of true pixels found, by size of their region: {', '.join(told)}."
    blind = [row for row in rows if row.missed]
    if not blind:
        return f"{said} No region was missed altogether."
    worst = max(blind, key=lambda row: (row.missed_share, row.missed))
    return (
        f"{said} Missed most often is {worst.name}: {count(worst.missed)} of its {count(worst.regions)} regions were hardly "
        "found at all."
    )


def _objects_say(objects: Mapping[str, Any]) -> str:
    return (
        f"The set has {count(objects['objects'])} true objects. A region of the prediction matched "
        f"{percent(objects['recall'])} of them, as a mean over the thing classes. Panoptic quality is "
        f"{percent(objects['all']['pq'])} over all classes, {percent(objects['things']['pq'])} for things and "
        f"{percent(objects['stuff']['pq'])} for stuff."
    )


def _border_chart(rows: Sequence[RegionRow]) -> Markup | None:
    """One line a class from its IoU to its boundary IoU, the largest loss first."""
    shown = sorted((row for row in rows if math.isfinite(row.lost)), key=lambda row: (-row.lost, row.id))[:MOST_ROWS]
    if not shown:
        return None
    longest = min(max(len(row.name) for row in shown), 18)
    step = 24
    frame = Frame(520, 44 + step * len(shown), left=longest * 7 + 18, right=16, top=6, bottom=38)
    x = Scale(0, 1, *frame.x_range)
    parts = [frame.x_axis(x, [0, 0.25, 0.5, 0.75, 1], lambda t: f"{t * 100:.0f}", "per cent")]
    for index, row in enumerate(shown):
        y = frame.top + step * (index + 0.5)
        name = row.name if len(row.name) <= 18 else row.name[:17] + "…"
        own, band = x(row.iou), x(row.boundary_iou)
        marks = (
            tag("text", name, x=frame.left - 10, y=y + 4, class_="tick end", aria_hidden="true")
            + tag("line", x1=frame.left, x2=frame.width - frame.right, y1=y, y2=y, class_="grid")
            + tag("line", x1=own, x2=band, y1=y, y2=y, class_="gap")
            + tag("circle", cx=own, cy=y, r=5, class_="dot a")
            + tag("rect", x=band - 4.5, y=y - 4.5, width=9, height=9, class_="dot b")
        )
        area = tag("rect", x=frame.left, y=y - step / 2, width=frame.x_range[1] - frame.left, height=step)
        title = f"{row.name}\nIoU {percent(row.iou)}\nboundary IoU {percent(row.boundary_iou)}"
        parts += [marks, hit(title, area, (own + band) / 2, [y])]
    told = "; ".join(f"{row.name} {bare(row.iou)} and {bare(row.boundary_iou)}" for row in shown)
    return frame.svg(f"IoU and boundary IoU of each class in per cent, the largest loss first: {told}.", parts, "pairs")


def _size_chart(sizes: Mapping[str, Any]) -> Markup | None:
    """Recall of each size as a bar, at its right how many regions were missed."""
    found = [(name, one) for name, one in sizes["all"].items() if one["regions"]]
    if not found:
        return None
    frame = Frame(520, 40 + 44 * len(found), left=70, right=150, top=4, bottom=36)
    x = Scale(0, 1, *frame.x_range)
    parts = [frame.x_axis(x, [0, 0.25, 0.5, 0.75, 1], lambda t: f"{t * 100:.0f}", "per cent of true pixels found")]
    for index, (name, one) in enumerate(found):
        top = frame.top + 44 * index
        missed = f"{count(one['missed'])} of {count(one['regions'])} missed"
        end = x(one["recall"])
        bar = tag("rect", x=frame.left, y=top + 8, width=end - frame.left, height=26, rx=3, class_="bar")
        label = tag("text", name, x=frame.left - 10, y=top + 25, class_="tick end", aria_hidden="true")
        note = tag("text", missed, x=frame.width, y=top + 25, class_="tick end", aria_hidden="true")
        area = tag("rect", x=frame.left, y=top, width=frame.x_range[1] - frame.left, height=44)
        title = f"{name}\n{percent(one['recall'])} of the pixels found\n{missed}\nmatched IoU {percent(one['iou'])}"
        parts += [bar, label, note, hit(title, area, end, [top + 21])]
    told = "; ".join(
        f"{name} {percent(one['recall'])}, {count(one['missed'])} of {count(one['regions'])} regions missed"
        for name, one in found
    )
    return frame.svg(f"Share of true pixels found by size of their region: {told}.", parts, "bars sizes")
