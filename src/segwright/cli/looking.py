"""`segwright receptive-field`, `features`, `gradcam`: what goes on inside a network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from segwright import api
from segwright.cli.forms import AsJson, Runs, console, example, parse_size

if TYPE_CHECKING:
    from segwright.evaluation.receptive_field import FieldRow

Source = Annotated[str, typer.Argument(help="An architecture, a recipe, a run or a .safetensors file.")]
Classes = Annotated[int, typer.Option(min=1, max=250, help="Number of classes, when SOURCE is an architecture.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command(
        epilog=example(
            "segwright receptive-field unet",
            "segwright receptive-field unet fast_scnn -o fields.png",
            "segwright receptive-field runs/latest --pictures DIR",
        )
    )(receptive_field)


def receptive_field(
    source: Source,
    other: Annotated[str | None, typer.Argument(metavar="[SOURCE2]", help="A second one, side by side.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="PNG of the effective fields.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Average over the pictures of this folder; else over random pixels.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Pictures to average over.")] = 100,
    size: Annotated[str, typer.Option(help="Size of these pictures, HEIGHTxWIDTH.")] = "256x256",
    every: Annotated[bool, typer.Option("--all", help="List all layers, also those that see one position.")] = False,
    classes: Classes = 19,
    runs: Runs = api.RUNS,
    as_json: AsJson = False,
) -> None:
    """How far each layer can see (theory), and how far the stages do see (gradients, as a picture)."""
    found = api.receptive_field(
        source,
        other,
        out=out,
        pictures=pictures,
        count=count,
        size=parse_size(size),
        num_classes=classes,
        runs=runs,
        console=console(as_json),
    )
    if as_json:
        effective = [
            [{k: v for k, v in asdict(f).items() if k != "heat_HW"} for f in fields] for fields in found.effective
        ]
        print(json.dumps({"theory": [t.to_dict() for t in found.theory], "effective": effective}, ensure_ascii=False))
        return
    show = console()
    for theory in found.theory:
        if other is None or every:
            show.print(_layers(theory.title, [r for r in theory.rows if every or r.looks]))
    for number, theory in enumerate(found.theory):
        show.print(_stages(theory.title, theory.stages, found.effective[number] if found.effective else ()))
        if not theory.complete:
            show.print(f"Fields of {theory.side} pixels are cut there: they are at least that.", highlight=False)
    if any(row.whole for theory in found.theory for row in theory.rows):
        show.print(
            "whole: global pooling, attention or the like lets it depend on the whole picture; the field is what "
            "convolutions and poolings see without that.",
            highlight=False,
        )
    if found.sheet is not None:
        show.print(f"sheet  {found.sheet}", highlight=False, soft_wrap=True)


def _layers(title: str, rows: Sequence[FieldRow]) -> Table:
    table = Table("layer", "type", title=f"{title}: theoretical receptive field, pixels")
    for name in ("kernel", "stride", "dilation", "padding", "jump", "field"):
        table.add_column(name, justify="right")
    table.add_column("whole")
    for row in rows:
        own = [_pair(v) for v in (row.kernel, row.stride, row.dilation, row.padding)]
        table.add_row(row.name, row.type, *own, _pair(row.jump), _pair(row.field), "yes" if row.whole else "")
    return table


def _stages(title: str, rows: Sequence[FieldRow], effective: Sequence[Any]) -> Table:
    table = Table("stage", title=f"{title}: stages, pixels")
    for name in ("jump", "field"):
        table.add_column(name, justify="right")
    table.add_column("whole")
    if effective:
        table.add_column("50 % within", justify="right")
        table.add_column("95 % within", justify="right")
    for number, row in enumerate(rows):
        seen = [f"{r:.0f}" for r in (effective[number].radius50, effective[number].radius95)] if effective else []
        table.add_row(row.name, _pair(row.jump), _pair(row.field), "yes" if row.whole else "", *seen)
    return table


def _pair(values: tuple[float, ...] | None) -> str:
    """`3` for (3, 3), `1×7` for (1, 7), `–` for nothing."""
    if values is None or not any(values):
        return "–" if values is None else "0"
    return f"{values[0]:g}" if len(set(values)) == 1 else "×".join(f"{v:g}" for v in values)
