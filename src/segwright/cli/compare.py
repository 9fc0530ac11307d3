"""`segwright compare`: runs on the same pictures, better, worse or cannot tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from segwright import api
from segwright.cli.forms import AsJson, Device, Runs, console, parse_size
from segwright.contracts import UserError

PAGE = Path("compare.html")
FORMS = ("markdown", "csv", "json")


def compare(
    models: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Two or more runs, or evaluation files (.json).")
    ],
    split: Annotated[
        str | None, typer.Option(help="Split to compare on; each run's validation split by default.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="NAME", help="Run that the others are compared with; the first by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Page to write; compare.html unless something else is printed.")
    ] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Write the page, or only print.")] = True,
    labels: Annotated[
        str | None, typer.Option(metavar="SPACE", help="Label space to compare in; the finest common one by default.")
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="Scoring definition; that of the first run by default.")] = None,
    speed: Annotated[
        bool, typer.Option("--speed/--no-speed", help="Count parameters, arithmetic, memory; measure time.")
    ] = True,
    size: Annotated[
        str | None, typer.Option(help="Picture size for these, HEIGHTxWIDTH; that of most pictures by default.")
    ] = None,
    pictures: Annotated[int, typer.Option(min=0, max=60, help="How many pictures the page shows.")] = 12,
    table: Annotated[
        str | None, typer.Option("--table", metavar="FORM", help="Print markdown, csv or json instead.")
    ] = None,
    device: Device = "auto",
    runs: Runs = api.RUNS,
    as_json: AsJson = False,
) -> None:
    """Compare runs on the same pictures: paired intervals, seed noise, costs, and a page with pictures side by side."""
    form = "json" if as_json else table
    if form is not None and form not in FORMS:
        raise UserError(f"--table {form}: allowed are {', '.join(FORMS)}; without it, tables for reading are printed.")
    if not page and out is not None:
        raise UserError("--no-page and --out contradict each other: leave one of them out.")
    show = console(form is not None)
    found = api.compare(
        models,
        split=split,
        against=against,
        labels=labels,
        protocol=protocol,
        speed=speed,
        size=None if size is None else parse_size(size),
        out=(out or (PAGE if form is None else None)) if page else None,
        pictures=pictures,
        device=device,
        runs=runs,
        console=show,
    )
    if form is not None:
        text = {"markdown": found.markdown, "csv": found.csv}.get(
            form, lambda: json.dumps(found.to_dict(), ensure_ascii=False) + "\n"
        )
        print(text(), end="")
        return
    show.print(found.table())
    if found.page is not None:
        show.print(f"page  {found.page}", highlight=False, markup=False, soft_wrap=True)
