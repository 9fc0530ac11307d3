"""`segwright summary`, `receptive-field`, `features`, `gradcam`: what goes on inside a network."""

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
from segwright.contracts import UserError

if TYPE_CHECKING:
    from segwright.evaluation.receptive_field import FieldRow

Source = Annotated[str, typer.Argument(help="An architecture, a recipe, a run or a .safetensors file.")]
Classes = Annotated[int, typer.Option(min=1, max=250, help="Number of classes, when SOURCE is an architecture.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.command(
        epilog=example(
            "segwright summary fast_scnn --size 512x1024",
            "segwright summary unet --sort memory --limit 10",
            "segwright summary runs/latest",
        )
    )(summary)
    app.command(
        epilog=example(
            "segwright receptive-field unet",
            "segwright receptive-field unet fast_scnn -o fields.png",
            "segwright receptive-field runs/latest --pictures DIR",
        )
    )(receptive_field)
    app.command(
        epilog=example(
            "segwright features runs/latest photo.jpg -o out",
            "segwright features runs/latest --first-layer",
            "segwright features runs/latest DIR --extract pooled",
        )
    )(features)
    app.command(epilog=example("segwright gradcam runs/latest photo.jpg --class car --region 100,80,180,160"))(gradcam)


def summary(
    source: Source,
    size: Annotated[str, typer.Option(help="Picture size, HEIGHTxWIDTH.")] = "512x1024",
    sort: Annotated[str | None, typer.Option(metavar="BY", help="Largest first: parameters, macs, memory.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many layers; totals stay those of all.")] = None,
    classes: Classes = 19,
    runs: Runs = api.RUNS,
    as_json: AsJson = False,
) -> None:
    """Layers with output shapes, parameters, operations and memory."""
    found = api.summary(source, size=parse_size(size), num_classes=classes, runs=runs)
    if as_json:
        rows = [row.name for row in found.sorted(sort, limit)]
        content = found.to_dict()
        by_name = {row["name"]: row for row in content["rows"]}
        print(json.dumps(content | {"rows": [by_name[name] for name in rows]}, ensure_ascii=False))
        return
    console().print(found.table(sort, limit))
    for sentence in (found.memory_sentence(), found.confidence_sentence()):
        if sentence:
            console().print(sentence, highlight=False)


def features(
    source: Source,
    pictures: Annotated[Path | None, typer.Argument(help="A picture; with --extract also a folder.")] = None,
    layer: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A layer as `segwright summary` names it; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write into.")] = Path("features"),
    channels: Annotated[int, typer.Option(min=1, help="Channels on a sheet: those that vary most.")] = 47,
    first_layer: Annotated[bool, typer.Option("--first-layer", help="Draw the filters of the first layer.")] = False,
    extract: Annotated[
        str | None, typer.Option(metavar="KIND", help="Write arrays: pooled (a vector a picture) or maps.")
    ] = None,
    classes: Classes = 19,
    runs: Runs = api.RUNS,
) -> None:
    """Draw the activations of layers, the first layer's filters, or write features of pictures as arrays."""
    found = api.features(
        source,
        pictures,
        layers=layer or [],
        out=out,
        channels=channels,
        first_layer=first_layer,
        extract=extract,
        num_classes=classes,
        runs=runs,
        console=console(),
    )
    show = console()
    for sheet in found.sheets:
        show.print(f"sheet   {sheet}", highlight=False, soft_wrap=True)
    if found.arrays is not None:
        show.print(f"arrays  {found.arrays}", highlight=False, soft_wrap=True)
    for name, shape in list(found.shapes.items())[:12]:
        show.print(f"  {name}: {list(shape)}", highlight=False, markup=False)


def gradcam(
    source: Annotated[str, typer.Argument(help="A run, its name, or a .safetensors file.")],
    picture: Annotated[Path, typer.Argument(help="The picture to explain.")],
    class_name: Annotated[str, typer.Option("--class", metavar="NAME", help="The class to explain.")],
    region: Annotated[
        str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="Box of pixels to explain; the whole picture by default.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer to look at; the deepest stage by default.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write.")] = Path("gradcam.png"),
    runs: Runs = api.RUNS,
) -> None:
    """Draw which parts of a picture speak for a class (Seg-Grad-CAM)."""
    box = None if region is None else _box(region)
    found = api.gradcam(source, picture, class_name, region=box, layer=layer, out=out, runs=runs)
    if found.found.peak <= 0:
        text = f"Nothing in layer {found.found.layer} speaks for '{class_name}'. Try another layer or region."
        console().print(text, highlight=False, markup=False)
    elif box is not None:
        console().print(f"{found.share:.0%} of the map lies inside the box", highlight=False)
    console().print(f"sheet  {found.sheet}", highlight=False, soft_wrap=True)


def _box(text: str) -> tuple[int, int, int, int]:
    parts = text.replace(" ", "").split(",")
    if len(parts) != 4 or not all(p.isdigit() for p in parts):
        raise UserError(f"--region {text}: expected x0,y0,x1,y1 in pixels, such as 100,80,180,160.")
    left, top, right, bottom = map(int, parts)
    return left, top, right, bottom


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
