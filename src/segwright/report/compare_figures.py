"""Charts of a comparison: IoU of every class by run beside the paired differences, and the runs of each setting.

Every run has a colour and a shape of its own, so that neither is needed alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from segwright.evaluation.compare import Comparison
from segwright.evaluation.compare_words import bounds, points
from segwright.metrics.intervals import Interval
from segwright.report.figures import Frame, Scale, covering_ticks, hit, join, tag
from segwright.report.wording import percent

COLORS = 8
"""Runs with a colour of their own; further ones begin again."""
SHAPES = 4
ROW, HEAD = 26, 30
SIZE = 5.5


def slot(place: int) -> str:
    """The colour class of a run by its place, from 0."""
    return f"r{place % COLORS + 1}"


def mark(place: int, x: float, y: float, size: float = SIZE) -> Markup:
    """The sign of a run: a circle, a square, a diamond or a triangle in its colour."""
    css = f"mark-of {slot(place)}"
    match place % SHAPES:
        case 0:
            return tag("circle", cx=x, cy=y, r=size, class_=css)
        case 1:
            return tag("rect", x=x - size * 0.9, y=y - size * 0.9, width=size * 1.8, height=size * 1.8, class_=css)
        case 2:
            corners: tuple[tuple[float, float], ...] = ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0))
        case _:
            corners = ((0, -1.2), (1.15, 0.85), (-1.15, 0.85))
    path = "M" + "L".join(f"{x + dx * size:.1f} {y + dy * size:.1f}" for dx, dy in corners) + "Z"
    return tag("path", d=path, class_=css)


def key_mark(place: int) -> Markup:
    """The sign of a run for the legend and the table."""
    return tag("svg", mark(place, 8.0, 8.0), viewBox="0 0 16 16", class_="key-mark", aria_hidden="true")


def class_chart(comparison: Comparison) -> Markup:
    """A row a class, those that differ most first: on the left the IoU of each run, on the right its difference to the
    reference with the paired interval. A bar joins the runs of a class."""
    names, others = comparison.names, list(comparison.differences.values())
    order = _order(comparison)
    tall = max(ROW, 12 * len(others) + 8)
    frame = Frame(960, HEAD + tall * len(order) + 44, left=190, right=24, top=HEAD, bottom=44)
    gaps = [v for found in others for c in found.classes for v in (c.interval.low, c.interval.high)]
    reach = max([0.005, *(abs(v) for v in gaps if math.isfinite(v))])
    ious = [c.value for row in comparison.class_iou.values() for c in row if math.isfinite(c.value)]
    low_high = covering_ticks(max(0.0, min(ious, default=0.0) - 0.02), min(1.0, max(ious, default=1.0) + 0.02), 5)
    x = Scale(low_high[0], low_high[-1], 200, 560)
    ticks = [t for t in covering_ticks(-reach, reach, 5) if abs(t) <= reach * 1.001]
    gap_x = Scale(-reach, reach, 620, 936)
    floor = frame.height - frame.bottom
    parts = [
        _axis(x, low_high, HEAD - 8, floor, lambda v: f"{100 * v:.0f}", "IoU in %"),
        _axis(gap_x, ticks, HEAD - 8, floor, _signed(reach), f"points against {_cut(comparison.reference, 24)}"),
        tag("line", x1=gap_x(0), x2=gap_x(0), y1=HEAD - 8, y2=floor, class_="zero"),
    ]
    told = []
    for row, k in enumerate(order):
        top, middle = HEAD + row * tall, HEAD + (row + 0.5) * tall
        name = comparison.space.class_names[k]
        values = [comparison.class_iou[run][k].value for run in names]
        drawn = [tag("text", _cut(name, 24), x=frame.left - 14, y=middle + 4, class_="mark end")]
        known = [v for v in values if math.isfinite(v)]
        if len(known) > 1:
            drawn.append(tag("line", x1=x(min(known)), x2=x(max(known)), y1=middle, y2=middle, class_="joint"))
        drawn += [mark(p, x(v), middle) for p, v in enumerate(values) if math.isfinite(v)]
        texts = [name]
        for place, found in enumerate(others):
            one = found.classes[k]
            if not math.isfinite(one.interval.value):
                continue
            y = middle + (place - (len(others) - 1) / 2) * 12
            css = one.verdict.replace(" ", "-")
            drawn.append(_whisker(one.interval, gap_x, y, f"{slot(names.index(found.run))} {css}"))
            drawn.append(mark(names.index(found.run), gap_x(one.interval.value), y, SIZE - 1))
            star = "*" if one.holds and one.verdict != "cannot tell" else ""
            texts.append(f"{found.run}: {points(one.interval.value)} {bounds(one.interval)}, {one.verdict}{star}")
        texts[1:1] = [f"{run} {percent(value)}" for run, value in zip(names, values, strict=True)]
        area = tag("rect", x=0, y=top, width=frame.width, height=tall)
        marks = [x(v) for v in known]
        parts.append(hit("\n".join(texts), join([*drawn, area]), max(marks, default=x(x.low)), [middle]))
        told.append(", ".join(texts))
    return frame.svg(f"IoU of each class by run, and differences. {'; '.join(told)}.", parts, "dumbbells")


def seed_chart(comparison: Comparison) -> Markup:
    """A row a setting: the mIoU of each of its runs, their mean, and Student's interval of the mean over seeds."""
    settings, names = comparison.settings, list(comparison.names)
    frame = Frame(960, 16 + 46 * len(settings) + 44, left=230, right=130, top=16, bottom=44)
    spans = [(s.miou.low, s.miou.high) for s in settings if s.miou.count > 1]
    values = [v for s in settings for v in s.miou.values]
    near = [v for span in spans for v in span if min(values) - 0.1 < v < max(values) + 0.1]
    ticks = covering_ticks(max(0.0, min([*values, *near]) - 0.005), min(1.0, max([*values, *near]) + 0.005), 6)
    x = Scale(ticks[0], ticks[-1], *frame.x_range)
    floor = frame.height - frame.bottom
    digits = 0 if len(ticks) > 1 and ticks[1] - ticks[0] >= 0.00999 else 1
    parts = [_axis(x, ticks, frame.top, floor, lambda v: f"{100 * v:.{digits}f}", "mIoU in %")]
    told = []
    for row, one in enumerate(settings):
        middle = 16 + 46 * (row + 0.5)
        drawn = [tag("text", _cut(one.name, 28), x=frame.left - 14, y=middle + 4, class_="mark end")]
        text = f"{one.name}\nmean {percent(one.miou.mean)} of {one.miou.count}"
        if one.miou.count > 1:
            ends = [min(max(v, x.low), x.high) for v in (one.miou.low, one.miou.high)]
            band = tag("rect", x=x(ends[0]), y=middle - 9, width=x(ends[1]) - x(ends[0]), height=18, class_="band")
            mean = tag("line", x1=x(one.miou.mean), x2=x(one.miou.mean), y1=middle - 13, y2=middle + 13, class_="mean")
            drawn += [band, mean]
            text += f"\nstandard deviation {100 * one.miou.deviation:.1f}\n95 % interval {_range(one.miou.low, one.miou.high)}"
        for run, seed, value in zip(one.runs, one.seeds, one.miou.values, strict=True):
            drawn.append(mark(names.index(run), x(value), middle))
            text += f"\n{run}, seed {'unknown' if seed is None else seed}: {percent(value)}"
        area = tag("rect", x=0, y=middle - 23, width=frame.width, height=46)
        parts.append(hit(text, join([*drawn, area]), x(one.miou.mean), [middle]))
        label = f"{percent(one.miou.mean)}{f' ± {100 * one.miou.deviation:.1f}' if one.miou.count > 1 else ''}"
        parts.append(tag("text", label, x=frame.x_range[1] + 12, y=middle + 4, class_="tick"))
        told.append(text.replace("\n", ", "))
    return frame.svg(f"mIoU of the runs of each setting. {'; '.join(told)}.", parts, "settings")


def _order(comparison: Comparison) -> list[int]:
    """Class ids, the largest difference first; undefined ones last."""
    found = comparison.differences.values()

    def largest(k: int) -> float:
        gaps = [abs(one.classes[k].interval.value) for one in found]
        return max((g for g in gaps if math.isfinite(g)), default=-1.0)

    return sorted(range(comparison.space.num_classes), key=lambda k: -largest(k))


def _axis(
    x: Scale, ticks: Sequence[float], top: float, floor: float, form: Callable[[float], str], label: str
) -> Markup:
    lines = [tag("line", x1=x(t), x2=x(t), y1=top, y2=floor, class_="grid") for t in ticks]
    texts = [tag("text", form(t), x=x(t), y=floor + 17, class_="tick middle") for t in ticks]
    name = tag("text", label, x=(x.start + x.end) / 2, y=floor + 36, class_="label middle")
    return tag("g", join([*lines, *texts, name]), aria_hidden="true")


def _whisker(found: Interval, x: Scale, y: float, css: str) -> Markup:
    return tag("line", x1=x(found.low), x2=x(found.high), y1=y, y2=y, class_=f"reach {css}")


def _signed(reach: float) -> Callable[[float], str]:
    digits = 0 if reach >= 0.03 else 1
    return lambda value: f"{100 * value + 0.0:+.{digits}f}".replace("-", "−") if abs(value) > 1e-9 else "0"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _range(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f} %"
