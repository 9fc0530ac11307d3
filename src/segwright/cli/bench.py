"""`segwright bench`: time, memory and mIoU of a model in every way that this machine can run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from segwright import api
from segwright.cli.forms import AsJson, Device, Runs, console, example, parse_size

if TYPE_CHECKING:
    from segwright.evaluation.bench import Bench, Timed

EXAMPLES = example(
    "segwright bench runs/latest --export --score",
    "segwright bench runs/latest --size 360x480 --backend onnxruntime --backend openvino",
)


def bench(
    model: Annotated[str, typer.Argument(help="A run, its name, or a .safetensors file.")],
    backend: Annotated[
        list[str] | None,
        typer.Option(help="torch, onnxruntime, openvino or openvino-fp32; may be repeated. Default: all."),
    ] = None,
    size: Annotated[str, typer.Option(metavar="HxW", help="Height and width of the picture.")] = "512x1024",
    repeats: Annotated[int, typer.Option(min=1, help="Calls of each way, after the warm-up.")] = 20,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of one call. Default: one a core.")] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="torch.compile, too: half a minute, needs a C++ compiler.")
    ] = False,
    score: Annotated[
        bool, typer.Option("--score", help="Measure the mIoU of every way for which none is stored.")
    ] = False,
    split: Annotated[str | None, typer.Option(help="Split to score; the validation split by default.")] = None,
    export: Annotated[
        bool, typer.Option("--export", help="First make and verify the exports that are missing: fp32 and int8.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Time against mIoU, .png or .svg; bench.png in the run without it."),
    ] = None,
    device: Device = "cpu",
    runs: Runs = api.RUNS,
    as_json: AsJson = False,
) -> None:
    """Time a model in every backend and precision of this machine, beside its memory and mIoU."""
    found = api.bench(
        model,
        backends=backend or (),
        size=parse_size(size),
        repeats=repeats,
        threads=threads,
        compiled=compiled,
        score=score,
        split=split,
        export=export,
        plot=plot,
        device=device,
        runs=runs,
        console=console(as_json),
    )
    if as_json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    show = console()
    show.print(_table(found))
    for name, reason in found.failed.items():
        show.print(f"{name} failed: {reason}", highlight=False, markup=False, soft_wrap=True)


def _table(found: Bench) -> Table:
    plain = found.plain
    against = (
        ""
        if plain is None
        else " “plain”: eager torch, full-size scores and then their argmax; the others are compared with it."
    )
    where = "" if found.split is None else f", on {found.split}"
    table = Table(
        title=f"{found.run}: the fastest first" + "; ● no other way is both faster and better" * bool(found.scored),
        caption=f"{found.conditions}{against} Memory: of the whole process. mIoU: pooled{where}; – where none "
        "is stored (--score measures it).",
        title_justify="left",
        caption_justify="left",
        caption_style="dim",
    )
    table.add_column("way")
    compared = () if plain is None else ("times as fast", "memory of plain")
    for heading in ("median ms", "p95", "a second", "first answer, s", "memory, MB", *compared, "mIoU, %"):
        table.add_column(heading, justify="right")
    front = {row.way for row in found.front}
    for row in found.rows:
        table.add_row(("● " if row.way in front else "  ") + row.way.name, *_cells(row, plain))
    return table


def _cells(row: Timed, plain: Timed | None) -> list[str]:
    compared = [] if plain is None else [f"{plain.median_ms / row.median_ms:.2f}", f"{row.peak_mb / plain.peak_mb:.0%}"]
    return [
        f"{row.median_ms:.1f}",
        f"{row.p95_ms:.1f}",
        f"{row.per_second:.1f}",
        f"{row.first_s:.2f}",
        f"{row.peak_mb:.0f}",
        *compared,
        "–" if row.miou is None else f"{100 * row.miou:.2f}",
    ]
