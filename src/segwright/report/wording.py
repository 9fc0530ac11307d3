"""How the report writes numbers. An undefined number is an en dash, never 0 and never "nan"."""

from __future__ import annotations

import math
from collections.abc import Sequence

NONE = "–"
THIN = "\u202f"  # narrow no-break space: between digits and before a unit


def percent(value: float | None, digits: int = 1) -> str:
    """0.6234 -> "62.3 %". None and NaN -> "–". A share that rounds to zero but is not zero says "< 0.1 %"."""
    if value is None or not math.isfinite(value):
        return NONE
    step = 10.0**-digits
    if 0 < value * 100 < step / 2:
        return f"<{THIN}{step:.{digits}f}{THIN}%"
    return f"{value * 100:.{digits}f}{THIN}%"


def bare(value: float, digits: int = 1) -> str:
    """As `percent`, without the unit: for columns that say it in their heading."""
    return percent(value, digits).replace(f"{THIN}%", "").replace(THIN, "")


def points(value: float) -> str:
    """A difference of two percentages: 0.0191 -> "+1.9"."""
    return "<0.1" if 0 < value < 0.0005 else f"{value * 100:+.1f}".replace("-", "−")


def count(value: float) -> str:
    """41210 -> "41 210", with narrow no-break spaces."""
    return f"{int(value):,}".replace(",", THIN)


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits without an exponent where that stays short: 0.0031, 0.91, 31.2, 812."""
    if value is None or not math.isfinite(value):
        return NONE
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    if abs(value) >= 10**digits:
        return count(round(value))
    return f"{value:.{digits}g}"


def duration(seconds: float) -> str:
    """45.2 -> "45 s"; 600 -> "10 min 0 s"; 7260 -> "2 h 1 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f}{THIN}s" if seconds < 9.95 else f"{whole}{THIN}s"
    if whole < 3600:
        return f"{whole // 60}{THIN}min {whole % 60}{THIN}s"
    return f"{whole // 3600}{THIN}h {whole % 3600 // 60}{THIN}min"


def listing(words: Sequence[str], *, most: int = 12) -> str:
    """["a", "b", "c"] -> "a, b and c"; beyond `most` words "a, b and 7 more"."""
    shown = list(words) if len(words) <= most else [*words[: most - 1], f"{len(words) - most + 1} more"]
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else "".join(shown)


def coefficient(value: float) -> str:
    """A correlation with its sign: +0.71, −0.20, "–" where undefined."""
    return f"{value:+.2f}".replace("-", "−") if math.isfinite(value) else NONE
