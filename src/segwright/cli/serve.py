"""`segwright serve`: a model over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from segwright import api
from segwright.cli.forms import Backend, Device, Runs, console, example

EXAMPLES = example(
    "segwright serve runs/latest",
    "segwright serve runs/latest/export/model.onnx --backend openvino --port 9000",
    "SEGWRIGHT_TOKEN=… segwright serve runs/latest --host 0.0.0.0 --allow-host segment.example.org",
)


def serve(
    model: Annotated[str, typer.Argument(help="A run, its name, a .safetensors file, or an exported file.")],
    host: Annotated[
        str, typer.Option(help="Address to listen at. Beyond this machine it needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="SEGWRIGHT_TOKEN",
            help="What clients have to send. In the environment other users cannot see it.",
            show_default=False,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name under which clients may ask, such as a proxy's; may be repeated."),
    ] = None,
    queue: Annotated[int, typer.Option(help="Pictures pending at most; more are refused with 503.")] = 64,
    batch: Annotated[int, typer.Option(help="Pictures of one size computed together at most.")] = 8,
    wait_ms: Annotated[float, typer.Option(help="How long a picture waits for others, milliseconds.")] = 5,
    max_pixels: Annotated[int, typer.Option(help="Pixels of a picture at most.")] = 25_000_000,
    backend: Backend = None,
    device: Device = "auto",
    runs: Runs = api.RUNS,
) -> None:
    """Serve a model over HTTP: pictures in, class ids, overlays, shares or polygons out; with a page to try it."""
    api.serve(
        model,
        host=host,
        port=port,
        token=token,
        allow_hosts=allow_host or (),
        backend=backend,
        device=device,
        limits={"queue": queue, "batch": batch, "wait_ms": wait_ms, "pixels": max_pixels},
        runs=runs,
        console=console(),
    )
