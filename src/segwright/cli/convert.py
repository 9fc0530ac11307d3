"""`segwright convert`: a weights file of another program as a model of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from segwright import api
from segwright.cli.forms import AsJson, console
from segwright.contracts import UserError


def convert(
    source: Annotated[
        str, typer.Argument(help="A .pth, .pt, .ckpt, .bin or .safetensors file, or hf://OWNER/NAME/FILE.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[model.args.KEY=VALUE]...", help="Arguments of the architecture.")
    ] = None,
    *,
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="Architecture of the file.")],
    labels: Annotated[str, typer.Option("--labels", metavar="SPACE", help="Classes of its classifier, in order.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write.")] = Path("model.safetensors"),
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Tensors that need no partner: 'aux*', 'missing:classify.*'; may be repeated."),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Which set of weights, where the file has several.")] = None,
    mean: Annotated[str | None, typer.Option(help="Mean in training, R,G,B in 0..1; ImageNet's by default.")] = None,
    std: Annotated[str | None, typer.Option(help="Deviation in training, R,G,B in 0..1.")] = None,
    short_side: Annotated[int | None, typer.Option(min=1, help="Shorter side that the network sees, pixels.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights, kept in the file.")] = "not stated",
    as_json: AsJson = False,
) -> None:
    """Turn weights of another program into a model file; every tensor has a partner, or nothing is written."""
    done = api.convert_weights(
        source,
        model,
        overrides or [],
        labels=labels,
        out=out,
        allow=allow or (),
        key=key,
        mean=None if mean is None else _three("--mean", mean),
        std=None if std is None else _three("--std", std),
        short_side=short_side,
        licence=licence,
    )
    if as_json:
        report = done.report
        facts = {
            "out": str(out),
            "matched": report.matched,
            "renamed": dict(report.renamed),
            "missing": report.missing,
            "unexpected": report.unexpected,
            "mismatched": dict(report.mismatched),
            "provenance": dict(done.provenance),
        }
        print(json.dumps(facts, ensure_ascii=False))
        return
    screen = console()
    screen.print(done.table(), highlight=False, markup=False, soft_wrap=True)
    screen.print(f"model   {out}", highlight=False, markup=False, soft_wrap=True)


def _three(option: str, text: str) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        raise UserError(
            f"{option} {text}: expected three numbers in units of 0..1, such as 0.485,0.456,0.406."
        ) from None
    return red, green, blue
