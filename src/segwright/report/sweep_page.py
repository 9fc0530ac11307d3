"""The page of a sweep: its best trial and the command for it, all trials as parallel coordinates, and a table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from segwright.recipe.ranges import Range
from segwright.report.page import render_page, static, write_page
from segwright.report.parallel import parallel_chart
from segwright.report.wording import NONE, duration
from segwright.training.trials import Sweep, Trial, ranked

ORDER = {"done": 0, "pruned": 1, "stopped": 2, "failed": 3}


@dataclass(frozen=True)
class Row:
    """A trial in the table. spent: its time; values: text and sorting value by swept key; order: of its state."""

    trial: Trial
    spent: str
    values: tuple[tuple[str, float], ...]
    order: int


def write_sweep_page(sweep: Sweep) -> Path:
    """Write sweep.html into the sweep's folder, atomically. Returns its path. Raises UserError when it cannot be written."""
    return write_page(render_sweep_page(sweep), sweep.page)


def render_sweep_page(sweep: Sweep) -> str:
    """The page as text, one file that loads nothing."""
    seconds = math.fsum(trial.seconds for trial in sweep.trials if trial.seconds is not None)
    return render_page(
        "sweep.html",
        style=static("report.css") + static("sweep.css"),
        script=static("sweep.js"),
        sweep=sweep,
        best=sweep.best,
        scored=sum(trial.state == "done" for trial in sweep.trials),
        counts={state: sum(trial.state == state for trial in sweep.trials) for state in ORDER},
        spent=duration(seconds) if seconds else NONE,
        chart=parallel_chart(sweep),
        keys=[found.key for found in sweep.ranges],
        rows=[_row(trial, sweep) for trial in ranked(sweep.trials)],
    )


def _row(trial: Trial, sweep: Sweep) -> Row:
    spent = NONE if trial.seconds is None else duration(trial.seconds)
    return Row(trial, spent, tuple(_value(trial, found) for found in sweep.ranges), ORDER[trial.state])


def _value(trial: Trial, found: Range) -> tuple[str, float]:
    text = trial.values.get(found.key)
    if text is None:
        return NONE, math.nan
    return text, found.values.index(text) if found.form == "choice" else float(text)
