"""`segwright data …`: verbs about data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segwright import api
from segwright.cli.forms import console, example, parse_size

data_app = typer.Typer(help="Get, check, mend, split, show and make data sets.", no_args_is_help=True)


@data_app.command("streets", epilog=example("segwright data streets DIR --train 200 --val 50 --size 512x1024"))
def data_streets(
    root: Annotated[Path, typer.Argument(help="Folder to write into.")],
    train: Annotated[int, typer.Option(min=0, help="Training scenes.")] = 200,
    val: Annotated[int, typer.Option(min=0, help="Validation scenes.")] = 50,
    size: Annotated[str, typer.Option(help="Picture size, HEIGHTxWIDTH, up to 1024x2048.")] = "512x1024",
    seed: Annotated[int, typer.Option(min=0, help="Other seeds give other scenes.")] = 0,
) -> None:
    """Draw street scenes with exact labels, in the folder layout of Cityscapes."""
    written = api.make_streets(root, train=train, val=val, size=parse_size(size), seed=seed, console=console())
    console().print(
        f"{train} training and {val} validation scenes in {written}. Train on them:\n"
        f"  segwright train streets-demo data.root={written}",
        highlight=False,
        soft_wrap=True,
    )
