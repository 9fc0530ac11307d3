"""What can be known before a training: its plan, a learning rate, whether the model can learn at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.showing import new_console
from segwright.api.verbs import RUNS, recipe_of

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.training.dry_run import DryRun
    from segwright.training.lr_finder import RateSearch
    from segwright.training.overfit import OverfitCheck


def dry_run(
    source: str | Path,
    overrides: Sequence[str] = (),
    *,
    plot: str | Path | None = None,
    sheet: str | Path | None = None,
    runs: Path = RUNS,
    console: Console | None = None,
) -> DryRun:
    """What `train` would do with the same arguments: data, steps, learning rates, memory and time. Makes no run.

    A few real steps of each stage and a few validation pictures are measured. plot: PNG to write of the learning rates.
    sheet: PNG to write of the first batch with its masks.
    Raises UserError, saying which batch or crop would fit, for a training that does not fit into memory; else as `train`.
    """
    from segwright.training.dry_run import dry_run as rehearse

    console = console or new_console()
    found = rehearse(recipe_of(source, overrides, runs=Path(runs), console=console), console=console)
    if plot is not None:
        from segwright.report.plan_pictures import draw_rates

        draw_rates(found, Path(plot))
    if sheet is not None:
        from segwright.report.plan_pictures import draw_batch

        draw_batch(found.sample, found.space, Path(sheet), title=f"first batch of {found.name}")
    return found


def lr_find(
    source: str | Path,
    overrides: Sequence[str] = (),
    *,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
    plot: str | Path | None = None,
    runs: Path = RUNS,
    console: Console | None = None,
) -> RateSearch:
    """Raise the learning rate from `low` to `high` over so many optimiser steps and watch the loss (Smith 2017).

    Ends early when the loss diverges. The weights are thrown away and no run is made. The recipe's seed decides the
    result. plot: PNG to write. Raises UserError for wrong bounds, else as `train`.
    """
    from segwright.training.lr_finder import find_rate

    console = console or new_console()
    loaded = recipe_of(source, overrides, runs=Path(runs), console=console)
    found = find_rate(loaded, low=low, high=high, steps=steps, console=console)
    if plot is not None and found.rates:
        from segwright.report.plan_pictures import draw_rate_search

        draw_rate_search(found, Path(plot))
    return found


def overfit_one_batch(
    source: str | Path,
    overrides: Sequence[str] = (),
    *,
    steps: int = 300,
    runs: Path = RUNS,
    console: Console | None = None,
) -> OverfitCheck:
    """Train on one batch without augmentation until its pixel accuracy is above 0.95: a sound set-up can do that.

    steps: at most. Makes no run. `causes` of the result says what is probably wrong when it failed. Raises as `train`.
    """
    from segwright.training.overfit import overfit_one_batch as check

    console = console or new_console()
    return check(recipe_of(source, overrides, runs=Path(runs), console=console), steps=steps, console=console)
