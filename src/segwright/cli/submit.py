"""`segwright submit`: predictions for a benchmark's server, and a check of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segwright import api
from segwright.cli.forms import Device, Runs, console, example
from segwright.contracts import UserError

EXAMPLES = example(
    "segwright submit runs/latest --format cityscapes data.root=DIR -o submission",
    "segwright submit --check submission --format cityscapes data.root=DIR",
)


def submit(
    model: Annotated[
        str | None, typer.Argument(help="A run, its name, or a .safetensors file; not needed with --check.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[data.root=DIR]", help="Where the benchmark's data lies.")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", metavar="FORM", help="Whose server: cityscapes, kitti, ade20k, voc.")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="New folder to write into.")] = Path("submission"),
    split: Annotated[str, typer.Option(help="Split to predict.")] = "test",
    check: Annotated[
        Path | None, typer.Option("--check", metavar="FOLDER", help="Write nothing; list every fault of these files.")
    ] = None,
    device: Device = "auto",
    runs: Runs = api.RUNS,
) -> None:
    """Write predictions as a benchmark's server takes them, or check a folder of them before the upload."""
    if form is None:
        raise UserError("--format is missing: whose server is it for? cityscapes, kitti, ade20k or voc.")
    keys = list(overrides or [])
    if check is not None:
        if model is not None:
            keys = [model, *keys]
        if other := [text for text in keys if "=" not in text]:
            raise UserError(f"--check looks at files and takes no model; found {other[0]}. Leave it out.")
        found = api.check_submission(check, keys, form=form, split=split, console=console())
        text = f"{found.files} file{'s' * (found.files != 1)} in {check}: no fault found"
        if not found.complete:
            text += " in the files; names, sizes and completeness were not checked: add data.root=DIR"
        console().print(text, highlight=False, markup=False, soft_wrap=True)
        return
    if model is None or "=" in model:
        raise UserError("which model to submit is missing, such as: segwright submit runs/latest --format cityscapes")
    written = api.submit(model, out, keys, form=form, split=split, device=device, runs=runs, console=console())
    show = console()
    if written.never:
        names = ", ".join(written.never)
        show.print(f"The model never answers: {names}.", highlight=False, markup=False, soft_wrap=True)
    show.print(
        f"{written.pictures} pictures → {written.folder}\nupload  {written.archive}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
