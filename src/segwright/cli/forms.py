"""What the verbs of the command line share: option types, the console, sizes, examples."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from segwright import api
from segwright.contracts import UserError
from segwright.runs.launch import place

Runs = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:0, mps.")]
Backend = Annotated[
    str | None,
    typer.Option(
        help="auto, torch, onnxruntime, openvino, openvino-fp32: what runs the model. See `segwright export`."
    ),
]
Window = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Slide a window of this size over pictures: 512x1024 (height × width) or 512."),
]
Overlap = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Share of a window that the next one covers again; 0.5 by default."),
]
Tta = Annotated[
    str | None, typer.Option(metavar="VIEWS", help="Mean over views of a picture, such as flip,scales=0.75:1:1.25.")
]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Recipe keys to change.")]
ReaderArgs = Annotated[
    list[str] | None, typer.Argument(metavar="[data.args.KEY=VALUE]...", help="Settings of the reader.")
]
DataSet = Annotated[str | None, typer.Option("--data", metavar="NAME", help="Data set; recognised by its folders.")]
Labels = Annotated[str | None, typer.Option("--labels", metavar="SPACE", help="Label space: a name or a .yaml file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def example(*lines: str) -> str:
    """The epilog of a verb's help."""
    return "Example:\n\n" + "\n\n".join(f"  [cyan]{line}[/]" for line in lines)


def parse_size(text: str) -> tuple[int, int]:
    """`512x1024` -> (512, 1024): height, width."""
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) != 2 or not all(p.isdigit() and int(p) > 0 for p in parts):
        raise UserError(f"--size {text}: expected HEIGHTxWIDTH in pixels, such as 512x1024.")
    return int(parts[0]), int(parts[1])


def console(quiet: bool = False) -> Console:
    quiet = quiet or place()[0] > 0  # of several processes, the first one speaks
    return Console(quiet=quiet, width=None if sys.stdout.isatty() else api.WIDTH)
