"""`segwright export`: a model as a file for other runtimes, accepted only when it does what the original does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from segwright import api
from segwright.cli.forms import AsJson, Runs, console, example, parse_size

EXAMPLES = example(
    "segwright export runs/latest --to onnx --verify val",
    "segwright export runs/latest --to onnx --with-processing --precision int8 --calibrate DIR --verify val",
    "segwright export model.safetensors --to openvino -o model.xml",
)


def export(
    model: Annotated[str, typer.Argument(help="A run, its name, or a .safetensors file.")],
    to: Annotated[str, typer.Option(help="onnx or openvino.")] = "onnx",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="File to write; in the run's folder `export` without it.")
    ] = None,
    with_processing: Annotated[
        bool, typer.Option("--with-processing", help="uint8 picture in, class ids out: nothing left for the caller.")
    ] = False,
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8.")] = "fp32",
    calibrate: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="int8: pictures to see ranges on; the run's training pictures without it."),
    ] = None,
    size: Annotated[str, typer.Option(metavar="HxW", help="Fixed size of the input, or dynamic for any.")] = "dynamic",
    verify: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|SPLIT", help="Score original and export on these labelled pictures; refuse a worse one."
        ),
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Allowed change of mIoU, points of 100. Default: 0.05, for int8 0.5.")
    ] = None,
    runs: Runs = api.RUNS,
    as_json: AsJson = False,
) -> None:
    """Export a model to ONNX or OpenVINO and prove that it still does the same."""
    result = api.export_model(
        model,
        to=to,
        out=out,
        with_processing=with_processing,
        precision=precision,
        calibrate=calibrate,
        size=None if size == "dynamic" else parse_size(size),
        verify=verify,
        tolerance=tolerance,
        runs=runs,
        console=console(as_json),
    )
    if as_json:
        print(json.dumps(result.to_dict(), ensure_ascii=False))
        return
    show = console()
    if result.verified:
        show.print(_table(result))
    else:
        show.print("Scores of generated pictures agree; not verified on labelled pictures (--verify).", highlight=False)
    show.print(f"model   {result.path}", highlight=False, markup=False, soft_wrap=True)
    names = ", ".join(file.name for file in result.files)
    show.print(f"beside  {names}", highlight=False, markup=False, soft_wrap=True)


def _table(result: api.ExportResult) -> Table:
    first = result.verified[0]
    table = Table(
        title=f"Original and export on {first.pictures} pictures of {first.split} (pooled mIoU)",
        caption="Milliseconds: median of one picture to class ids, while verifying; other programs make them larger.",
        title_justify="left",
        caption_justify="left",
        caption_style="dim",
    )
    table.add_column("runtime")
    for heading in ("mIoU before, %", "after, %", "points", "same class, %", "border shift, px", "ms before", "after"):
        table.add_column(heading, justify="right")
    for one in result.verified:
        shift = "–" if one.border_shift is None else f"{one.border_shift:.3f}"
        table.add_row(
            one.backend,
            *(f"{100 * value:.2f}" for value in one.miou),
            f"{one.points:+.3f}",
            f"{100 * one.agreement:.3f}",
            shift,
            *(f"{value:.1f}" for value in one.milliseconds),
        )
    return table
