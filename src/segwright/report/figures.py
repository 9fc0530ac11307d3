"""Charts as inline SVG strings: crisp at any size, coloured by the page's CSS variables, readable without JavaScript.

A chart carries an accessible summary. Each `g.hit` in it is one thing to point at: its <title> is the text to show,
`data-x` and `data-y` say where the marks are (the page's script turns them into a moving cursor).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from segwright.report.wording import percent

Format = Callable[[float], str]
MAX_HITS = 300  # things to point at in one chart


def tag(name: str, content: str | Markup = "", **attributes: object) -> Markup:
    """One element; text and values are escaped unless they are Markup. `stroke_width` becomes `stroke-width`."""
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(round(value, 1) if isinstance(value, float) else value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{pairs}>{escape(content)}</{name}>")


def join(parts: Sequence[str | Markup]) -> Markup:
    return Markup("").join(parts)


@dataclass(frozen=True)
class Scale:
    """Data values low..high -> pixels start..end, linear or logarithmic (then low > 0)."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * ((at - low) / (high - low) if high > low else 0.5)


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from low to high, about `wanted` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def covering_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Round numbers whose first and last enclose low..high."""
    ticks = nice_ticks(low, high, wanted)
    if len(ticks) < 2:
        return [low, high] if high > low else [low]
    step = ticks[1] - ticks[0]
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten inside low..high (0 < low), or with their 2 and 5 multiples when there are fewer than three."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1,), (1, 3), (1, 2, 5)):
        ticks = [m * 10.0**p for p in powers for m in multiples if low * 0.999 <= m * 10.0**p <= high * 1.001]
        if len(ticks) >= 3:
            return ticks
    return ticks or [low]


@dataclass(frozen=True)
class Series:
    """One line: its name, its colour slot (`a`, `b` or `c` in the style sheet) and finite points by x."""

    name: str
    color: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Frame:
    """The plot area inside a chart of width × height, in SVG units."""

    width: int
    height: int
    left: int = 44
    right: int = 14
    top: int = 12
    bottom: int = 36

    @property
    def x_range(self) -> tuple[float, float]:
        return self.left, self.width - self.right

    @property
    def y_range(self) -> tuple[float, float]:
        return self.height - self.bottom, self.top

    def svg(self, summary: str, parts: Sequence[Markup], kind: str, *, points: bool = True) -> Markup:
        """The whole drawing. `points`: it has things to point at, so the keyboard may enter it."""
        return tag(
            "svg",
            join(parts),
            class_=f"chart {kind}",
            viewBox=f"0 0 {self.width} {self.height}",
            role="img",
            aria_label=summary,
            tabindex="0" if points else None,
            data_top=self.top,
            data_bottom=self.height - self.bottom,
        )

    def y_axis(self, scale: Scale, ticks: Sequence[float], form: Format) -> Markup:
        rows = [
            tag("line", x1=self.left, x2=self.width - self.right, y1=scale(t), y2=scale(t), class_="grid")
            + tag("text", form(t), x=self.left - 8, y=scale(t) + 4, class_="tick end")
            for t in ticks
        ]
        return tag("g", join(rows), aria_hidden="true")

    def x_axis(self, scale: Scale, ticks: Sequence[float], form: Format, label: str) -> Markup:
        floor = self.height - self.bottom
        marks = [tag("text", form(t), x=scale(t), y=floor + 17, class_="tick middle") for t in ticks]
        line = tag("line", x1=self.left, x2=self.width - self.right, y1=floor, y2=floor, class_="axis")
        middle = (self.left + self.width - self.right) / 2
        name = tag("text", label, x=middle, y=self.height - 3, class_="label middle") if label else Markup()
        return tag("g", line + join(marks) + name, aria_hidden="true")


def hit(title: str, area: Markup, x: float, ys: Sequence[float]) -> Markup:
    """Something to point at: an invisible area, its text, and where its marks are."""
    where = " ".join(f"{y:.1f}" for y in ys)
    return tag("g", tag("title", title) + area, class_="hit", data_x=f"{x:.1f}", data_y=where)


def zones(xs: Sequence[float], low: float, high: float) -> list[tuple[float, float]]:
    """Where each of the sorted positions is the nearest one: touching intervals that fill low..high."""
    edges = [low, *((a + b) / 2 for a, b in pairwise(xs)), high]
    return list(pairwise(edges))


def thin_out(values: Sequence[float], most: int) -> list[float]:
    """At most about `most` values, evenly chosen, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    step = (len(values) - 1) / (most - 1)
    return [values[round(i * step)] for i in range(most)]


def polyline(points: Sequence[tuple[float, float]], x: Scale, y: Scale, color: str) -> Markup:
    if len(points) == 1:
        return tag("circle", cx=x(points[0][0]), cy=y(points[0][1]), r=3, class_=f"dot {color}")
    path = "M" + "L".join(f"{x(px):.1f} {y(py):.1f}" for px, py in points)
    return tag("path", d=path, class_=f"line {color}")


def end_labels(series: Sequence[Series], x: float, y: Scale) -> Markup:
    """The name of each line at its right end, pushed apart where two would touch."""
    placed: list[tuple[float, Series]] = sorted(((y(s.points[-1][1]), s) for s in series), key=lambda item: item[0])
    if len(placed) > 1 and (missing := 15 - (placed[-1][0] - placed[0][0])) > 0:
        placed[0] = (placed[0][0] - missing / 2, placed[0][1])
        placed[-1] = (placed[-1][0] + missing / 2, placed[-1][1])
    return join([tag("text", s.name, x=x + 8, y=at + 4, class_=f"name {s.color}") for at, s in placed])


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    form: Format,
    axis_form: Format | None = None,
    width: int = 480,
    height: int = 270,
    best: tuple[float, float] | None = None,
    top: float | None = None,
    stages: Sequence[tuple[float, str]] = (),
) -> Markup | None:
    """Lines over epochs, from zero up, with the best point marked; None when no series has a point.

    form: how a value is written where it is pointed at; axis_form: on the axis. top: upper end of the axis at least.
    stages: (epoch before the first one, name) of each stage: a line at its start, and its name where there is room.
    """
    series = [s for s in series if s.points]
    if not series:
        return None
    wide = max(len(s.name) for s in series) if len(series) > 1 else 0
    small = width < 300
    named = stages and not small
    frame = Frame(
        width, height, right=(16 if small else 20) + wide * 7, top=26 if named else 12, bottom=24 if small else 38
    )
    xs = sorted({px for s in series for px, _ in s.points})
    values = [py for s in series for _, py in s.points]
    low = min(0.0, min(values))
    high = top if top is not None else max(values)
    ticks = covering_ticks(low, high if high > low else low + 1, 2 if small else 4)
    x, y = Scale(xs[0], xs[-1], *frame.x_range), Scale(ticks[0], ticks[-1], *frame.y_range)

    lines = [stage_borders(frame, stages, x, named=not small)] if stages else []
    lines += [polyline(s.points, x, y, s.color) for s in series]
    if len(series) > 1:
        lines.append(end_labels(series, x(xs[-1]), y))
    if best is not None:
        lines.append(_best_mark(frame, x(best[0]), y(best[1]), f"best {form(best[1])}"))
    shown = thin_out(xs, MAX_HITS)
    hits = [
        _point(px, series, form, left, right, frame, x, y, stages)
        for px, (left, right) in zip(shown, zones([x(v) for v in shown], *frame.x_range), strict=True)
    ]
    epochs = [t for t in nice_ticks(xs[0], xs[-1], 4 if small else 6) if t == int(t)] or [xs[0]]
    name = "" if small else "epoch"
    axes = frame.y_axis(y, ticks, axis_form or form) + frame.x_axis(x, epochs, lambda t: f"{t:.0f}", name)
    return frame.svg(_summary(title, series, form, best), [axes, *lines, *hits], "lines")


def stage_borders(frame: Frame, stages: Sequence[tuple[float, str]], x: Scale, *, named: bool) -> Markup:
    """A line where each stage but the first begins; above the plot its name, cut to the room that it has."""
    low, high = frame.x_range
    places = [min(max(x(start), low), high) for start, _ in stages] + [high]
    parts: list[Markup] = []
    for index, (_, name) in enumerate(stages):
        at, room = places[index], int((places[index + 1] - places[index] - 8) / 7)
        if index:
            parts.append(
                tag("line", x1=at, x2=at, y1=frame.top - (14 if named else 0), y2=frame.y_range[0], class_="stage")
            )
        if named and room >= min(len(name), 3):
            shown = name if len(name) <= room else f"{name[: room - 1]}…"
            parts.append(tag("text", shown, x=at + 4, y=frame.top - 5, class_="tick"))
    return tag("g", join(parts), aria_hidden="true")


def _best_mark(frame: Frame, x: float, y: float, text: str) -> Markup:
    half = len(text) * 3.5
    at = min(max(x, frame.left + half), frame.width - frame.right - half)
    below = y - frame.top < 22
    mark = tag("circle", cx=x, cy=y, r=5, class_="best")
    return mark + tag("text", text, x=at, y=y + 22 if below else y - 11, class_="note middle")


def _point(
    px: float,
    series: Sequence[Series],
    form: Format,
    left: float,
    right: float,
    frame: Frame,
    x: Scale,
    y: Scale,
    stages: Sequence[tuple[float, str]],
) -> Markup:
    found = [(s, value) for s in series for at, value in s.points if at == px]
    stage = [name for start, name in stages if start < px][-1:]
    text = "\n".join([f"epoch {px:.0f}", *stage, *(f"{s.name} {form(value)}" for s, value in found)])
    area = tag("rect", x=left, y=frame.top, width=right - left, height=frame.height - frame.top - frame.bottom)
    return hit(text, area, x(px), [y(value) for _, value in found])


def _summary(title: str, series: Sequence[Series], form: Format, best: tuple[float, float] | None) -> str:
    told = [
        f"{s.name} from {form(s.points[0][1])} in epoch {s.points[0][0]:.0f} "
        f"to {form(s.points[-1][1])} in epoch {s.points[-1][0]:.0f}"
        for s in series
    ]
    mark = f"; best {form(best[1])} in epoch {best[0]:.0f}" if best else ""
    return f"{title}: {'; '.join(told)}{mark}."


def sparkline(values: Sequence[float | None], *, label: str) -> Markup:
    """A word-sized line of shares 0..1; gaps where a value is None."""
    width, height = 76.0, 22.0
    x, y = Scale(0, max(len(values) - 1, 1), 2, width - 4), Scale(0, 1, height - 2, 2)
    runs: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(values):
        if value is None or not math.isfinite(value):
            runs.append([])
        else:
            runs[-1].append((index, value))
    parts = [tag("line", x1=2, x2=width - 4, y1=height - 2, y2=height - 2, class_="axis")]
    parts += [polyline(run, x, y, "a") for run in runs if run]
    if runs[-1]:
        parts.append(tag("circle", cx=x(runs[-1][-1][0]), cy=y(runs[-1][-1][1]), r=2.2, class_="dot a"))
    return tag(
        "svg", join(parts), class_="spark", viewBox=f"0 0 {width:.0f} {height:.0f}", role="img", aria_label=label
    )


def iou_bars(names: Sequence[str], ious: Sequence[float], mean: float) -> Markup | None:
    """Classes from best to worst IoU as upright bars, the mean as a line; up to 32 classes are named under the bars."""
    ranked = sorted(
        ((iou, name) for iou, name in zip(ious, names, strict=True) if math.isfinite(iou)), key=lambda p: (-p[0], p[1])
    )
    if not ranked:
        return None
    named = len(ranked) <= 32
    longest = min(max(len(name) for _, name in ranked), 16) if named else 0
    frame = Frame(600, 262 + longest * 8, left=36, right=8, bottom=longest * 8 + 14)
    y = Scale(0, 1, *frame.y_range)
    floor, slot = y(0), (frame.x_range[1] - frame.x_range[0]) / len(ranked)
    parts = [frame.y_axis(y, [0, 0.25, 0.5, 0.75, 1], lambda t: f"{t * 100:.0f}")]
    for index, (iou, name) in enumerate(ranked):
        middle, wide = frame.left + slot * (index + 0.5), min(slot * 0.68, 34.0)
        low = " low" if index >= len(ranked) - 3 and iou < mean else ""
        bar = tag("rect", x=middle - wide / 2, y=y(iou), width=wide, height=floor - y(iou), rx=2, class_=f"bar{low}")
        area = tag("rect", x=middle - slot / 2, y=frame.top, width=slot, height=floor - frame.top)
        parts.append(bar + hit(f"{name}\nIoU {percent(iou)}", area, middle, [y(iou)]))
        if named:
            text = name if len(name) <= 16 else name[:15] + "…"
            turn = f"translate({middle + 4:.1f} {floor + 10:.1f}) rotate(-90)"
            parts.append(tag("text", text, transform=turn, class_="tick end", aria_hidden="true"))
    if math.isfinite(mean):
        parts.append(tag("line", x1=frame.left, x2=frame.width - 8, y1=y(mean), y2=y(mean), class_="mean"))
        parts.append(tag("text", f"mean {percent(mean)}", x=frame.width - 10, y=y(mean) - 6, class_="note end"))
    told = "; ".join(f"{name} {percent(iou)}" for iou, name in ranked)
    return frame.svg(f"IoU of each class, best first: {told}.", parts, "bars")


def picture_ranks(names: Sequence[str], scores: Sequence[float], marked: dict[str, str]) -> Markup | None:
    """mIoU of every picture, sorted, as dots; `marked` maps picture names to the role written beside their dot."""
    ranked = sorted(
        ((s, n) for s, n in zip(scores, names, strict=True) if math.isfinite(s)), key=lambda p: (-p[0], p[1])
    )
    if len(ranked) < 2:
        return None
    frame = Frame(960, 180, left=36)
    x, y = Scale(0, len(ranked) - 1, 56, frame.width - 26), Scale(0, 1, *frame.y_range)
    parts = [frame.y_axis(y, [0, 0.25, 0.5, 0.75, 1], lambda t: f"{t * 100:.0f}")]
    dots = "".join(f"M{x(i):.1f} {y(s):.1f}h0" for i, (s, _) in enumerate(ranked))
    parts.append(tag("path", d=dots, class_="dots"))
    for index, (score, name) in enumerate(ranked):
        if role := marked.get(name):
            parts.append(tag("circle", cx=x(index), cy=y(score), r=5, class_=f"role {role}"))
    shown = [int(i) for i in thin_out(range(len(ranked)), MAX_HITS)]
    for index, (left, right) in zip(shown, zones([x(i) for i in shown], *frame.x_range), strict=True):
        score, name = ranked[index]
        area = tag("rect", x=left, y=frame.top, width=right - left, height=frame.height - frame.top - frame.bottom)
        role = f" ({marked[name]})" if name in marked else ""
        parts.append(
            hit(f"{name}{role}\nmIoU {percent(score)}\nrank {index + 1} of {len(ranked)}", area, x(index), [y(score)])
        )
    parts.append(frame.x_axis(x, [0, len(ranked) - 1], lambda t: f"{t + 1:.0f}", "pictures, best first"))
    told = (
        f"best {percent(ranked[0][0])}, median {percent(ranked[len(ranked) // 2][0])}, worst {percent(ranked[-1][0])}"
    )
    return frame.svg(f"mIoU of {len(ranked)} pictures, sorted: {told}.", parts, "ranks")
