"""`segwright crossval` and `segwright soup`: folds, and means of trained models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from segwright import api
from segwright.cli.forms import AsJson, Device, Overrides, Runs, console
from segwright.contracts import UserError


def crossval(
    source: Annotated[str | None, typer.Argument(help="A shipped recipe, a .yaml file, or a run.")] = None,
    overrides: Overrides = None,
    *,
    folds: Annotated[int | None, typer.Option(help="How many; 5 by default.")] = None,
    by: Annotated[
        str | None, typer.Option(help="plain (by chance), stratified (classes even), grouped (groups stay whole).")
    ] = None,
    common: Annotated[
        str | None,
        typer.Option(metavar="SPLIT", help="Where candidates are compared; the recipe's data.val by default."),
    ] = None,
    test: Annotated[
        str | None, typer.Option(metavar="SPLIT", help="Where nothing is chosen: an untouched estimate of the winner.")
    ] = None,
    per_stage: Annotated[
        bool, typer.Option("--per-stage", help="Folds for each stage of the recipe, each from the winner before.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Folds that train at the same time; 1 by default.")
    ] = None,
    resume: Annotated[str | None, typer.Option("--resume", metavar="NAME", help="Continue this one.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of its folder; made up by default.")] = None,
    runs: Runs = api.RUNS,
    as_json: AsJson = False,
) -> None:
    """Train a recipe on folds, compare the best fold with means of folds, and keep the winner."""
    out = console(as_json)
    if resume is not None:
        given = {"source": source, "overrides": overrides, "--folds": folds, "--by": by, "--common": common}
        given |= {"--test": test, "--per-stage": per_stage or None, "--name": name}
        if extra := [key for key, value in given.items() if value]:
            raise UserError(
                f"--resume continues a cross-validation as it is and takes --processes alone; found {', '.join(extra)}. To "
                "change something, start a new one."
            )
        result = api.resume_crossval(resume, processes=processes, runs=runs, console=out)
    elif source is None:
        raise UserError("what to train is missing: a recipe. `segwright crossval --help` has an example.")
    else:
        result = api.crossval(
            source,
            overrides or [],
            folds=5 if folds is None else folds,
            by=by or "plain",
            common=common,
            test=test,
            per_stage=per_stage,
            processes=processes or 1,
            name=name,
            runs=runs,
            console=out,
        )
    if as_json:
        print(json.dumps(result.to_dict(), ensure_ascii=False))
        return
    out.print(result.table())
    out.print(f"winner  {result.winner_file}", highlight=False, markup=False, soft_wrap=True)
    out.print(f"report  {result.report}", highlight=False, markup=False, soft_wrap=True)


def soup(
    models: Annotated[list[str], typer.Argument(metavar="RUN...", help="Two or more runs.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Model file to write.")] = Path("soup.safetensors"),
    *,
    held_out: Annotated[
        str | None, typer.Option(metavar="SPLIT", help="Split that decides; the first run's data.val by default.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Keep a run only where it surely makes the soup better.")
    ] = False,
    device: Device = "auto",
    runs: Runs = api.RUNS,
    as_json: AsJson = False,
) -> None:
    """Average the parameters of several runs, keeping those that held-out pictures speak for."""
    show = console(as_json)
    result = api.soup(models, out, held_out=held_out, strict=strict, device=device, runs=runs, console=show)
    if as_json:
        print(json.dumps(result.to_dict(), ensure_ascii=False))
        return
    show.print(result.table())
    show.print(f"model   {result.file}", highlight=False, markup=False, soft_wrap=True)
