"""`segwright sweep`: one recipe, many trainings, the best values."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from segwright import api
from segwright.cli.forms import AsJson, Runs, console
from segwright.contracts import UserError


def sweep(
    source: Annotated[str | None, typer.Argument(help="A shipped recipe, a .yaml file, or a run.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=RANGE | KEY=VALUE]...",
            help="Ranges: log(LOW,HIGH), uniform(LOW,HIGH), int(LOW,HIGH[,STEP]), choice(A,B,...); in quotes.",
        ),
    ] = None,
    *,
    trials: Annotated[int | None, typer.Option(help="Trainings in all; 20 by default.")] = None,
    resume: Annotated[str | None, typer.Option("--resume", metavar="SWEEP", help="Continue this sweep.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the sweep; the recipe's with a number by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides what is tried.")] = 0,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Database to keep the trials in; one in the sweep's folder by default."),
    ] = None,
    prune: Annotated[bool, typer.Option(help="End trials early that lag behind the median.")] = True,
    runs: Runs = api.RUNS,
    as_json: AsJson = False,
) -> None:
    """Train a recipe with many values of some keys, and find the best ones."""
    out = console(as_json)
    if resume is not None:
        if extra := [text for text in (source, *(overrides or []), name, storage) if text]:
            raise UserError(
                f"--resume continues a sweep as it is and takes --trials alone; found {' '.join(extra)}. To change "
                "something, start a new sweep."
            )
        result = api.resume_sweep(resume, trials=trials, runs=runs, console=out)
    elif source is None:
        raise UserError(
            "what to sweep over is missing: a recipe, then ranges. `segwright sweep --help` has an example."
        )
    else:
        wanted = 20 if trials is None else trials
        result = api.sweep(
            source,
            overrides or [],
            trials=wanted,
            seed=seed,
            name=name,
            storage=storage,
            prune=prune,
            runs=runs,
            console=out,
        )
    if as_json:
        print(json.dumps(result.to_dict(), ensure_ascii=False))
        return
    out.print(result.table(), markup=False)
    out.print(f"page    {result.page}", highlight=False, markup=False, soft_wrap=True)
    if result.command is not None:
        out.print(f"best    {result.command}", highlight=False, markup=False, soft_wrap=True)
