"""Charts of a cross-validation: curves of every fold and stage, scores across folds, candidates with their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from segwright.evaluation.candidates import RoundResult
from segwright.metrics.intervals import Interval
from segwright.report.curves import points
from segwright.report.figures import (
    MAX_HITS,
    Frame,
    Scale,
    covering_ticks,
    hit,
    nice_ticks,
    polyline,
    stage_borders,
    tag,
    thin_out,
    zones,
)
from segwright.report.frequency import Box, Correlation, correlate, place_labels
from segwright.report.wording import number, percent

COLORS = 8
"""Folds that have a colour of their own; further ones begin again."""
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class RoundCurves:
    """The rows of metrics.jsonl of each fold of a round, and the epochs that were trained before it."""

    name: str | None
    before: int
    folds: Mapping[int, Rows]


def fold_color(number: int) -> str:
    """The colour slot of a fold, 1 for the first."""
    return f"f{(number - 1) % COLORS + 1}"


def fold_chart(
    title: str,
    rounds: Sequence[RoundCurves],
    kind: str,
    key: str,
    *,
    form: Callable[[float], str],
    percents: bool = False,
) -> Markup | None:
    """One value of every fold over all epochs: a line a fold, cut where a stage begins; None without a point."""
    lines = [
        (number, tuple((at + one.before, value) for at, value in points(rows, kind, key)))
        for one in rounds
        for number, rows in one.folds.items()
    ]
    lines = [(fold, line) for fold, line in lines if line]
    if not lines:
        return None
    stages = tuple((float(one.before), one.name) for one in rounds if one.name is not None)
    frame = Frame(560, 290, right=16, top=26 if stages else 12, bottom=38)
    xs = sorted({at for _, line in lines for at, _ in line})
    values = [value for _, line in lines for _, value in line]
    ticks = covering_ticks(min(0.0, *values), max(*values, 1e-9), 4)
    x, y = Scale(min(xs[0], 1.0), xs[-1], *frame.x_range), Scale(ticks[0], ticks[-1], *frame.y_range)
    parts = [frame.y_axis(y, ticks, (lambda v: f"{v * 100:.0f}") if percents else form)]
    whole = [t for t in nice_ticks(x.low, x.high, 6) if t == int(t)] or [xs[0]]
    parts.append(frame.x_axis(x, whole, lambda t: f"{t:.0f}", "epoch"))
    if stages:
        parts.append(stage_borders(frame, stages, x, named=True))
    parts += [polyline(line, x, y, fold_color(fold)) for fold, line in lines]
    shown = thin_out(xs, MAX_HITS)
    for at, (left, right) in zip(shown, zones([x(v) for v in shown], *frame.x_range), strict=True):
        here = [(fold, value) for fold, line in lines for px, value in line if px == at]
        stage = [name for start, name in stages if start < at][-1:]
        text = "\n".join([f"epoch {at:.0f}", *stage, *(f"fold {fold} {form(value)}" for fold, value in here)])
        area = tag("rect", x=left, y=frame.top, width=right - left, height=frame.height - frame.top - frame.bottom)
        parts.append(hit(text, area, x(at), [y(value) for _, value in here]))
    told = "; ".join(f"fold {fold} ends at {form(line[-1][1])} in epoch {line[-1][0]:.0f}" for fold, line in lines)
    return frame.svg(f"{title}: {told}.", parts, "lines")


def spread_chart(rounds: Sequence[RoundResult]) -> Markup:
    """mIoU of each fold on its held-out pictures, a column a stage; the mean as a line, one deviation to each side."""
    frame = Frame(960, 300, left=40, bottom=48, top=16)
    scores = [fold.miou for one in rounds for fold in one.folds if math.isfinite(fold.miou)]
    ticks = _around(scores)
    y = Scale(ticks[0], ticks[-1], *frame.y_range)
    slot = (frame.x_range[1] - frame.x_range[0]) / len(rounds)
    parts = [frame.y_axis(y, ticks, _tick(ticks))]
    for place, one in enumerate(rounds):
        middle = frame.left + slot * (place + 0.5)
        wide = min(slot * 0.7, 260.0)
        mean, deviation = one.spread
        low, high = (min(max(mean + side * deviation, ticks[0]), ticks[-1]) for side in (-1, 1))
        parts.append(
            tag("rect", x=middle - wide / 2, y=y(high), width=wide, height=y(low) - y(high), class_="deviation")
        )
        parts.append(tag("line", x1=middle - wide / 2, x2=middle + wide / 2, y1=y(mean), y2=y(mean), class_="mean"))
        for index, fold in enumerate(one.folds):
            at = middle - wide / 2 + wide * (index + 0.5) / len(one.folds)
            if not math.isfinite(fold.miou):
                continue
            dot = tag("circle", cx=at, cy=y(fold.miou), r=6, class_=f"dot {fold_color(fold.number)}")
            text = f"fold {fold.number}\nmIoU {percent(fold.miou)}\nepoch {fold.epoch}\n{len(fold.evaluation.names)} pictures"
            parts.append(
                hit(text, dot + tag("circle", cx=at, cy=y(fold.miou), r=14, class_="area"), at, [y(fold.miou)])
            )
        room = max(3, int(slot / 7))
        title = one.round.title if len(one.round.title) <= room else f"{one.round.title[: room - 1]}…"
        for text, below in ((title, 28), (f"{percent(mean)} ± {100 * deviation:.1f}", 44)):
            parts.append(tag("text", text, x=middle, y=y(ticks[0]) + below - 8, class_="label middle"))
    told = "; ".join(
        f"{one.round.title}: " + ", ".join(f"fold {fold.number} {percent(fold.miou)}" for fold in one.folds)
        for one in rounds
    )
    return frame.svg(f"mIoU of each fold on the pictures that it held out. {told}.", parts, "dots-of-folds")


def candidate_chart(rounds: Sequence[RoundResult]) -> Markup:
    """The candidates of each stage side by side: a dot with its interval, the winner filled."""
    rows = [(one, candidate) for one in rounds for candidate in one.candidates]
    line, head = 34, 26 if len(rounds) > 1 else 0
    height = 16 + len(rows) * line + len(rounds) * head + 44
    frame = Frame(960, height, left=190, right=130, top=16, bottom=44)
    bounds = [v for _, c in rows for v in (c.interval.low, c.interval.high, c.miou) if math.isfinite(v)]
    ticks = _around(bounds)
    x = Scale(ticks[0], ticks[-1], *frame.x_range)
    floor = height - frame.bottom
    parts = [tag("line", x1=x(t), x2=x(t), y1=frame.top, y2=floor, class_="grid") for t in ticks]
    parts.append(frame.x_axis(x, ticks, _tick(ticks), "mIoU in %, with its 95 % interval"))
    at = float(frame.top)
    for one in rounds:
        if head:
            parts.append(tag("text", one.round.title, x=0, y=at + 17, class_="stage-name"))
            at += head
        for candidate in one.candidates:
            won, middle = candidate is one.winner, at + line / 2
            name = tag(
                "text", candidate.name, x=frame.left - 14, y=middle + 4, class_=f"end {'won' if won else 'tick'}"
            )
            parts.append(name)
            found = candidate.interval
            drawn = [_whisker(found, x, middle)] if math.isfinite(found.low) else []
            drawn.append(tag("circle", cx=x(found.value), cy=middle, r=6, class_=f"candidate {'won' if won else ''}"))
            area = tag("rect", x=frame.left, y=at, width=frame.x_range[1] - frame.left, height=line)
            text = f"{candidate.name}\nmIoU {_range(found)}\nof folds {', '.join(map(str, candidate.folds))}"
            parts.append(hit(text, Markup("").join([*drawn, area]), x(found.value), [middle]))
            label = f"{percent(found.value)}{' · winner' if won else ''}"
            parts.append(tag("text", label, x=frame.x_range[1] + 10, y=middle + 4, class_="won" if won else "tick"))
            at += line
    told = "; ".join(f"{one.round.title}, {c.name}: {_range(c.interval)}" for one, c in rows)
    return frame.svg(f"Candidates on the common split. {told}.", parts, "candidates")


def _whisker(found: Interval, x: Scale, y: float) -> Markup:
    ends = [tag("line", x1=x(v), x2=x(v), y1=y - 5, y2=y + 5, class_="whisker") for v in (found.low, found.high)]
    return Markup("").join([tag("line", x1=x(found.low), x2=x(found.high), y1=y, y2=y, class_="whisker"), *ends])


def _range(found: Interval) -> str:
    if not math.isfinite(found.low):
        return percent(found.value)
    return f"{percent(found.value)} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _around(values: Sequence[float]) -> list[float]:
    """Ticks that leave a little room around the values, inside 0..1."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = max(0.15 * (high - low), 0.005)
    ticks = covering_ticks(max(0.0, low - room), min(1.0, high + room), 5)
    return ticks if len(ticks) > 1 else [ticks[0], ticks[0] + 0.01]


def _tick(ticks: Sequence[float]) -> Callable[[float], str]:
    digits = 0 if ticks[1] - ticks[0] >= 0.00999 else 1
    return lambda value: f"{value * 100:.{digits}f}"


def correlate_weights(weight_K: Sequence[float], iou_K: Sequence[float]) -> Correlation:
    """Of class weight (logarithmic) and IoU, over classes that have both."""
    return correlate(np.array(weight_K, float), np.array(iou_K, float))


def weight_figure(
    names: Sequence[str], colors: Sequence[str], weight_K: Sequence[float], iou_K: Sequence[float]
) -> Markup | None:
    """Scatter of IoU over class weight, one dot a class in its colour; None without a class to show."""
    use = [k for k in range(len(names)) if weight_K[k] > 0 and math.isfinite(iou_K[k])]
    if not use:
        return None
    weights = [float(weight_K[k]) for k in use]
    room = max(0.08 * (max(weights) - min(weights)), 0.02 * max(weights))
    frame = Frame(960, 400, left=36, right=20, bottom=42)
    x = Scale(max(0.0, min(weights) - room), max(weights) + room, *frame.x_range)
    y = Scale(-0.03, 1.03, *frame.y_range)
    spots = [(x(float(weight_K[k])), y(float(iou_K[k]))) for k in use]
    shown = [names[k] if len(names[k]) <= 24 else names[k][:23] + "…" for k in use]
    parts = [frame.y_axis(y, [0, 0.25, 0.5, 0.75, 1], lambda t: f"{t * 100:.0f}")]
    parts.append(frame.x_axis(x, nice_ticks(x.low, x.high, 7), number, "class weight in the loss"))
    area = Box(frame.left, frame.top, frame.width - 4, frame.height - frame.bottom)
    for name, box in zip(shown, place_labels(spots, shown, area), strict=True):
        if box:
            middle = (box.left + box.right) / 2
            parts.append(tag("text", name, x=middle, y=box.top + 11.5, class_="mark middle", aria_hidden="true"))
    for k, (at_x, at_y) in zip(use, spots, strict=True):
        dot = tag("circle", cx=at_x, cy=at_y, r=6.0, fill=colors[k], class_=f"swatch k{k}")
        text = f"{names[k]}\nIoU {percent(iou_K[k])}\nweight {number(weight_K[k])}"
        parts.append(hit(text, dot + tag("circle", cx=at_x, cy=at_y, r=12.0, class_="area"), at_x, [at_y]))
    told = "; ".join(f"{names[k]} weight {number(weight_K[k])}, IoU {percent(iou_K[k])}" for k in use)
    return frame.svg(f"Class weight against IoU: {told}.", parts, "scatter")
