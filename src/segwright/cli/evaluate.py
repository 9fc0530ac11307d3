"""`segwright evaluate`: scores of a model, of several together, or of prediction files made elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segwright import api
from segwright.cli.crf import CRF, CRF_SET, asked_crf
from segwright.cli.forms import AsJson, Backend, Device, Overlap, Runs, Tta, Window, console, example
from segwright.contracts import UserError
from segwright.metrics.protocols import PROTOCOLS
from segwright.runs.launch import place

if TYPE_CHECKING:
    from segwright.evaluation.result import Evaluation

EXAMPLES = example(
    "segwright evaluate runs/latest",
    "segwright evaluate model.safetensors data.name=camvid data.root=DIR",
    "segwright evaluate runs/latest --explain",
    "segwright evaluate runs/latest --tta flip,scales=0.75:1:1.25",
    "segwright evaluate runs/latest/export/model.onnx",
    "segwright evaluate --predictions DIR data.root=CITYSCAPES --protocol cityscapes",
)


def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(help="A run, its name, a model file, or a cross-validation; not with --predictions."),
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
    at: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Score at another size than the pictures have: network, or such as 512x1024 (height × width).",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Why your number differs: the score under every convention, in one table.")
    ] = False,
    measure: Annotated[
        list[str] | None, typer.Option(help="What else to measure; may be repeated. Default: all; none is fastest.")
    ] = None,
    window: Window = None,
    overlap: Overlap = None,
    tta: Tta = None,
    crf: CRF = False,
    crf_set: CRF_SET = None,
    backend: Backend = None,
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
    if (crf or crf_set or window or tta) and (explain or predictions is not None):
        raise UserError("--crf, --window and --tta change a model's scores: leave out --explain and --predictions.")
    if explain:
        if place()[1] > 1:
            raise UserError("--explain runs in one process: start it without torchrun.")
        if others or measure:
            raise UserError(
                "--explain tells one model's scores under every convention: leave out --ensemble and --measure."
            )
        if backend is not None:
            raise UserError("--explain takes the model as it is: leave out --backend, or name an exported file.")
        explained = api.explain(
            model,
            keys,
            predictions=predictions,
            prediction_ids=prediction_ids,
            split=split,
            protocol=protocol,
            labels=labels,
            at=at,
            device=device,
            runs=runs,
            console=quiet,
        )
        if as_json:
            print(json.dumps(explained.to_dict(), ensure_ascii=False))
        else:
            console().print(explained.table())
        return
    result = api.evaluate(
        model,
        [text for text in keys if text not in others],
        ensemble=others,
        predictions=predictions,
        prediction_ids=prediction_ids,
        split=split,
        protocol=protocol,
        labels=labels,
        at=at,
        window=window,
        overlap=overlap,
        tta=tta,
        measures=measure or ("all",),
        crf=asked_crf(crf, crf_set),
        backend=backend,
        device=device,
        runs=runs,
        console=quiet,
    )
    if as_json:
        if place()[0] == 0:
            print(json.dumps(result.to_dict(), ensure_ascii=False))
    else:
        console().print(result.table())
        if told := _intervals(result):
            console().print(told, highlight=False, markup=False, soft_wrap=True)


def _intervals(result: Evaluation) -> str:
    """The interval of a cross-validation's pooled mIoU in words; empty for anything else."""
    found = result.measures.get("intervals", {})
    own = found.get("miou")
    if own is None or None in own.values():
        return ""
    numbers = [f"{100 * own[key]:.1f}" for key in ("value", "low", "high")]
    return (
        f"mIoU {numbers[0]} % [{numbers[1]}, {numbers[2]}], {found['conditions']}. Each picture was predicted by the fold that "
        "held it out; the epoch of each fold was chosen on the same pictures, so this is a little too good."
    )
