"""Chapter "Slices": cities, dark and bright pictures, image rows and sizes of regions, each against the rest."""

from __future__ import annotations

import math
from itertools import groupby

from segwright.evaluation.slices import KINDS, MIN_PICTURES, Slice, clear, slices
from segwright.metrics.intervals import Interval
from segwright.report.chapters.chapter import Chapter
from segwright.report.content import RunReport
from segwright.report.page import render_part
from segwright.report.wording import NONE, bare, listing, points


def slices_chapter(report: RunReport) -> Chapter | None:
    """None where there is nothing to tell apart."""
    found = slices(report.evaluation)
    if not found:
        return None
    html = render_part(
        "slices.html",
        kinds=[(KINDS[kind], list(rows)) for kind, rows in groupby(found, key=lambda one: one.kind)],
        sentences=slice_sentences(found),
        range_of=range_of,
        difference=difference,
        least=MIN_PICTURES,
    )
    return Chapter("slices", "Slices", html)


def slice_sentences(found: tuple[Slice, ...]) -> list[str]:
    """Which slices are clearly worse or better than the rest."""
    told = []
    for verdict in ("worse", "better"):
        named = [one for one in clear(found) if one.verdict == verdict]
        named = named if verdict == "worse" else named[::-1]
        if named:
            words = [f"{_short(one)} ({KINDS[one.kind].lower()}, {difference(one)} points)" for one in named[:5]]
            told.append(f"Clearly {verdict} than the rest: {listing(words)}.")
    return told or ["No slice differs clearly from the rest: with these pictures, differences may be chance."]


def _short(one: Slice) -> str:
    """The title without its limits."""
    return one.title if one.kind in ("group", "rows") else one.title.partition(" (")[0]


def range_of(interval: Interval) -> str:
    """`51.2 to 58.9`, in percent."""
    return NONE if math.isnan(interval.low) else f"{bare(interval.low)} to {bare(interval.high)}"


def difference(one: Slice) -> str:
    return NONE if one.difference is None or math.isnan(one.difference.value) else points(one.difference.value)
