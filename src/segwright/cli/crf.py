"""`--crf` of predict and evaluate, and `segwright tune-crf`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.table import Table

from segwright import api
from segwright.cli.forms import AsJson, Device, Runs, console
from segwright.contracts import UserError

if TYPE_CHECKING:
    from segwright.evaluation.tune_crf import CrfTuning

CRF = Annotated[
    bool, typer.Option("--crf", help="Refine by a fully connected CRF; with the parameters of `tune-crf` if kept.")
]
CRF_SET = Annotated[
    list[str] | None,
    typer.Option(
        "--crf-set", metavar="KEY=VALUE", help="Change a parameter of --crf, such as sigma_rgb=5; may repeat."
    ),
]


def asked_crf(crf: bool, changes: list[str] | None) -> bool | dict[str, Any]:
    """What the options ask for, as the API takes it. Raises UserError for a change that is no KEY=VALUE."""
    if not changes:
        return crf
    found: dict[str, Any] = {}
    for text in changes:
        key, equals, value = text.partition("=")
        if not equals or not value:
            raise UserError(f"--crf-set {text}: expected KEY=VALUE, such as sigma_rgb=5.")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--crf-set {text}: {value!r} is no value. Give a number, such as sigma_rgb=5.") from error
    return found


def tune_crf(
    model: Annotated[str, typer.Argument(help="A run, its name, or a .safetensors file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[data.KEY=VALUE]...", help="Other data to tune on.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Labelled split to tune on; the validation split by default.")
    ] = None,
    tries: Annotated[int, typer.Option(min=1, help="Settings to compare: the usual ones, and random ones.")] = 20,
    pictures: Annotated[int, typer.Option(min=1, help="Pictures of each half, at most.")] = 40,
    protocol: Annotated[str | None, typer.Option(help="Whose mIoU counts; the recipe's by default.")] = None,
    save: Annotated[bool, typer.Option("--save/--no-save", help="Keep the parameters where they help.")] = True,
    seed: Annotated[int, typer.Option(help="Of the random settings and of the halves.")] = 0,
    device: Device = "auto",
    runs: Runs = api.RUNS,
    as_json: AsJson = False,
) -> None:
    """Search CRF parameters on one half of the pictures, judge them on the other, keep them only if they help."""
    found = api.tune_crf(
        model,
        overrides or [],
        split=split,
        tries=tries,
        pictures=pictures,
        protocol=protocol,
        save=save,
        seed=seed,
        device=device,
        runs=runs,
        console=console(as_json),
    )
    if as_json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    show = console()
    show.print(_changes(found))
    show.print(f"Best of {found.tries}: {found.settings}.", highlight=False, markup=False, soft_wrap=True)
    show.print(_verdict(found, save), highlight=False, markup=False, soft_wrap=True)


def _changes(found: CrfTuning) -> Table:
    chose, judged = found.pictures
    table = Table(
        title=f"{found.split}: chosen on {chose} pictures, judged on {judged} others",
        caption=f"{found.change.conditions}. Protocol {found.protocol}, seed {found.seed}.",
        title_justify="left",
        caption_justify="left",
        caption_style="dim",
    )
    table.add_column("mIoU, %")
    for heading in ("model alone", "refined", "change"):
        table.add_column(heading, justify="right")
    alone, refined = (100 * v for v in found.chosen_miou)
    table.add_row("half that chose", f"{alone:.2f}", f"{refined:.2f}", f"{refined - alone:+.2f}")
    alone, refined = (100 * v for v in found.miou)
    value, low, high = (100 * v for v in (found.change.value, found.change.low, found.change.high))
    table.add_row("half that judged", f"{alone:.2f}", f"{refined:.2f}", f"{value:+.2f} [{low:+.2f}, {high:+.2f}]")
    return table


def _verdict(found: CrfTuning, save: bool) -> str:
    if found.helps:
        kept = "Kept beside the model: use it with --crf." if save else "Not saved (--no-save)."
        return f"It helps: the whole interval lies above 0. {kept}"
    why = "it makes the model worse" if found.change.verdict == "worse" else "the interval holds 0"
    return f"Nothing is saved: {why} on pictures that did not choose it. Use the model without --crf."
