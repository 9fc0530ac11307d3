"""`segwright train --dry-run`, `segwright train --overfit-one-batch`, `segwright lr-find`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from segwright import api
from segwright.cli.forms import AsJson, Overrides, Runs, console

if TYPE_CHECKING:
    from segwright.training.dry_run import DryRun

CLASSES_SHOWN = 6


def show_dry_run(
    source: str, keys: Sequence[str], *, plot: Path | None, sheet: Path | None, runs: Path, as_json: bool
) -> None:
    """Measure and print the plan of a training."""
    found = api.dry_run(source, keys, plot=plot, sheet=sheet, runs=runs, console=console(as_json))
    if as_json:
        print(json.dumps(_finite(found.to_dict()), ensure_ascii=False))
        return
    out = console()
    _print_plan(found, out)
    for name, path in (("plot", plot), ("sheet", sheet)):
        if path is not None:
            out.print(f"{name:<7} {path}", highlight=False, markup=False, soft_wrap=True)
    out.print("Nothing was written; the same command without --dry-run trains.", highlight=False)


def show_overfit(source: str, keys: Sequence[str], *, runs: Path, as_json: bool) -> None:
    """Run the check; exit code 1 when it failed."""
    found = api.overfit_one_batch(source, keys, runs=runs, console=console(as_json))
    if as_json:
        print(json.dumps(_finite(found.to_dict()), ensure_ascii=False))
    else:
        word, color = ("passed", "green") if found.passed else ("failed", "red")
        first, last = found.losses
        text = (
            f"[{color}]{word}[/]: one batch of {len(found.pictures)} pictures, {found.steps} steps, pixel accuracy "
            f"{found.accuracy:.1%} (above 95% is wanted), loss {first:.3f} to {last:.3f}"
        )
        out = console()
        out.print(text, highlight=False)
        for cause in found.causes:
            out.print(f"  likely cause: {cause}", highlight=False, markup=False)
    if not found.passed:
        raise typer.Exit(1)


def lr_find(
    source: Annotated[str, typer.Argument(help="A shipped recipe, a .yaml file, a run, or a folder.")],
    overrides: Overrides = None,
    low: Annotated[float, typer.Option("--from", help="First learning rate.")] = 1e-6,
    high: Annotated[float, typer.Option("--to", help="Last learning rate, if the loss does not diverge before.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 100,
    plot: Annotated[Path, typer.Option("--plot", metavar="FILE.png", help="Plot to write.")] = Path("lr-find.png"),
    runs: Runs = api.RUNS,
    as_json: AsJson = False,
) -> None:
    """Look for a good learning rate: raise it from step to step and watch the loss. Keeps no weights."""
    quiet = console(as_json)
    found = api.lr_find(source, overrides or [], low=low, high=high, steps=steps, plot=plot, runs=runs, console=quiet)
    if as_json:
        print(json.dumps(_finite(found.to_dict()), ensure_ascii=False))
        return
    from segwright.training.terminal_plot import text_plot

    out = console()
    if found.smoothed:
        shown = [min(value, found.smoothed[0] * 1.5) for value in found.smoothed]
        ends = (f"lr {found.rates[0]:.1e}", f"{found.rates[-1]:.1e}")
        _print_lines(text_plot(shown, ends=ends, plain=_is_ascii(out), zero=False), out)
    how = "the loss diverged there" if found.diverged else "the loss did not diverge"
    out.print(f"{len(found.rates)} steps; {how}", highlight=False)
    if found.steepest is None or found.tenth_of_lowest is None or found.suggestion is None:
        out.print(
            "the loss did not fall at any rate: try a wider range (--from, --to) or more --steps", highlight=False
        )
    else:
        out.print(f"steepest fall at      {found.steepest:.2g}", highlight=False)
        out.print(f"a tenth of the lowest {found.tenth_of_lowest:.2g}", highlight=False)
        out.print(f"try  optimizer.lr={found.suggestion:.2g}", highlight=False)
    if found.rates:
        out.print(f"plot {plot}", highlight=False, markup=False, soft_wrap=True)


def _print_plan(found: DryRun, out: Console) -> None:
    from segwright.training.progress import duration
    from segwright.training.terminal_plot import text_plot

    data = Table("split", "pictures", "ignored pixels", "classes by their share of the labelled pixels")
    for name, split in found.splits.items():
        ranked = sorted(split.classes.items(), key=lambda item: -item[1])
        shown = ", ".join(f"{title} {share:.1%}" for title, share in ranked[:CLASSES_SHOWN])
        rest = f" … ({len(ranked)} classes)" if len(ranked) > CLASSES_SHOWN else ""
        data.add_row(name, str(split.pictures), f"{split.ignored:.1%}", shown + rest)
    out.print(data)
    staged = len(found.stages) > 1
    table = Table(
        *(["stage"] if staged else []),
        *("epochs", "crop", "batch", "steps an epoch", "steps", "s/step", "memory of a step", "time"),
    )
    for stage in found.stages:
        first, last = stage.epochs
        accumulated = f" × {stage.accumulation}" if stage.accumulation > 1 else ""
        need = "?" if stage.needed_bytes is None else f"about {_in_bytes(stage.needed_bytes)}"
        table.add_row(
            *([stage.name] if staged else []),
            *(f"{first}–{last}", f"{stage.crop[0]}×{stage.crop[1]}", f"{stage.batch}{accumulated}"),
            *(str(stage.steps), str(stage.total_steps), f"{stage.batch_s * stage.accumulation:.3f}", need),
            duration(stage.training_s),
        )
    out.print(table)
    rates = [rate for stage in found.stages for _, rate in stage.rates]
    ends = ("step 1", str(found.total_steps))
    out.print("learning rate", highlight=False)
    _print_lines(text_plot(rates, ends=ends, form=lambda v: f"{v:.1e}", plain=_is_ascii(out)), out)
    classes = found.space.num_classes
    expected = "" if found.ln_k is None else f" (an uninformed model of {classes} classes has {found.ln_k:.2f})"
    out.print(f"first loss   {found.first_loss:.2f}{expected}", highlight=False)
    free = "" if found.free_bytes is None else f", {_in_bytes(found.free_bytes)} free on {found.device}"
    out.print(f"memory       {_in_bytes(found.peak_mb * 1e6)} at most in this probe{free}", highlight=False)
    out.print(f"mode         {found.device}, {found.precision}, {found.memory_format}", highlight=False)
    count = sum(stage.validations for stage in found.stages)
    training_s = math.fsum(stage.training_s for stage in found.stages)
    out.print(
        f"time         about {duration(found.total_s)} in all: training {duration(training_s)}, {count} validations of "
        f"{duration(found.validation_s)}",
        highlight=False,
    )


def _in_bytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _print_lines(lines: Sequence[str], out: Console) -> None:
    for line in lines:
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def _is_ascii(out: Console) -> bool:
    return out.options.ascii_only


def _finite(content: object) -> object:
    """JSON knows no NaN and no infinity: null stands for them."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
