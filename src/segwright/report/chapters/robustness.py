"""Chapter "Robustness": how the score falls when the pictures get worse, where `segwright robustness` was run."""

from __future__ import annotations

import math

from markupsafe import Markup

from segwright.data.corruptions import CORRUPTIONS, SEVERITIES
from segwright.evaluation.robustness import Robustness
from segwright.report.chapters.chapter import Chapter
from segwright.report.content import RunReport
from segwright.report.figures import Frame, Scale, hit, polyline, tag
from segwright.report.page import render_part
from segwright.report.wording import listing, percent, points


def robustness_chapter(report: RunReport) -> Chapter | None:
    """None where the run has no robustness results of this model."""
    found = report.robustness
    if found is None:
        return None
    ranked = sorted(found.corruptions, key=found.kept)
    html = render_part(
        "robustness.html",
        found=found,
        sentence=robustness_sentence(found),
        severities=SEVERITIES,
        rows=[(CORRUPTIONS[name], found.difference(name), found.kept(name)) for name in ranked],
        charts=[(CORRUPTIONS[name], falling(found, name)) for name in ranked],
    )
    return Chapter("robustness", "Robustness", html)


def robustness_sentence(found: Robustness) -> str:
    """What hurts most, and what the model bears."""
    ranked = sorted(found.corruptions, key=found.kept)
    hurt = [name for name in ranked if found.difference(name).verdict == "worse"]
    named = [
        f"{name} (keeps {percent(found.kept(name), 0)}, {points(found.difference(name).value)} points)"
        for name in hurt[:3]
    ]
    borne = [name for name in ranked if name not in hurt]
    text = f"What hurts most: {listing(named)}." if named else "No corruption lowers the score clearly."
    return text + (f" No clear loss under {listing(borne)}." if borne and named else "")


def falling(found: Robustness, name: str) -> Markup:
    """mIoU over the severities of one corruption, from the clean pictures at 0."""
    scored = [(0, found.clean), *((s, found.miou(name, s)) for s in found.severities(name))]
    frame = Frame(240, 150, left=34, right=12, top=10, bottom=24)
    x, y = Scale(0, SEVERITIES[-1], *frame.x_range), Scale(0, 1, *frame.y_range)
    axes = frame.y_axis(y, [0, 0.5, 1], lambda t: f"{100 * t:.0f}")
    axes += frame.x_axis(x, [0, *SEVERITIES], lambda t: f"{t:.0f}" if t else "clean", "")
    slot = x(1) - x(0)
    hits = [
        hit(
            f"{name}, {f'severity {severity}' if severity else 'clean'}\nmIoU {percent(miou)}",
            tag("rect", x=x(severity) - slot / 2, y=frame.top, width=slot, height=frame.y_range[0] - frame.top),
            x(severity),
            [y(miou)],
        )
        for severity, miou in scored
        if math.isfinite(miou)
    ]
    told = "; ".join(f"{severity or 'clean'} {percent(miou)}" for severity, miou in scored)
    return frame.svg(f"mIoU under {name} by severity: {told}.", [axes, polyline(scored, x, y, "a"), *hits], "lines")
