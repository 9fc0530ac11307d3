"""`segwright robustness`: how a model's score falls when the pictures get worse."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from segwright import api
from segwright.cli.forms import AsJson, Device, Runs, console
from segwright.contracts import UserError

if TYPE_CHECKING:
    from segwright.evaluation.robustness import Robustness


def robustness(
    run: Annotated[str, typer.Argument(help="A run or its name.")],
    corruption: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="blur, fog, …; may be repeated. Default: all.")
    ] = None,
    severities: Annotated[str, typer.Option(help="Strengths from 1 to 5: one, such as 3, or a range.")] = "1-5",
    pictures: Annotated[int, typer.Option(min=1, help="So many, evenly spread over the split.")] = 50,
    split: Annotated[str | None, typer.Option(help="Split to score; the validation split by default.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Scoring definition; the recipe's by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of grain, drops and directions.")] = 0,
    device: Device = "auto",
    runs: Runs = api.RUNS,
    as_json: AsJson = False,
) -> None:
    """Score a run on blurred, noisy, foggy, rainy, dark and compressed pictures."""
    result = api.robustness(
        run,
        corruptions=corruption or (),
        severities=parse_severities(severities),
        pictures=pictures,
        split=split,
        protocol=protocol,
        seed=seed,
        device=device,
        runs=runs,
        console=console(as_json),
    )
    if as_json:
        print(json.dumps(result.found.to_dict(), ensure_ascii=False))
        return
    show = console()
    show.print(table(result.found))
    show.print(f"scores  {result.file}", highlight=False, soft_wrap=True)
    show.print(f"sheet   {result.sheet}", highlight=False, soft_wrap=True)


def parse_severities(text: str) -> tuple[int, ...]:
    """`3` -> (3,); `2-4` -> (2, 3, 4). Raises UserError for anything outside 1..5."""
    first, dash, last = text.replace("–", "-").partition("-")
    ends = (first, last if dash else first)
    if not all(end.strip() in set("12345") for end in ends) or int(ends[0]) > int(ends[1]):
        raise UserError(f"--severities {text}: expected one of 1 to 5, such as 3, or a range, such as 1-5.")
    return tuple(range(int(ends[0]), int(ends[1]) + 1))


def table(found: Robustness) -> Table:
    """mIoU in per cent by corruption and severity."""
    shown = sorted({s for name in found.corruptions for s in found.severities(name)})
    made = Table(
        title=f"{len(found.groups)} pictures of {found.identity['split']}: clean mIoU {100 * found.clean:.1f} %",
        caption=f"mIoU in %; kept: mean over the severities ÷ clean; points to clean: mean difference, "
        f"{found.difference(found.corruptions[0]).conditions}",
        title_justify="left",
        caption_justify="left",
    )
    made.add_column("corruption")
    for heading in (*map(str, shown), "kept", "points to clean"):
        made.add_column(heading, justify="right", no_wrap=True)
    for name in found.corruptions:
        apart = found.difference(name)
        cells = [f"{100 * found.miou(name, s):.1f}" for s in shown]
        points = f"{100 * apart.value:+.1f} [{100 * apart.low:+.1f}, {100 * apart.high:+.1f}]"
        made.add_row(name, *cells, f"{found.kept(name):.0%}", points)
    return made
