"""`segwright video`: a video, a stream or a camera through one or more models."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from segwright import api
from segwright.api.video import IncompleteVideo, VideoResult
from segwright.cli.forms import AsJson, Backend, Device, Runs, console, example
from segwright.contracts import UserError
from segwright.inference.video.places import find_place
from segwright.inference.video.writing import ENDINGS

if TYPE_CHECKING:
    from segwright.metrics.stability import Stability

EXAMPLES = example(
    "segwright video runs/latest street.mp4 -o out.mp4 --backend auto",
    "segwright video runs/A runs/B runs/C street.mp4 -o grid.mp4 --smooth 0.6",
    "segwright video runs/latest --camera 0 -o seen.mp4 --end 60",
)


def video(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL... VIDEO", help="One or more models, then a file or an address (rtsp://, http://)."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help=".mp4, .m4v, .mov or .mkv; default predictions/NAME_LAYOUT.mp4."),
    ] = None,
    camera: Annotated[
        int | None, typer.Option(metavar="N", help="A camera of this machine, from 0, in place of VIDEO.")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(help="overlay, mask, side-by-side, grid. Default: overlay; grid for several models."),
    ] = None,
    smooth: Annotated[
        float, typer.Option(metavar="M", help="Memory of the mean of probabilities over frames: 0 (off) to below 1.")
    ] = 0.0,
    hysteresis: Annotated[
        int, typer.Option(metavar="N", help="Show another class only after N frames in a row that have it.")
    ] = 1,
    every: Annotated[int, typer.Option(metavar="N", help="Take only each Nth frame.")] = 1,
    start: Annotated[float, typer.Option(metavar="S", help="Begin at this second.")] = 0.0,
    end: Annotated[float | None, typer.Option(metavar="S", help="Stop at this second.")] = None,
    opacity: Annotated[float, typer.Option(min=0, max=1, help="Opacity of the overlay's colours.")] = 0.5,
    palette: Annotated[
        str, typer.Option(help="Class colours: official, or safe for colour-blind readers.")
    ] = "official",
    legend: Annotated[bool, typer.Option(help="A strip with the classes below.")] = True,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="All models together: the mean of their class probabilities.")
    ] = False,
    labels: Annotated[
        str | None, typer.Option(metavar="SPACE", help="Label space to predict in; the model's by default.")
    ] = None,
    backend: Backend = None,
    device: Device = "auto",
    runs: Runs = api.RUNS,
    as_json: AsJson = False,
) -> None:
    """Segment a video: overlays, masks, or a grid of several models, with times, rotation and sound kept."""
    models, source = (paths, camera) if camera is not None else (paths[:-1], paths[-1])
    if not models:
        raise UserError(
            "video needs a model and then a video, such as: segwright video runs/latest street.mp4 -o out.mp4"
        )
    segment_and_show(
        models,
        source,
        out,
        console(as_json),
        as_json=as_json,
        layout=layout,
        smooth=smooth,
        hysteresis=hysteresis,
        every=every,
        start=start,
        end=end,
        opacity=opacity,
        palette=palette,
        legend=legend,
        ensemble=ensemble,
        labels=labels,
        backend=backend,
        device=device,
        runs=runs,
    )


FOR_BOTH = ("ensemble", "opacity", "palette", "labels", "backend", "device", "runs")
"""Options of `predict` that a video takes as well, besides -o."""


def predict_video(context: typer.Context, models: list[str], source: str) -> None:
    """`segwright predict` with a video: as `segwright video` with its defaults; -o is a video file or a folder.

    Raises UserError for options of `predict` that mean nothing for a video.
    """
    given = [n for n in context.params if getattr(context.get_parameter_source(n), "name", "") == "COMMANDLINE"]
    if foreign := [n.replace("_", "-") for n in given if n not in ("paths", "model", "out", *FOR_BOTH)]:
        raise UserError(
            f"--{foreign[0]} is for pictures, and {source} is a video. Leave it out; `segwright video --help` lists what goes "
            "with videos."
        )
    chosen = {name: context.params[name] for name in FOR_BOTH}
    out: Path = context.params["out"]
    if out.suffix.lower() not in ENDINGS:
        layout = "overlay" if chosen["ensemble"] or len(models) == 1 else "grid"
        out = out / f"{find_place(source).stem}_{layout}.mp4"
    segment_and_show(models, source, out, console(), **chosen)


def segment_and_show(
    models: list[str], source: str | int, out: Path | None, show: Console, *, as_json: bool = False, **options: Any
) -> None:
    """Segment a video and print what was written, also where the video is damaged."""
    try:
        result = api.segment_video(models, source, out, console=show, **options)
    except IncompleteVideo as error:
        show_video(error.result, show, as_json)
        raise
    show_video(result, show, as_json)


def show_video(result: VideoResult, show: Console, as_json: bool = False) -> None:
    """Print what was written and how steady each model is."""
    if as_json:
        print(json.dumps(json.loads(result.summary.read_text(encoding="utf-8")), ensure_ascii=False))
        return
    found = result.found
    for note in found.notes:
        show.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    steadied = any(model.after is not None for model in found.models)
    within = found.models[0].before.within
    table = Table(
        "model",
        "largest classes",
        caption=f"flicker: pixels that leave a class and are back in it within {within} frames",
        caption_justify="left",
    )
    table.add_column("flicker", justify="right")
    if steadied:
        table.add_column("flicker shown", justify="right")
    for model in found.models:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in list(model.mean.items())[:5])
        cells = [_flicker(model.before)] + ([_flicker(model.after)] if steadied else [])
        table.add_row(model.name, shares, *cells)
    show.print(table)
    height, width = found.size
    sound = ", sound copied" if found.sound else ""
    text = f"video    {found.out}  ({found.written} frame{'s' * (found.written != 1)}, {width}×{height}, {found.encoder}{sound})"
    for line in (text, f"summary  {result.summary}", f"shares   {result.plot}"):
        show.print(line, highlight=False, markup=False, soft_wrap=True)


def _flicker(found: Stability | None) -> str:
    return "–" if found is None or not math.isfinite(found.flicker_rate) else f"{found.flicker_rate:.2%}"
