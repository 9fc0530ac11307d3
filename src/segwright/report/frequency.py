"""Class frequency against IoU: the correlation, and a scatter whose labels never overlap."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from segwright.report.figures import Frame, Scale, hit, log_ticks, tag
from segwright.report.wording import percent

Floats = NDArray[np.float64]
FEWEST = 3  # pairs below which a correlation says nothing


@dataclass(frozen=True)
class Correlation:
    """Pearson's r of log10(share) and IoU, and Spearman's rank correlation, over n classes; NaN where undefined."""

    pearson: float
    spearman: float
    n: int


def pearson(x_N: Floats, y_N: Floats) -> float:
    """Correlation in -1..1; NaN for fewer than three pairs or when one side does not vary."""
    if len(x_N) < FEWEST:
        return math.nan
    dx_N, dy_N = x_N - x_N.mean(), y_N - y_N.mean()
    size = math.sqrt(float((dx_N**2).sum() * (dy_N**2).sum()))
    return float((dx_N * dy_N).sum()) / size if size > 1e-12 else math.nan


def ranks(values_N: Floats) -> Floats:
    """1-based ranks; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2.0)[inverse]


def correlate(share_K: Floats, iou_K: Floats) -> Correlation:
    """Of the classes that have pixels in the truth (share > 0) and a defined IoU."""
    use_K = (share_K > 0) & np.isfinite(iou_K)
    share, iou = share_K[use_K], iou_K[use_K]
    return Correlation(pearson(np.log10(share), iou), pearson(ranks(share), ranks(iou)), len(share))


def describe(link: Correlation) -> str:
    """What the rank correlation says, in words."""
    if not math.isfinite(link.spearman):
        return "Too few classes, or too little variation, for a correlation."
    if link.spearman >= 0.5:
        return "Frequent classes do better than rare ones: the order by frequency resembles the order by IoU."
    if link.spearman <= -0.5:
        return "Rare classes do better than frequent ones here, which is unusual: look at the frequent ones first."
    return "How frequent a class is explains little of its IoU here."


@dataclass(frozen=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    def touches(self, other: Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def inside(self, other: Box) -> bool:
        across = self.left >= other.left and self.right <= other.right
        return across and self.top >= other.top and self.bottom <= other.bottom


def text_width(text: str, size: float = 12.5) -> float:
    """A generous guess of how wide a text is drawn, in SVG units."""
    return sum(size if east_asian_width(c) in "WF" else size * 0.58 for c in text)


def place_labels(points: Sequence[tuple[float, float]], names: Sequence[str], area: Box) -> list[Box | None]:
    """A free box beside each point, inside the area; None where a crowd leaves no room. Crowded points choose first."""
    dots = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    crowding = [sum(abs(x - u) < 90 and abs(y - v) < 30 for u, v in points) for x, y in points]
    found: list[Box | None] = [None] * len(points)
    for index in sorted(range(len(points)), key=lambda i: -crowding[i]):
        blocked = [box for box in found if box] + dots[:index] + dots[index + 1 :]
        free = (
            box
            for box in _beside(*points[index], text_width(names[index]))
            if box.inside(area) and not any(box.touches(other) for other in blocked)
        )
        found[index] = next(free, None)
    return found


def _beside(x: float, y: float, wide: float, high: float = 15.0) -> Iterator[Box]:
    """Places for a text near a point, the best first: right, left, above, below, then the corners, then farther out."""
    for reach in (9.0, 16.0, 26.0):
        for across, down in ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1)):
            left = x - wide / 2 + across * (wide / 2 + (reach if down == 0 else reach * 0.6))
            top = y - high / 2 + down * (high / 2 + reach)
            yield Box(left, top, left + wide, top + high)


def frequency_figure(
    names: Sequence[str], colors: Sequence[str], share_K: Floats, iou_K: Floats, link: Correlation
) -> Markup | None:
    """Scatter of IoU over share of labelled pixels (log axis) with the fitted line; None without a class to show."""
    use = [k for k in np.argsort(share_K).tolist() if share_K[k] > 0 and math.isfinite(iou_K[k])]
    if not use:
        return None
    shares = [float(share_K[k]) for k in use]
    radius = 6.0 if len(use) <= 40 else 4.5
    frame = Frame(960, 440, left=36, right=20, bottom=42)
    x = Scale(min(shares) / 1.6, max(max(shares) * 1.6, 1e-9), *frame.x_range, log=True)
    y = Scale(-0.03, 1.03, *frame.y_range)
    spots = [(x(float(share_K[k])), y(float(iou_K[k]))) for k in use]
    shown = [names[k] if len(names[k]) <= 24 else names[k][:23] + "…" for k in use]
    boxes = place_labels(spots, shown, Box(frame.left, frame.top, frame.width - 4, frame.height - frame.bottom))

    parts = [frame.y_axis(y, [0, 0.25, 0.5, 0.75, 1], lambda t: f"{t * 100:.0f}")]
    parts.append(frame.x_axis(x, log_ticks(x.low, x.high), _share_tick, "share of the labelled pixels, logarithmic"))
    if math.isfinite(link.pearson):
        parts.append(_fitted(np.log10(shares), np.array([float(iou_K[k]) for k in use]), x, y))
    for name, box, (at_x, at_y) in zip(shown, boxes, spots, strict=True):
        if box:
            if min(abs(box.left - at_x), abs(box.right - at_x)) > 14 and abs((box.top + box.bottom) / 2 - at_y) > 22:
                parts.append(
                    tag("line", x1=at_x, y1=at_y, x2=(box.left + box.right) / 2, y2=box.top + 8, class_="leader")
                )
            parts.append(_label(name, box, at_x))
    for k, (at_x, at_y) in zip(use, spots, strict=True):
        dot = tag("circle", cx=at_x, cy=at_y, r=radius, fill=colors[k], class_=f"swatch k{k}")
        text = f"{names[k]}\nIoU {percent(iou_K[k])}\n{percent(share_K[k], 2)} of the pixels"
        parts.append(hit(text, dot + tag("circle", cx=at_x, cy=at_y, r=radius * 2, class_="area"), at_x, [at_y]))
    told = "; ".join(f"{names[k]} {percent(share_K[k], 2)} of pixels, IoU {percent(iou_K[k])}" for k in use)
    return frame.svg(f"Class frequency against IoU: {told}.", parts, "scatter")


def _label(name: str, box: Box, at_x: float) -> Markup:
    if box.left > at_x:
        side, x = "start", box.left
    elif box.right < at_x:
        side, x = "end", box.right
    else:
        side, x = "middle", (box.left + box.right) / 2
    return tag("text", name, x=x, y=box.top + 11.5, class_=f"mark {side}", aria_hidden="true")


def _share_tick(share: float) -> str:
    return f"{share * 100:.6g}\u202f%"


def _fitted(logs_N: Floats, ious_N: Floats, x: Scale, y: Scale) -> Markup:
    slope, start = np.polyfit(logs_N, ious_N, 1)
    ends = [(s, min(max(float(start + slope * math.log10(s)), 0.0), 1.0)) for s in (x.low, x.high)]
    (a, b), (c, d) = ends
    return tag("line", x1=x(a), y1=y(b), x2=x(c), y2=y(d), class_="fit")
