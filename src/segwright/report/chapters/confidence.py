"""The chapter on confidence: is the model right as often as it says, and do its sure answers sort themselves out?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from segwright.report.chapters.chapter import Chapter
from segwright.report.content import RunReport
from segwright.report.figures import Frame, Scale, hit, nice_ticks, polyline, tag, thin_out, zones
from segwright.report.page import render_part
from segwright.report.wording import count, percent

CLEAR = 0.02
"""A mean gap between confidence and accuracy from which the model is called too sure, or not sure enough."""
RARE = 0.001
"""Bins with a smaller share of the pixels are drawn pale, and no sentence rests on them."""
RISKS = (0.01, 0.02, 0.05)
MOST_HITS = 60


@dataclass(frozen=True)
class Row:
    """One group of pixels: shares in 0..1, None where it is empty. share: of all labelled pixels."""

    name: str
    share: float
    confidence: float | None
    accuracy: float | None
    ece: float | None


def confidence_chapter(report: RunReport) -> Chapter | None:
    """Calibration, and what abstaining would gain; None for an evaluation that did not measure it."""
    found = report.evaluation.measures.get("calibration")
    if not found or not found["pixels"]:
        return None
    zones_of = found["zones"]
    html = render_part(
        "confidence.html",
        found=found,
        conclusion=conclusion(found),
        mendable=found["ece"] >= CLEAR,
        diagram=reliability_diagram(found["bins"]),
        curve=risk_curve(found["risk_coverage"], 1 - found["accuracy"]),
        rows=[_row(name, zones_of[name], found["pixels"]) for name in ("border", "interior")],
        classes=_worst_classes(found),
        answers=[answer for risk in RISKS if (answer := answered_at(found["risk_coverage"], risk)) is not None],
    )
    return Chapter("confidence", "Confidence", html)


def conclusion(found: Mapping[str, Any]) -> str:
    """What a reader should take away, in a sentence or two."""
    gap = found["confidence"] - found["accuracy"]
    mean = f"Over all pixels it says {percent(found['confidence'])} and is right {percent(found['accuracy'])}"
    if abs(gap) < CLEAR:
        if found["ece"] < CLEAR:
            return f"{mean}: its confidence can be taken at its word."
        return f"{mean}, but single levels of confidence are off by {percent(found['ece'])} on average."
    filled = [b for b in found["bins"] if b["pixels"] >= RARE * found["pixels"]]
    worst = max(filled, key=lambda b: (b["confidence"] - b["accuracy"]) * b["pixels"] * (1 if gap > 0 else -1))
    kind = "overconfident" if gap > 0 else "not confident enough"
    where = f"where it says {percent(worst['confidence'], 0)}, it is right {percent(worst['accuracy'], 0)}"
    return f"The model is {kind}: {where}. {mean}."


def answered_at(points: Sequence[Mapping[str, float]], risk: float) -> Mapping[str, float] | None:
    """The point with most answers whose share of wrong ones is at most `risk`."""
    found = [{**p, "wished": risk} for p in points if p["risk"] <= risk]
    return max(found, key=lambda p: p["coverage"], default=None)


def reliability_diagram(bins: Sequence[Mapping[str, Any]]) -> Markup:
    """Share of right pixels by confidence, a bar a bin, against the diagonal; above them, how many pixels each bin has."""
    frame = Frame(520, 380, left=48, bottom=44, top=66)
    x, y = Scale(0, 1, *frame.x_range), Scale(0, 1, *frame.y_range)
    total = sum(b["pixels"] for b in bins)
    most = max(b["pixels"] for b in bins)
    ticks = [0, 0.25, 0.5, 0.75, 1]
    parts = [frame.y_axis(y, ticks, _hundred), frame.x_axis(x, ticks, _hundred, "confidence, %")]
    parts.append(tag("text", "share of the pixels", x=frame.left, y=12.0, class_="tick", aria_hidden="true"))
    hits: list[Markup] = []
    for item in bins:
        if not item["pixels"]:
            continue
        left, right = x(item["low"]) + 1.5, x(item["high"]) - 1.5
        wide, rare = right - left, item["pixels"] < RARE * total
        high = 34 * item["pixels"] / most
        parts.append(tag("rect", x=left, y=54 - high, width=wide, height=max(high, 0.6), class_="held"))
        top = y(item["accuracy"])
        parts.append(tag("rect", x=left, y=top, width=wide, height=y(0) - top, class_=f"bar{' rare' if rare else ''}"))
        gap = sorted((top, y(item["confidence"])))
        kind = "over" if item["confidence"] > item["accuracy"] else "under"
        parts.append(tag("rect", x=left, y=gap[0], width=wide, height=gap[1] - gap[0], class_=f"gap {kind}"))
        title = (
            f"says {percent(item['confidence'])}\nis right {percent(item['accuracy'])}\n"
            f"{count(item['pixels'])} pixels, {percent(item['pixels'] / total)}"
        )
        area = tag("rect", x=left, y=14, width=wide, height=y(0) - 14)
        hits.append(hit(title, area, (left + right) / 2, [top]))
    parts.append(tag("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), class_="fit"))
    told = "; ".join(f"{percent(b['confidence'])} said, {percent(b['accuracy'])} right" for b in bins if b["pixels"])
    return frame.svg(f"Reliability diagram, from least to most sure: {told}.", [*parts, *hits], "reliability")


def risk_curve(points: Sequence[Mapping[str, float]], full_risk: float) -> Markup:
    """Share of wrong pixels among the answered ones by the share that is answered, the surest first."""
    frame = Frame(520, 380, left=48, bottom=44, top=16)
    high = max(*(p["risk"] for p in points), 1e-4)
    places = [(p["coverage"], p["risk"]) for p in points]
    x, y = Scale(0, 1, *frame.x_range), Scale(0, high * 1.12, *frame.y_range)
    digits = 0 if high > 0.03 else 1 if high > 0.003 else 2
    parts = [
        frame.y_axis(y, nice_ticks(0, high * 1.12, 4), lambda t: f"{100 * t:.{digits}f}"),
        frame.x_axis(x, [0, 0.25, 0.5, 0.75, 1], _hundred, "answered, % of the pixels"),
        polyline(places, x, y, "a"),
    ]
    at = places[-1]
    label = f"all answered: {percent(full_risk)} wrong"
    parts.append(tag("circle", cx=x(at[0]), cy=y(at[1]), r=5, class_="best"))
    parts.append(tag("text", label, x=x(at[0]) - 10, y=max(y(at[1]) - 10, frame.top + 10), class_="note end"))
    chosen = [points[round(i)] for i in thin_out(range(len(points)), MOST_HITS)]
    spans = zones([x(p["coverage"]) for p in chosen], *frame.x_range)
    for point, (left, right) in zip(chosen, spans, strict=True):
        title = (
            f"{percent(point['coverage'])} answered\n{percent(point['risk'], 2)} of these wrong\n"
            f"confidence from {percent(point['threshold'], 2)}"
        )
        area = tag("rect", x=left, y=frame.top, width=right - left, height=frame.height - frame.top - frame.bottom)
        parts.append(hit(title, area, x(point["coverage"]), [y(point["risk"])]))
    half = min(points, key=lambda p: abs(p["coverage"] - 0.5))
    summary = (
        f"Risk by coverage: {percent(full_risk)} wrong with every pixel answered, {percent(half['risk'], 2)} with the "
        f"surest {percent(half['coverage'])}."
    )
    return frame.svg(summary, parts, "risk")


def _hundred(value: float) -> str:
    return f"{100 * value:.0f}"


def _row(name: str, found: Mapping[str, Any], total: int) -> Row:
    return Row(name, found["pixels"] / total, found["confidence"], found["accuracy"], found["ece"])


def _worst_classes(found: Mapping[str, Any], most: int = 8) -> list[Row]:
    """The predicted classes with the largest error of calibration, of those that are not rare."""
    rows = [_row(name, one, found["pixels"]) for name, one in found["classes"].items()]
    told = [row for row in rows if row.share >= RARE and row.ece is not None]
    return sorted(told, key=lambda row: -(row.ece or 0))[:most]
