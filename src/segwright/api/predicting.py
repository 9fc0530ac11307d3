"""Segment pictures, folders and videos with one or more models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.backends import open_as_one
from segwright.api.crf import Crf, refined
from segwright.api.showing import counting, new_console
from segwright.api.verbs import RUNS

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.inference.predictor import PredictedFile


def predict(
    sources: Sequence[str | Path],
    pictures: str | Path,
    out: str | Path,
    *,
    ensemble: bool = False,
    write: Sequence[str] = ("overlay", "color", "ids"),
    opacity: float = 0.5,
    palette: str = "official",
    abstain_below: float | None = None,
    labels: str | None = None,
    crf: Crf = False,
    backend: str | None = None,
    device: str = "auto",
    runs: Path = RUNS,
    console: Console | None = None,
) -> dict[str, list[PredictedFile]]:
    """Segment a picture or a folder of pictures with one or more models.

    ensemble: all models together as one, the mean of their class probabilities.
    palette: `official`, the label space's own colours, or `safe`, which colour-blind people can tell apart.
    abstain_below: pixels of less confidence (0..1) get no class but 255; `calibrate` says which value keeps a wished risk.
    labels: label space in which the predictions are told (a name or a .yaml file); by default each model's own.
    backend: `torch`, a runtime of `inference.backends.BACKENDS`, or `auto`; by default torch, and for an
    exported file the first that reads it.
    crf: True refines with a fully connected CRF, with the parameters that `tune_crf` kept; a mapping changes some of them.
    Writes STEM_overlay, STEM_color and STEM_ids into `out` (into out/RUN for several models). Returns the files by model.
    """
    from segwright.build import build_space, pick_device, prediction_map
    from segwright.inference.predictor import Predictor, predict_paths
    from segwright.models.converted import in_space

    console = console or new_console()
    space = None if labels is None else build_space(labels, "--labels")
    found: dict[str, list[PredictedFile]] = {}
    several = len(sources) > 1 and not ensemble
    for source in [sources] if ensemble else [[source] for source in sources]:
        segmenter, name = open_as_one(source, Path(runs), backend, console)
        segmenter, name = refined(segmenter, name, source, crf, runs, console)
        console.print(f"{name}: licence of the weights: {segmenter.licence}", highlight=False, markup=False)
        told = None if space is None else prediction_map(segmenter.labels, space)
        predictor = Predictor(in_space(segmenter, told), device=pick_device(device), abstain_below=abstain_below)
        target = Path(out) / name if several else Path(out)
        with counting(console, "predicting") as progress:
            found[name] = predict_paths(
                predictor,
                Path(pictures),
                target,
                write=tuple(write),
                opacity=opacity,
                palette=palette,
                skip=Path(out),
                progress=progress,
            )
    return found
