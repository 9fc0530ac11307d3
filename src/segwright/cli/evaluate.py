"""`segwright evaluate`: scores of a model, of several together, or of prediction files made elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from segwright import api
from segwright.cli.forms import AsJson, Device, Runs, console, example
from segwright.contracts import UserError
from segwright.metrics.protocols import PROTOCOLS
from segwright.runs.launch import place

EXAMPLES = example(
    "segwright evaluate runs/latest",
    "segwright evaluate model.safetensors data.name=camvid data.root=DIR",
    "segwright evaluate --predictions DIR data.root=CITYSCAPES --protocol cityscapes",
)


def evaluate(
    model: Annotated[
        str | None, typer.Argument(help="A run, its name, or a .safetensors file; not needed with --predictions.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[data.KEY=VALUE]...", help="Other data to score on.")
    ] = None,
    ensemble: Annotated[
        bool,
        typer.Option("--ensemble", help="Further models may follow; all are scored as one, their mean probabilities."),
    ] = False,
    predictions: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Score these prediction files (PNG) instead of a model.")
    ] = None,
    prediction_ids: Annotated[
        str | None,
        typer.Option(help="What their numbers are: label (as in the masks; the default) or train (class ids 0..K-1)."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split to score; the validation split by default.")] = None,
    protocol: Annotated[str | None, typer.Option(help=f"Scoring definition: {', '.join(PROTOCOLS)}.")] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="SPACE", help="Label space to score in; the model's by default.")
    ] = None,
    measure: Annotated[
        list[str] | None, typer.Option(help="What else to measure; may be repeated. Default: all; none is fastest.")
    ] = None,
    device: Device = "auto",
    runs: Runs = api.RUNS,
    as_json: AsJson = False,
) -> None:
    """Score a model, or prediction files, on labelled pictures at their original size."""
    quiet = console(as_json)
    keys = list(overrides or [])
    if predictions is not None and model is not None and "=" in model:
        keys = [model, *keys]
        model = None
    if predictions is not None and ensemble:
        raise UserError("--predictions scores files and --ensemble models: take one of them.")
    if prediction_ids is not None and predictions is None:
        raise UserError("--prediction-ids says what the files of --predictions DIR hold: add it.")
    others = [text for text in keys if ensemble and "=" not in text]
    if ensemble and not others:
        raise UserError("--ensemble needs two models or more, such as: segwright evaluate runs/A runs/B --ensemble")
    result = api.evaluate(
        model,
        [text for text in keys if text not in others],
        ensemble=others,
        predictions=predictions,
        prediction_ids=prediction_ids,
        split=split,
        protocol=protocol,
        labels=labels,
        measures=measure or ("all",),
        device=device,
        runs=runs,
        console=quiet,
    )
    if as_json:
        if place()[0] == 0:
            print(json.dumps(result.to_dict(), ensure_ascii=False))
    else:
        console().print(result.table())
