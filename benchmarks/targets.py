"""Whether a wish is met: where its measurement lies in the results, and what its interval says. The wishes are in wishes.py.

A ratio is {"median", "low", "high"}, as `rounds.ratio` gives it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Content = Mapping[str, Any]
Look = Callable[[Content], Any]


@dataclass(frozen=True, kw_only=True)
class Target:
    """One wish. file: of the results, without .json. ratio: what counts, a ratio or a number. wish: at least this, or at
    most where `lower`. ours, peer: figures in `unit` for people. note: what to know about it."""

    what: str
    beside: str
    file: str
    ratio: Look
    wish: float
    lower: bool = False
    ours: Look | None = None
    peer: Look | None = None
    unit: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A wish with what was found. ratio: None where it was not measured, as ours and peer."""

    target: Target
    ratio: Mapping[str, float] | None
    ours: float | None
    peer: float | None

    @property
    def verdict(self) -> str:
        """yes, no, too close to tell (the wish lies inside the interval), or not measured."""
        if self.ratio is None:
            return "not measured"
        low, high, wish = self.ratio["low"], self.ratio["high"], self.target.wish
        if self.target.lower:
            low, high, wish = -high, -low, -wish
        return "yes" if low >= wish else "no" if high < wish else "too close to tell"


def load_results(folder: Path) -> dict[str, Content]:
    """File name without .json -> content."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}


def rows(results: Mapping[str, Content], targets: tuple[Target, ...]) -> list[Row]:
    """Every target with its figures."""
    return [
        Row(
            target=target,
            ratio=_as_ratio(_found(results, target, target.ratio)),
            ours=_found(results, target, target.ours),
            peer=_found(results, target, target.peer),
        )
        for target in targets
    ]


def _found(results: Mapping[str, Content], target: Target, look: Look | None) -> Any:
    """None where the measurement, or a part of it, is missing."""
    if look is None or target.file not in results:
        return None
    try:
        return look(results[target.file])
    except (KeyError, IndexError):
        return None


def _as_ratio(found: Any) -> Mapping[str, float] | None:
    return {"median": found, "low": found, "high": found} if isinstance(found, int | float) else found


def ratios(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, float]]]:
    """All ratios of a result with their places in it."""
    if not isinstance(content, Mapping):
        return
    if {"median", "low", "high"} <= set(content):
        yield path, content
        return
    for key, value in content.items():
        yield from ratios(value, (*path, str(key)))


def lower_is_better(path: tuple[str, ...]) -> bool:
    """Whether a ratio is a time of ours over another's: its name says so."""
    name = path[-1]
    return (
        name.startswith(("segwright / ", "seconds_")) or "ours_over_theirs" in name or name.startswith("ratio_help_to")
    )
