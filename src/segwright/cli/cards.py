"""`segwright card`."""

from __future__ import annotations

from typing import Annotated

import typer

from segwright import api
from segwright.cli.forms import Runs, console


def card(run: Annotated[str, typer.Argument(help="A run or its name.")], runs: Runs = api.RUNS) -> None:
    """Write a run's model card again (MODEL_CARD.md in its folder) and print it: scores with intervals, data, limits."""
    print(api.card(run, runs=runs, console=console(quiet=True)), end="")
