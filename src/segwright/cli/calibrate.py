"""`segwright calibrate`: confidence that can be taken at its word."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from segwright import api
from segwright.cli.forms import AsJson, Device, Runs, console

if TYPE_CHECKING:
    from segwright.evaluation.calibrate import CalibrationResult


def calibrate(
    model: Annotated[str, typer.Argument(help="A run, its name, or a .safetensors file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[data.KEY=VALUE]...", help="Other data to fit on.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Labelled split to fit on; the validation split by default.")
    ] = None,
    classwise: Annotated[bool, typer.Option("--classwise", help="One temperature for each predicted class.")] = False,
    risk: Annotated[
        list[float] | None,
        typer.Option(help="Wished share of wrong pixels, 0..1; may be repeated. Prints the threshold that keeps it."),
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File to write; the model's own without it.")] = None,
    save: Annotated[bool, typer.Option("--save/--no-save", help="Keep the temperature in the model file.")] = True,
    seed: Annotated[int, typer.Option(help="Of the sampled pixels and of the halves.")] = 0,
    device: Device = "auto",
    runs: Runs = api.RUNS,
    as_json: AsJson = False,
) -> None:
    """Fit the temperature that makes a model as often right as its confidence says, and keep it in the model file."""
    found = api.calibrate(
        model,
        overrides or [],
        split=split,
        classwise=classwise,
        risks=risk or (0.01, 0.02, 0.05),
        out=out,
        save=save,
        seed=seed,
        device=device,
        runs=runs,
        console=console(as_json),
    )
    if as_json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    show = console()
    show.print(_changes(found))
    show.print(_verdict(found, save), highlight=False, markup=False)
    show.print(_answers(found))


def _changes(found: CalibrationResult) -> Table:
    fitted, judged = found.pictures
    table = Table(
        title=f"{found.split}: fitted on {fitted} pictures, judged on the other {judged}",
        caption=f"{found.nll_change.conditions}. Up to {found.per_picture:,} pixels a picture, seed {found.seed}.",
        title_justify="left",
        caption_justify="left",
        caption_style="dim",
    )
    table.add_column("on the other half")
    for heading in ("before", "after", "change"):
        table.add_column(heading, justify="right")
    table.add_row("negative log-likelihood, nats", *(f"{v:.4f}" for v in found.nll), str(found.nll_change))
    low, high = 100 * found.ece_change.low, 100 * found.ece_change.high
    change = f"{100 * found.ece_change.value:+.2f} [{low:+.2f}, {high:+.2f}]"
    table.add_row("expected calibration error, %", *(f"{100 * v:.2f}" for v in found.ece), change)
    return table


def _verdict(found: CalibrationResult, save: bool) -> str:
    if not found.kept:
        return (
            "No temperature is kept: it does not lower the negative log-likelihood of pictures that it was not fitted on. "
            "The model answers as it was trained."
        )
    if len(found.temperatures) == 1:
        value = found.temperatures[0]
        means = "it was too sure" if value > 1 else "it was not sure enough"
        text = f"Temperature {value:.3f}, fitted on all pictures: {means}."
    else:
        low, high = min(found.temperatures), max(found.temperatures)
        text = f"Temperatures by predicted class from {low:.3f} to {high:.3f}, fitted on all pictures."
        if found.shared:
            text += f" Too rare for their own: {', '.join(found.shared)}."
    unsure = "" if found.nll_change.verdict == "worse" else " The interval holds 0: that it helps is not certain."
    return f"{text}{unsure} {'Kept in the model file' if save else 'Not saved'}; class ids stay as they are."


def _answers(found: CalibrationResult) -> Table:
    table = Table(
        title="Answering only where it is sure enough: segwright predict … --abstain-below THRESHOLD",
        caption="Measured on all pictures of the split, the temperature included.",
        title_justify="left",
        caption_justify="left",
        caption_style="dim",
    )
    for heading in ("wished risk, %", "threshold", "answered, %", "wrong among these, %"):
        table.add_column(heading, justify="right")
    for wished, point in found.answers.items():
        cells = (
            ("–", "–", "no threshold keeps it")
            if point is None
            else _cells(point.threshold, point.coverage, point.risk)
        )
        table.add_row(f"{100 * wished:g}", *cells)
    return table


def _cells(threshold: float, coverage: float, risk: float) -> tuple[str, str, str]:
    # Rounded down: rounded up, 0.9999996 would be 1, which nothing reaches.
    return f"{math.floor(1e6 * threshold) / 1e6:.6f}", f"{100 * coverage:.1f}", f"{100 * risk:.2f}"
