"""Wrong names: which one was meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """' Did you mean …?', or nothing where no choice is close."""
    close = get_close_matches(name, list(choices), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""
