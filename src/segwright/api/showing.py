"""Where the verbs print: a console, and a progress bar on it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 140
"""Columns where the output is not a terminal, so that log lines stay whole."""


def new_console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDTH)


def counting(console: Console, what: str) -> Any:
    """A context that gives a function (done, total), drawn as a progress bar with ETA on a terminal."""
    from segwright.training.progress import Counting

    return Counting(console, what)
