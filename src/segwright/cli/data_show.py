"""`segwright data show`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from segwright import api
from segwright.cli.data import data_app
from segwright.cli.forms import DataSet, Labels, console, example, parse_size
from segwright.contracts import UserError


@data_app.command(
    "show",
    epilog=example(
        "segwright data show DIR",
        "segwright data show DIR --level advanced mosaic_p=0.5 --verify",
        "segwright data show DIR --recipe camvid-cpu -o sheet.png",
        "segwright data show DIR --plain",
    ),
)
def data_show(
    root: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Arguments of the augmentation to change.")
    ] = None,
    data: DataSet = None,
    labels: Labels = None,
    split: Annotated[str, typer.Option(help="Split to show.")] = "train",
    recipe: Annotated[
        str | None, typer.Option(help="Take labels, size and augmentation from a recipe: a name or a .yaml file.")
    ] = None,
    level: Annotated[str, typer.Option(help="none, standard, advanced, albumentations.")] = "standard",
    size: Annotated[
        str | None, typer.Option(metavar="HEIGHTxWIDTH", help="Of the crops; the first picture's by default.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Augmented pictures, four in a row.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds show other pictures.")] = 0,
    plain: Annotated[bool, typer.Option("--plain", help="Only the pictures as they are.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Prove with probe pictures that image and mask move together.")
    ] = False,
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write.")] = Path("sheet.png"),
) -> None:
    """Draw labelled pictures on one sheet, as they are and augmented."""
    if recipe is not None and (data or labels or size or level != "standard"):
        raise UserError("--recipe says data, labels, size and level itself: leave these options out.")
    shown = api.show_data(
        root,
        out,
        data=data,
        labels=labels,
        split=split,
        recipe=recipe,
        level=level,
        args=_parsed(arguments or []),
        size=parse_size(size) if size else None,
        count=count,
        seed=seed,
        plain=plain,
        verify=verify,
        console=console(),
    )
    console().print(f"{shown.title}\nsheet  {shown.path}", highlight=False, soft_wrap=True)
    if shown.problems:
        raise UserError("this augmentation is wrong:\n  " + "\n  ".join(shown.problems))
    if verify:
        console().print("verified: picture and mask move together, and fill is ignored", highlight=False)


def _parsed(texts: Sequence[str]) -> dict[str, Any]:
    """["mosaic_p=1.0"] -> {"mosaic_p": 1.0}. Raises UserError for anything that is not of that form."""
    found: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise UserError(f"'{text}' is not of the form key=value, such as mosaic_p=1.0.")
        try:
            found[key.removeprefix("augmentation.args.")] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"'{text}': the value cannot be read: {error}") from error
    return found
