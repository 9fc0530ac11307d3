"""`segwright data check` and `segwright data fix`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from segwright import api
from segwright.cli.data import data_app
from segwright.cli.forms import AsJson, DataSet, Labels, console, example
from segwright.contracts import UserError

Root = Annotated[Path, typer.Argument(help="Folder of the data set.")]


@data_app.command(
    "check",
    epilog=example(
        "segwright data check DIR",
        "segwright data check DIR --report page.html",
        "segwright data check DIR --json --strict",
    ),
)
def data_check(
    root: Root,
    data: DataSet = None,
    labels: Labels = None,
    split: Annotated[list[str] | None, typer.Option(help="Split to look at; may be repeated. Default: all.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="PAGE", help="Also write an HTML page.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too (exit code 3).")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; one a core by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find everything that is wrong with a data set, in one pass. Exit code 3 when there are errors."""
    result = api.check_data(
        root, data=data, labels=labels, splits=split, report=report, workers=workers, console=console(as_json)
    )
    if as_json:
        print(json.dumps(result.to_dict(), ensure_ascii=False))
    else:
        console().print(result.table())
        if report is not None:
            console().print(f"report  {report}", highlight=False, soft_wrap=True)
    if code := result.exit_code(strict=strict):
        raise typer.Exit(code)


@data_app.command(
    "fix",
    epilog=example(
        "segwright data fix DIR --auto -o FIXED", "segwright data fix DIR --map 255:1 -o FIXED --with-images"
    ),
)
def data_fix(
    root: Root,
    out: Annotated[Path, typer.Option("-o", "--out", help="New folder for the masks; never DIR itself.")],
    data: DataSet = None,
    labels: Labels = None,
    auto: Annotated[bool, typer.Option("--auto", help="Every fix that `check` calls certain.")] = False,
    map_: Annotated[list[str] | None, typer.Option("--map", metavar="FROM:TO", help="Change a mask value.")] = None,
    palette: Annotated[bool, typer.Option("--palette-to-ids", help="Class ids from the palette's colours.")] = False,
    colors: Annotated[bool, typer.Option("--colors-to-ids", help="Class ids from exact colours.")] = False,
    nearest: Annotated[
        bool, typer.Option("--nearest-color", help="Class ids from the nearest colour; a guess.")
    ] = False,
    grey: Annotated[bool, typer.Option("--grey-to-ids", help="Class ids from grey levels of the colours.")] = False,
    reduce_zero: Annotated[
        bool, typer.Option("--reduce-zero", help="1 becomes 0, 2 becomes 1, …; 0 becomes 255.")
    ] = False,
    resize_masks: Annotated[str, typer.Option(help="never, or nearest for masks of the picture's shape.")] = "never",
    with_images: Annotated[bool, typer.Option("--with-images", help="Copy pictures and lists too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write corrected masks into another folder; the originals stay as they are."""
    chosen = {
        "palette-to-ids": palette,
        "colors-to-ids": colors,
        "nearest-color": nearest,
        "grey-to-ids": grey,
        "reduce-zero": reduce_zero,
    }
    result = api.fix_data(
        root,
        out,
        data=data,
        labels=labels,
        auto=auto,
        mapping=dict(_pair(text) for text in map_ or ()),
        steps=[name for name, wanted in chosen.items() if wanted],
        resize_masks=resize_masks,
        with_images=with_images,
        console=console(as_json),
    )
    if as_json:
        print(json.dumps(result.to_dict(), ensure_ascii=False))
    else:
        console().print(result.table())
    if code := result.exit_code:
        raise typer.Exit(code)


def _pair(text: str) -> tuple[int, int]:
    before, _, after = text.partition(":")
    if not (before.isdigit() and after.isdigit()):
        raise UserError(f"--map {text}: expected two mask values with a colon between them, such as 255:1.")
    return int(before), int(after)
