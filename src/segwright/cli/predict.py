"""`segwright predict`: pictures and folders through one or more models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segwright import api
from segwright.cli.crf import CRF, CRF_SET, asked_crf
from segwright.cli.forms import Backend, Device, Overlap, Runs, Tta, Window, console, example
from segwright.cli.video import predict_video
from segwright.contracts import UserError
from segwright.inference.video.places import is_video
from segwright.shipped import SHIPPED

EXAMPLES = example(
    "segwright predict runs/latest photo.jpg -o out",
    "segwright predict --model camvid-small photo.jpg",
    "segwright predict runs/A runs/B DIR -o out --write overlay",
    "segwright predict runs/latest DIR -o out --window 512x1024 --tta flip --resume",
)


def predict(
    context: typer.Context,
    paths: Annotated[
        list[str], typer.Argument(metavar="MODEL... PICTURES", help="One or more models, then a picture or a folder.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write into.")] = Path("predictions"),
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="MODEL", help="A further model, such as one of `segwright models shipped`."),
    ] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="All models together: the mean of their class probabilities.")
    ] = False,
    window: Window = None,
    overlap: Overlap = None,
    tta: Tta = None,
    write: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KINDS",
            help="overlay, color, ids (the default), probabilities, confidence, entropy; with commas, or repeated.",
        ),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", help="Of maps: png, npy, or tif (keeps the place of a GeoTIFF).")
    ] = "png",
    probabilities: Annotated[str, typer.Option(help="How they are stored: fp16 or uint8.")] = "fp16",
    opacity: Annotated[float, typer.Option(min=0, max=1, help="Opacity of the overlay's colours.")] = 0.5,
    palette: Annotated[
        str, typer.Option(help="Class colours: official, or safe for colour-blind readers.")
    ] = "official",
    abstain_below: Annotated[
        float | None, typer.Option(metavar="P", help="No class (255) where confidence is lower, 0..1.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="SPACE", help="Label space to predict in; the model's by default.")
    ] = None,
    crf: CRF = False,
    crf_set: CRF_SET = None,
    batch: Annotated[int, typer.Option(metavar="N", help="Pictures of one size predicted together.")] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on: leave out what the same model and options finished here.")
    ] = False,
    backend: Backend = None,
    device: Device = "auto",
    runs: Runs = api.RUNS,
) -> None:
    """Segment a picture or a folder: overlays, colour masks, id masks, and how sure the model is."""
    *named, pictures = paths
    models = [*(model or []), *named]
    if not models:
        raise UserError(
            "predict needs a model and then a picture or folder, such as: segwright predict runs/latest photo.jpg, or "
            f"segwright predict --model {next(iter(SHIPPED))} photo.jpg"
        )
    if is_video(pictures):
        return predict_video(context, models, pictures)
    found = api.predict(
        models,
        pictures,
        out,
        ensemble=ensemble,
        window=window,
        overlap=overlap,
        tta=tta,
        write=[kind.strip() for text in write or ["overlay,color,ids"] for kind in text.split(",")],
        format=format,
        probabilities=probabilities,
        opacity=opacity,
        palette=palette,
        abstain_below=abstain_below,
        labels=labels,
        crf=asked_crf(crf, crf_set),
        batch=batch,
        resume=resume,
        backend=backend,
        device=device,
        runs=runs,
        console=console(),
    )
    from segwright.inference.folders import mean_abstained, mean_shares

    for name, files in found.items():
        shares = ", ".join(f"{label} {share:.0%}" for label, share in list(mean_shares(files).items())[:5])
        text = f"{name}: {len(files)} picture{'s' * (len(files) != 1)} → {out}  ({shares})"
        text += f", {mean_abstained(files):.1%} without an answer" if abstain_below is not None else ""
        console().print(text, highlight=False, markup=False, soft_wrap=True)
