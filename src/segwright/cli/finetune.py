"""`segwright finetune`: go on from a trained model, on other pictures or classes."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from segwright import api
from segwright.cli.forms import AsJson, Overrides, Runs, console
from segwright.contracts import UserError


def finetune(
    source: Annotated[str, typer.Argument(help="A run, its name, a weights file, or hf://owner/name.")],
    data: Annotated[str, typer.Argument(help="A folder of images and masks, a recipe, or a run.")],
    overrides: Overrides = None,
    *,
    freeze: Annotated[
        str | None,
        typer.Option(
            metavar="POLICY",
            help="backbone, a share of the layers such as 0.5, none, or gradual; by default what the rule of thumb says.",
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Train frozen, half frozen and from scratch, and compare.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the run; made up by default.")] = None,
    runs: Runs = api.RUNS,
    as_json: AsJson = False,
) -> None:
    """Go on from a trained model: new classes by name, layers that stay as they are, a table of what helps."""
    out = console(as_json)
    if not compare:
        result = api.finetune(source, data, overrides or [], freeze=freeze, name=name, runs=runs, console=out)
        if as_json:
            print(json.dumps(result.evaluation.to_dict(), ensure_ascii=False))
            return
        out.print(result.evaluation.table())
        out.print(f"model   {result.path / 'checkpoints' / 'best.safetensors'}", highlight=False, soft_wrap=True)
        out.print(f"report  {result.report}", highlight=False, soft_wrap=True)
        return
    if freeze is not None:
        raise UserError("--compare freezes in its own three ways: leave --freeze out.")
    comparison = api.compare_transfers(source, data, overrides or [], name=name, runs=runs, console=out)
    if as_json:
        print(json.dumps(comparison.to_dict(), ensure_ascii=False))
    else:
        out.print(comparison.table())
