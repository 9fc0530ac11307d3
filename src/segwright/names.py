"""Wrong names: which one was meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """' Did you mean …?', whatever the case; or nothing where no choice is close."""
    known = {choice.lower(): choice for choice in choices}
    close = get_close_matches(name.lower(), known, n=1)
    return f" Did you mean '{known[close[0]]}'?" if close else ""
