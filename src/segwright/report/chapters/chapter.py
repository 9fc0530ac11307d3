"""What a chapter of a run's report is."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Chapter:
    """A section of the page. id: its anchor. title: in the navigation. html: <section id="…"> with everything in it."""

    id: str
    title: str
    html: Markup
