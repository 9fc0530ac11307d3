"""`segwright predict`: pictures and folders through one or more models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segwright import api
from segwright.cli.crf import CRF, CRF_SET, asked_crf
from segwright.cli.forms import Backend, Device, Runs, console, example
from segwright.contracts import UserError

EXAMPLES = example(
    "segwright predict runs/latest photo.jpg -o out", "segwright predict runs/A runs/B DIR -o out --write overlay"
)


def predict(
    paths: Annotated[
        list[str], typer.Argument(metavar="MODEL... PICTURES", help="One or more models, then a picture or a folder.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write into.")] = Path("predictions"),
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="All models together: the mean of their class probabilities.")
    ] = False,
    write: Annotated[
        list[str] | None, typer.Option(help="overlay, color, ids; may be repeated. Default: all three.")
    ] = None,
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
    backend: Backend = None,
    device: Device = "auto",
    runs: Runs = api.RUNS,
) -> None:
    """Segment a picture or a folder: overlays, colour masks and id masks."""
    *models, pictures = paths
    if not models:
        raise UserError(
            "predict needs a model and then a picture or folder, such as: segwright predict runs/latest photo.jpg"
        )
    found = api.predict(
        models,
        pictures,
        out,
        ensemble=ensemble,
        write=write or ("overlay", "color", "ids"),
        opacity=opacity,
        palette=palette,
        abstain_below=abstain_below,
        labels=labels,
        crf=asked_crf(crf, crf_set),
        backend=backend,
        device=device,
        runs=runs,
        console=console(),
    )
    from segwright.inference.predictor import mean_abstained, mean_shares

    for name, files in found.items():
        shares = ", ".join(f"{label} {share:.0%}" for label, share in list(mean_shares(files).items())[:5])
        text = f"{name}: {len(files)} picture{'s' * (len(files) != 1)} → {out}  ({shares})"
        text += f", {mean_abstained(files):.1%} without an answer" if abstain_below is not None else ""
        console().print(text, highlight=False, markup=False, soft_wrap=True)
