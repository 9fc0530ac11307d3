"""Chapter "Error budget": where the lost points of mIoU went, and what mending each kind of error would bring."""

from __future__ import annotations

import math

from markupsafe import Markup

from segwright.evaluation.error_budget import ErrorBudget, Gain, Step, error_budget
from segwright.report.chapters.chapter import Chapter
from segwright.report.content import RunReport
from segwright.report.figures import Frame, Scale, covering_ticks, hit, join, tag
from segwright.report.page import render_part
from segwright.report.wording import THIN, count, listing, percent, points

SHOWN_CLASSES = 8


def budget_chapter(report: RunReport) -> Chapter | None:
    """None where the evaluation lacks the measure `errors`, or has no budget under its protocol."""
    budget = error_budget(report.evaluation, report.doubted)
    if budget is None:
        return None
    tables = {
        "Kind of error": budget.parts,
        "Confused pair": budget.pairs,
        "Whole class": budget.classes[:SHOWN_CLASSES],
    }
    html = render_part(
        "budget.html",
        budget=budget,
        sentences=budget_sentences(budget),
        waterfall=waterfall(budget),
        tables=tables.items(),
        span=span,
    )
    return Chapter("budget", "Budget", html)


def span(gain: Gain) -> str:
    """The interval of a gain in points: `+1.2 to +3.4`."""
    low, high = gain.gain.low, gain.gain.high
    return "–" if math.isnan(low) else f"{points(low)} to {points(high)}"


def budget_sentences(budget: ErrorBudget) -> list[str]:
    """What a reader should conclude: borders or interiors, small and missed regions, confusions, classes."""
    border, far = budget.part("border-1"), budget.part("border-5")
    told = [
        f"{percent(far.share)} of the wrong pixels lie within 5{THIN}px of a true border, {percent(border.share)} "
        f"within 1{THIN}px, where a second annotator would differ, too. {_border_or_inside(budget)}"
    ]
    kinds = {
        "small": "small regions",
        "missed": "regions that were missed altogether",
        "invented": "regions that were invented",
    }
    best = sorted((budget.part(key) for key in kinds), key=lambda part: -part.gain.value)
    parts = [f"{kinds[part.key]} {points(part.gain.value)}" for part in best if part.gain.value > 0]
    if parts:
        told.append(f"Points that perfect results would add there: {listing(parts)}.")
    if budget.pairs:
        pairs = [f"{pair.title} ({points(pair.gain.value)})" for pair in budget.pairs[:3]]
        told.append(f"The confusions that cost most: {listing(pairs)}.")
    if doubted := next((part for part in budget.parts if part.key == "doubted"), None):
        told.append(
            f"Labels that the model doubts hold {percent(doubted.share)} of the wrong pixels. Were these labels wrong "
            f"and the model right, mIoU would change by {points(doubted.gain.value)}: look at them on the review page."
        )
    if budget.classes:
        classes = [f"{one.title} ({points(one.gain.value)})" for one in budget.classes[:3]]
        told.append(f"Solving one class would add most for {listing(classes)}.")
    return told


def _border_or_inside(budget: ErrorBudget) -> str:
    """Whether borders or the rest hold more of the lost points."""
    near = next(step.end for step in budget.steps if step.key == "border-5") - budget.miou
    lost = budget.ceiling - budget.miou
    if lost <= 0:
        return ""
    if near > 0.6 * lost:
        return (
            "Most of the lost points are at borders: finer output or larger input helps more than more classes' data."
        )
    if near < 0.4 * lost:
        return "Most of the lost points are not at borders: whole regions are called something else."
    return "Borders and interiors hold about as many of the lost points."


def waterfall(budget: ErrorBudget) -> Markup:
    """From mIoU to the ceiling, one bar a step; it adds up because each step corrects what those before it left."""
    rows: list[tuple[str, float, float, str, str]] = [("mIoU now", 0.0, budget.miou, "bar", percent(budget.miou))]
    rows += [(step.title, step.start, step.end, "bar low", points(step.gain)) for step in budget.steps]
    rows.append(("all of it right", 0.0, budget.ceiling, "bar", percent(budget.ceiling)))
    frame = Frame(960, 40 + 34 * len(rows), left=150, right=64, top=8, bottom=32)
    x = Scale(0, 1, *frame.x_range)
    slot = (frame.height - frame.top - frame.bottom) / len(rows)
    parts: list[Markup] = [_grid(frame, x)]
    for index, (name, start, end, kind, text) in enumerate(rows):
        top = frame.top + slot * index
        left, right = sorted((x(start), x(end)))
        bar = tag("rect", x=left, y=top + 5, width=max(right - left, 1.5), height=slot - 10, rx=2, class_=kind)
        label = tag("text", name, x=frame.left - 10, y=top + slot / 2 + 4, class_="mark end", aria_hidden="true")
        value = tag("text", text, x=right + 6, y=top + slot / 2 + 4, class_="note", aria_hidden="true")
        area = tag("rect", x=frame.left, y=top, width=frame.width - frame.left, height=slot)
        told = f"{name}\n{text}" + (f"\n{count(_pixels(budget, name))} wrong pixels" if kind == "bar low" else "")
        parts += [bar, label, value, hit(told, area, right, [top + slot / 2])]
    summary = "; ".join(f"{name} {text}" for name, _, _, _, text in rows)
    return frame.svg(f"mIoU, step by step: {summary}.", parts, "waterfall")


def _grid(frame: Frame, x: Scale) -> Markup:
    floor = frame.height - frame.bottom
    lines = [
        tag("line", x1=x(t), x2=x(t), y1=frame.top, y2=floor, class_="grid")
        + tag("text", f"{100 * t:.0f}", x=x(t), y=floor + 16, class_="tick middle")
        for t in covering_ticks(0, 1, 5)
    ]
    return tag("g", join(lines), aria_hidden="true")


def _pixels(budget: ErrorBudget, title: str) -> int:
    found: Step = next(step for step in budget.steps if step.title == title)
    return found.pixels
