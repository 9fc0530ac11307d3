"""`segwright data pack` and `segwright data packs`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from segwright import api
from segwright.cli.data import data_app
from segwright.cli.forms import AsJson, DataSet, Labels, ReaderArgs, console, example, parse_size

if TYPE_CHECKING:
    from segwright.data.pack import PackFacts

Folder = Annotated[
    Path | None, typer.Option("-o", "--folder", help="Folder that keeps packs; trainings look in the default one.")
]


@data_app.command(
    "pack", epilog=example("segwright data pack DIR", "segwright data pack DIR --split train --short-side 512")
)
def data_pack(
    root: Annotated[Path, typer.Argument(help="Folder of the data set, or a list file.")],
    overrides: ReaderArgs = None,
    data: DataSet = None,
    labels: Labels = None,
    split: Annotated[list[str] | None, typer.Option(help="Split to pack; may be repeated. Default: every one.")] = None,
    short_side: Annotated[
        int | None, typer.Option(min=1, help="Larger pictures shrink to this shorter side, pixels.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Size of every picture, HEIGHTxWIDTH.")] = None,
    folder: Folder = None,
    verify: Annotated[bool, typer.Option("--verify", help="Compare all checksums of packs that exist.")] = False,
    as_json: AsJson = False,
) -> None:
    """Decode pictures and masks once, for trainings with data.cache=pack; mend what is outdated or damaged."""
    packs = api.pack_data(
        root,
        overrides or [],
        data=data,
        labels=labels,
        splits=split or (),
        short_side=short_side,
        size=None if size is None else parse_size(size),
        folder=folder,
        verify=verify,
        console=console(as_json),
    )
    _show(packs, as_json)


@data_app.command("packs", epilog=example("segwright data packs", "segwright data packs --clear"))
def data_packs(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Packs to delete.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Delete the packs named, or all of them.")] = False,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """List packs with their sizes, or delete them. A deleted pack is built again when it is needed."""
    if not clear:
        wanted = [p for p in api.list_packs(folder) if not names or p.name in names]
        return _show(wanted, as_json)
    gone = api.clear_packs(names or (), folder=folder)
    if as_json:
        return _show(gone, as_json)
    freed = sum(p.nbytes for p in gone) / 1e6
    text = f"{len(gone)} pack{'s' * (len(gone) != 1)} deleted, {freed:,.1f} MB freed"
    console().print(text, highlight=False, soft_wrap=True)


def _show(packs: Sequence[PackFacts], as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(p) | {"path": str(p.path)} for p in packs], ensure_ascii=False))
        return
    table = Table("pack", "of", "pictures", "size", "labels", "MB", "made", caption_justify="left")
    for pack in packs:
        what = escape(pack.of) if not pack.fault else f"[red]{escape(pack.fault)}[/]"
        numbers = (f"{pack.pictures:,}", pack.size, escape(pack.label_space), f"{pack.nbytes / 1e6:,.1f}")
        table.add_row(pack.name, what, *numbers, pack.made[:16].replace("T", " "))
    if packs:
        folder = packs[0].path.parent
        table.caption = escape(f"{sum(p.nbytes for p in packs) / 1e6:,.1f} MB in {folder}")
    console().print(table if packs else "no packs")
