"""Figures as words: numbers of three digits, ratios with their interval, tables of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def number(value: float) -> str:
    """Three digits, one where it is tiny."""
    if value == 0:
        return "0"
    if abs(value) < 0.01:
        return f"{value:.1g}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def shown(ratio: Mapping[str, float]) -> str:
    """`2.51 (2.40–2.63)`; a number alone without the interval."""
    low, middle, high = (number(ratio[key]) for key in ("low", "median", "high"))
    return middle if low == high else f"{middle} ({low}–{high})"


def table(heads: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A table of Markdown."""
    cells = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in cells)
