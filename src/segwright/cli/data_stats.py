"""`segwright data stats`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from segwright import api
from segwright.cli.data import data_app
from segwright.cli.forms import AsJson, DataSet, Labels, ReaderArgs, console, example


@data_app.command("stats", epilog=example("segwright data stats DIR", "segwright data stats DIR --split val --json"))
def data_stats(
    root: Annotated[Path, typer.Argument(help="Folder of the data set, or a list file.")],
    overrides: ReaderArgs = None,
    data: DataSet = None,
    labels: Labels = None,
    split: Annotated[str, typer.Option(help="Split to count.")] = "train",
    beta: Annotated[float | None, typer.Option(help="Of the weights `effective`: 0 up to, not including, 1.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; one a core by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Count a split: sizes, mean and std of the colours, pixels and pictures of each class, class weights."""
    found = api.data_statistics(
        root,
        overrides or [],
        data=data,
        labels=labels,
        split=split,
        beta=beta,
        workers=workers,
        console=console(as_json),
    )
    if as_json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        console().print(found.table())
