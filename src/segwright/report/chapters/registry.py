"""Every chapter by name: one file each, with a template of the same name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from markupsafe import Markup

from segwright.report.content import RunReport


@dataclass(frozen=True)
class Chapter:
    """A section of the page. id: its anchor. title: in the navigation. html: <section id="…"> with everything in it."""

    id: str
    title: str
    html: Markup


CHAPTERS: Mapping[str, Callable[[RunReport], Chapter | None]] = MappingProxyType({})
"""Name -> the chapter of a report, None where the run has nothing for it."""
