"""`segwright models`: list the architectures, choose among them, show one with its arguments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from segwright import api
from segwright.cli.forms import AsJson, Device, console, example, parse_size

if TYPE_CHECKING:
    from segwright.models.facts import ModelFacts

models_app = typer.Typer(help="Architectures: list, filter, time them, show one.", invoke_without_command=True)
Classes = Annotated[int, typer.Option(min=1, max=250, help="Number of classes to count parameters for.")]


@models_app.callback(
    epilog=example(
        "segwright models",
        "segwright models --filter cityscapes --size 512x1024 --sort macs",
        "segwright models --filter cpu --latency --size 384x512",
        "segwright models show unet",
    )
)
def models(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="TEXT", help="Only models that mention it; repeat it for several words."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="HEIGHTxWIDTH", help="Count multiply-adds for a picture of this size.")
    ] = None,
    latency: Annotated[bool, typer.Option("--latency", help="Time one picture on this machine.")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Pictures to time, after two to warm up.")] = 10,
    experimental: Annotated[
        bool | None, typer.Option("--experimental/--proven", help="Only the second tier, or only the first.")
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="BY", help="name, parameters, macs, stride, latency, published.")
    ] = None,
    classes: Classes = 19,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """List the architectures with what to choose by."""
    if context.invoked_subcommand is not None:
        return
    facts = api.list_models(
        num_classes=classes,
        words=words or [],
        experimental=experimental,
        size=parse_size(size) if size else None,
        latency=latency,
        repeats=repeats,
        device=device,
        sort=sort,
        console=console(as_json),
    )
    if as_json:
        print(json.dumps([asdict(f) for f in facts], ensure_ascii=False))
        return
    out = console()
    out.print(_table(facts, size or ("512x1024" if latency else None), latency))
    if any(f.experimental for f in facts):
        out.print("*: experimental, built from the paper; trained here only to see that it learns.", highlight=False)
    if latency:
        import torch

        threads = torch.get_num_threads()
        out.print(
            f"ms: one picture to class ids, fp32, device {device}, {threads} CPU thread{'s' * (threads != 1)}, "
            f"median of {repeats} after two to warm up, fresh weights. Other programs that run make it larger.",
            highlight=False,
        )


@models_app.command(epilog=example("segwright models show unet"))
def show(
    name: Annotated[str, typer.Argument(help="An architecture.")],
    size: Annotated[str, typer.Option(help="Picture size to count multiply-adds for, HEIGHTxWIDTH.")] = "512x1024",
    classes: Classes = 19,
    as_json: AsJson = False,
) -> None:
    """One architecture: what it is, facts, its arguments with defaults."""
    page = api.describe_model(name, num_classes=classes, size=parse_size(size))
    if as_json:
        print(json.dumps(asdict(page), ensure_ascii=False))
        return
    out, facts = console(), page.facts
    out.print(f"[bold]{facts.name}[/]: {facts.description}", highlight=False)
    out.print(page.text, highlight=False, markup=False)
    out.print()
    out.print(f"paper       {facts.paper}", highlight=False, markup=False)
    out.print(f"licence     {facts.licence} (of the code)", highlight=False, markup=False)
    if facts.parameters is not None:
        out.print(f"parameters  {facts.parameters:,} for {classes} classes", highlight=False)
    if facts.stride is not None and facts.macs is not None:
        out.print(
            f"arithmetic  {facts.macs / 1e9:,.2f} GMACs for a picture of {size}; stride {facts.stride}", highlight=False
        )
    for score in facts.published:
        out.print(f"published   mIoU {score}", highlight=False, markup=False)
    if facts.experimental:
        out.print("tier        experimental: trained here only to see that it learns", highlight=False)
    if page.arguments:
        table = Table("argument", "default", "type", "meaning", title="model.args of a recipe")
        for item in page.arguments:
            table.add_row(item.name, item.default, item.kind, item.meaning)
        out.print(table)


@models_app.command(epilog=example("segwright models shipped"))
def shipped(as_json: AsJson = False) -> None:
    """Trained models that come with segwright: a name opens one wherever a weights file does."""
    found = api.shipped_models()
    if as_json:
        print(json.dumps([asdict(one) for one in found], ensure_ascii=False))
        return
    table = Table("name", "what it is", "network")
    for title in ("parameters", "file"):
        table.add_column(title, justify="right")
    table.add_column("mIoU")
    table.add_column("licence of the weights")
    for one in found:
        table.add_row(
            one.name,
            one.description,
            one.network,
            f"{one.parameters:,}",
            f"{one.megabytes:.1f} MB",
            one.score,
            one.licence,
        )
    out = console()
    out.print(table)
    out.print(f"Use: segwright predict --model {found[0].name} PICTURE. Cards: docs/models/shipped.md", highlight=False)


def _table(facts: Sequence[ModelFacts], size: str | None, latency: bool) -> Table:
    table = Table("name", "what it is")
    table.add_column("parameters", justify="right")
    if size:
        table.add_column(f"GMACs\n{size}", justify="right")
    if latency:
        table.add_column("ms", justify="right")
    table.add_column("stride", justify="right")
    for title in ("licence", "published mIoU, per cent", "paper"):
        table.add_column(title)
    for fact in facts:
        cells = [f"{fact.name}{' *' * fact.experimental}", fact.description, _number(fact.parameters, ",")]
        if size:
            cells.append(_number(None if fact.macs is None else fact.macs / 1e9, ",.1f"))
        if latency:
            cells.append(_number(fact.latency_ms, ",.0f"))
        table.add_row(*cells, _number(fact.stride, ""), fact.licence, fact.best_published, fact.paper)
    return table


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
