"""Sweeps: trying values of recipe keys, many trainings of one recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.showing import new_console
from segwright.api.verbs import RUNS, write_report

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.training.sweep import SweepRunner
    from segwright.training.trials import Sweep


def sweep(
    source: str | Path,
    texts: Sequence[str],
    *,
    trials: int = 20,
    seed: int = 0,
    name: str | None = None,
    storage: str | None = None,
    prune: bool = True,
    runs: Path = RUNS,
    console: Console | None = None,
) -> Sweep:
    """Train a recipe many times with values that Optuna proposes, and look for the best validation mIoU.

    texts: what varies, such as "optimizer.lr=log(1e-5,1e-2)", "training.batch=int(2,8)", "loss.name=choice(dice,focal)"
    and "loss.args.gamma=uniform(1,3)", beside plain `key=value` overrides. trials: how many trainings. seed: of what is
    proposed; the recipe's seed stays. storage: URL of an Optuna database; None keeps one in the sweep's folder. prune:
    end a trial whose mIoU falls below the median of the others after as many epochs.
    Writes runs/sweeps/NAME with a run folder for each trial and sweep.html; the best trial gets its report. A trial that
    fails is recorded with its message. Raises UserError before anything is written when a range, key or value is wrong,
    Interrupted when a signal asks to stop (everything is saved), SegwrightError when the first three trials all fail.
    """
    from segwright.training.sweep import new_sweep

    console = console or new_console()
    runner = new_sweep(
        str(source),
        texts,
        trials=trials,
        seed=seed,
        name=name,
        storage=storage,
        prune=prune,
        runs=Path(runs),
        console=console,
    )
    return _run(runner, console)


def resume_sweep(
    source: str | Path, *, trials: int | None = None, runs: Path = RUNS, console: Console | None = None
) -> Sweep:
    """Continue a sweep, given by its folder or its name under runs/sweeps, as if it had not been stopped.

    trials: how many there shall be in all from now on; None keeps the number. Raises as `sweep` does.
    """
    from segwright.training.sweep import open_sweep

    console = console or new_console()
    return _run(open_sweep(source, trials=trials, runs=Path(runs), console=console), console)


def _run(runner: SweepRunner, console: Console) -> Sweep:
    from segwright.report.sweep_page import write_sweep_page

    runner.run(write_sweep_page)
    result = runner.result()
    write_sweep_page(result)
    if result.best is not None and not (result.best.run / "report.html").is_file():
        write_report(result.best.run, console=console)
    return result
