"""Every chapter by name: one file each, with a template of the same name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from segwright.report.chapters.budget import budget_chapter
from segwright.report.chapters.chapter import Chapter
from segwright.report.chapters.confidence import confidence_chapter
from segwright.report.chapters.regions import regions_chapter
from segwright.report.chapters.robustness import robustness_chapter
from segwright.report.chapters.slices import slices_chapter
from segwright.report.content import RunReport

CHAPTERS: Mapping[str, Callable[[RunReport], Chapter | None]] = MappingProxyType(
    {
        "budget": budget_chapter,
        "regions": regions_chapter,
        "confidence": confidence_chapter,
        "slices": slices_chapter,
        "robustness": robustness_chapter,
    }
)
"""Name -> the chapter of a report, None where the run has nothing for it."""
