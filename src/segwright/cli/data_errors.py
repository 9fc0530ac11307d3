"""`segwright data errors`: labels that are probably wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from segwright import api
from segwright.cli.data import data_app
from segwright.cli.forms import AsJson, Device, Runs, console, example
from segwright.contracts import UserError


@data_app.command(
    "errors",
    epilog=example(
        "segwright data errors runs/NAME",
        "segwright data errors runs/latest --split test --top 50 -o doubts",
        "segwright data errors runs/NAME/label-errors --apply marks.json -o corrected",
    ),
)
def data_errors(
    source: Annotated[
        str | None,
        typer.Argument(help="A cross-validation or a run; with --apply the folder that a search wrote."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder to write; label-errors in the source by default.")
    ] = None,
    *,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Split to search; may be repeated. Default: what the folds held out; val of a run."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=5000, help="Regions to keep, the most doubtful first.")] = 100,
    seen: Annotated[
        bool, typer.Option("--seen", help="Let a run judge pictures that it was trained on; it misses many errors.")
    ] = False,
    apply: Annotated[
        Path | None, typer.Option(metavar="MARKS", help="Write new masks from the marks of the review page.")
    ] = None,
    unsure: Annotated[
        bool, typer.Option("--unsure", help="With --apply: leave out regions marked unsure, too.")
    ] = False,
    device: Device = "auto",
    runs: Runs = api.RUNS,
    as_json: AsJson = False,
) -> None:
    """Find labels that are probably wrong, review them on a page, and write masks without them."""
    if apply is not None:
        if split or seen:
            raise UserError("--apply makes masks of marks: --split and --seen belong to the search before it.")
        return _apply(apply, source, out, unsure, runs, as_json)
    if unsure:
        raise UserError("--unsure says what --apply MARKS does with regions marked unsure: add it.")
    if source is None:
        raise UserError("what to search is missing: a cross-validation or a run, such as runs/latest.")
    found = api.find_label_errors(
        source, out, splits=split or (), top=top, seen=seen, device=device, runs=runs, console=console(as_json)
    )
    if as_json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    show = console()
    show.print(found.table())
    show.print(f"review  {found.page}", highlight=False, markup=False, soft_wrap=True)


def _apply(marks: Path, source: str | None, out: Path | None, unsure: bool, runs: Path, as_json: bool) -> None:
    if out is None:
        raise UserError("--apply needs a new folder for the masks: -o DIR. The originals stay as they are.")
    done = api.apply_label_marks(marks, out, review=source, unsure=unsure, runs=runs, console=console(as_json))
    if as_json:
        print(json.dumps(done.to_dict(), ensure_ascii=False))
        return
    whole = " data.train=everything" if "everything" in done.splits else ""  # the split `all` of the recipe
    console().print(
        f"{done.masks:,} new masks in {done.out}: {done.ignored:,} pixels left out, {done.corrected:,} corrected. The list "
        f"has {done.pictures:,} pictures ({', '.join(done.splits)}). Train on it:\n"
        f"  segwright train RECIPE data.name=list_file data.root={done.list_file} data.labels={done.labels_file} "
        f"'data.args={{}}' data.split_file=null{whole}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
