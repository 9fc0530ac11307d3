"""Chapters of a run's report beyond the confusion counts, in their order on the page."""

from segwright.report.chapters.chapter import Chapter
from segwright.report.chapters.registry import CHAPTERS

__all__ = ["CHAPTERS", "Chapter"]
