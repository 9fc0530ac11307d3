"""`segwright data split`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from segwright import api
from segwright.cli.data import data_app
from segwright.cli.forms import AsJson, DataSet, Labels, ReaderArgs, console, example
from segwright.contracts import UserError

PARTS = ("train", "val", "test")


@data_app.command(
    "split",
    epilog=example(
        "segwright data split DIR --fractions 0.8,0.2 --seed 1 -o splits.json",
        "segwright data split DIR --method folds --folds 5 --stratified",
        "segwright data split DIR --preset camvid-leave-one-sequence-out",
    ),
)
def data_split(
    root: Annotated[Path, typer.Argument(help="Folder of the data set, or a list file.")],
    overrides: ReaderArgs = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Split file to write.")] = Path("splits.json"),
    method: Annotated[
        str, typer.Option(help="random, stratified (by class), group, leave-one-group-out, folds.")
    ] = "random",
    fractions: Annotated[
        str, typer.Option(help="Shares or numbers of pictures: 0.8,0.2 (train, val, test) or name=share, name=share.")
    ] = "0.8,0.2",
    folds: Annotated[int, typer.Option(min=2, help="Number of folds.")] = 5,
    stratified: Annotated[bool, typer.Option("--stratified", help="Folds even by class.")] = False,
    by_group: Annotated[bool, typer.Option("--by-group", help="Folds of whole groups.")] = False,
    share: Annotated[float, typer.Option(help="Keep this share of the first part; the rest stays unused.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another choice.")] = 0,
    preset: Annotated[str | None, typer.Option(help="A division from a paper or a course, by name.")] = None,
    split: Annotated[list[str] | None, typer.Option(help="Split to divide; may be repeated.")] = None,
    data: DataSet = None,
    labels: Labels = None,
    classes: Annotated[bool, typer.Option(help="Read the masks, for the table of classes.")] = True,
    as_json: AsJson = False,
) -> None:
    """Divide a data set into parts or folds, and write them to a file that a recipe takes (data.split_file)."""
    from segwright.data.splits import METHODS, Plan, as_method

    plan = Plan(
        method=as_method(method),
        fractions=parse_fractions(fractions),
        folds=folds,
        stratified=stratified,
        by_group=by_group,
        share=share,
        seed=seed,
    )
    result = api.split_data(
        root,
        overrides or [],
        out=out,
        data=data,
        labels=labels,
        splits=split,
        preset=preset,
        plan=plan,
        classes=classes,
        console=console(as_json),
    )
    if as_json:
        print(json.dumps(result.to_dict(), ensure_ascii=False))
        return
    first, *others = result.parts.splits
    train, val = (first, others[0]) if result.parts.method in METHODS[:3] else (f"not-{first}", first)
    console().print(result.table())
    console().print(
        f"{result.path}  use it in a recipe: data.split_file={result.path} data.train={train} data.val={val}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def parse_fractions(text: str) -> dict[str, float]:
    """`0.8,0.2` or `train=0.8,test=0.2` -> part -> share or number of pictures."""
    items = [item.strip() for item in text.split(",") if item.strip()]
    named = [item.partition("=") for item in items]
    if any(equals for _, equals, _ in named):
        pairs = [(name.strip(), value) for name, _, value in named]
    elif len(items) <= len(PARTS):
        pairs = list(zip(PARTS, items, strict=False))
    else:
        raise UserError(
            f"--fractions {text}: for more than three parts give names, such as a=0.25,b=0.25,c=0.25,d=0.25."
        )
    try:
        found = {name: float(value) for name, value in pairs}
    except ValueError as error:
        raise UserError(f"--fractions {text}: expected numbers, such as 0.8,0.2 or train=0.8,val=0.2.") from error
    if len(found) < len(pairs) or not all(found):
        raise UserError(f"--fractions {text}: every part needs a name of its own, such as train=0.8,val=0.2.")
    return found
