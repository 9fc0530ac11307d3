"""A curve made of characters, for terminals and logs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
WIDTH, HEIGHT = 64, 6


def text_plot(
    values: Sequence[float],
    *,
    ends: tuple[str, str],
    width: int = WIDTH,
    height: int = HEIGHT,
    form: Callable[[float], str] = lambda value: f"{value:.2g}",
    plain: bool = False,
    zero: bool = True,
) -> list[str]:
    """Lines of a filled curve: values from left to right, with the largest and the lowest of the axis at its left.

    values: spread over `width` columns; each column shows the mean of its values. Those that are not finite are left out.
    ends: what to write below its left and right end. plain: ASCII alone. zero: the axis begins at 0, else at the least.
    Returns [] without any finite value.
    """
    columns = _columns(values, width)
    known = [value for value in columns if math.isfinite(value)]
    if not known:
        return []
    top, bottom = max(known), min(0.0, *known) if zero else min(known)
    span = top - bottom or 1.0
    eighths = [round((v - bottom) / span * height * 8) if math.isfinite(v) else 0 for v in columns]
    if not zero:
        eighths = [max(1, filled) if math.isfinite(v) else 0 for filled, v in zip(eighths, columns, strict=True)]
    labels = {height - 1: form(bottom)} | {0: form(top)}
    margin = max(map(len, labels.values()))
    lines = []
    for row in range(height):
        below = (height - 1 - row) * 8
        cells = [min(8, max(0, filled - below)) for filled in eighths]
        drawn = "".join(("#" if cell >= 4 else " ") if plain else BLOCKS[cell] for cell in cells)
        lines.append(f"{labels.get(row, ''):>{margin}} {'|' if plain else '│'}{drawn}".rstrip())
    between = max(1, len(columns) - len(ends[0]) - len(ends[1]))
    lines.append(f"{'':>{margin}}  {ends[0]}{' ' * between}{ends[1]}")
    return lines


def _columns(values: Sequence[float], width: int) -> list[float]:
    """At most `width` means of neighbouring values, fewer values stretched to the whole width."""
    count = len(values)
    found = []
    for column in range(width if count else 0):
        start = column * count // width
        end = max(start + 1, (column + 1) * count // width)
        part = [value for value in values[start:end] if math.isfinite(value)]
        found.append(math.fsum(part) / len(part) if part else math.nan)
    return found
