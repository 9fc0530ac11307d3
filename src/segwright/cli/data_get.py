"""`segwright data get`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from segwright import api
from segwright.cli.data import data_app
from segwright.cli.forms import console, example


@data_app.command("get", epilog=example("segwright data get", "segwright data get camvid --accept-licence"))
def data_get(
    name: Annotated[str | None, typer.Argument(help="Data set; without it, the list of them.")] = None,
    into: Annotated[Path, typer.Option(help="Folder for data sets; NAME is made in it.")] = api.DATASETS_FOLDER,
    accept_licence: Annotated[bool, typer.Option("--accept-licence", help="You have read it and accept it.")] = False,
    keep_archives: Annotated[bool, typer.Option("--keep-archives", help="Keep the downloaded files.")] = False,
) -> None:
    """Download a data set: licence first, then resumed, verified, unpacked safely and opened once."""
    if name is None:
        return _list()
    result = api.get_data(
        name, into=into, accept_licence=accept_licence, keep_archives=keep_archives, console=console()
    )
    found = ", ".join(f"{split} {count}" for split, count in result.splits.items())
    console().print(
        f"{result.path}: {found} pictures. Look at it:\n"
        f"  segwright data check {result.path}\n  segwright data stats {result.path}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    return None


def _list() -> None:
    from segwright.data.sources import MANUAL, SOURCES

    table = Table("name", "what it is", "download", "licence")
    for name, source in SOURCES.items():
        table.add_row(name, source.title, f"{source.size / 1e9:.1f} GB", source.licence)
    for name, manual in MANUAL.items():
        table.add_row(name, manual.title, "by hand", manual.licence)
    console().print(table)
