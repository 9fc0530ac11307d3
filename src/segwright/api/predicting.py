"""Segment pictures, folders and videos with one or more models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwright.api.applying import applied
from segwright.api.backends import choose_backend, open_as_one, open_chosen
from segwright.api.crf import Crf
from segwright.api.showing import counting, new_console
from segwright.api.verbs import RUNS
from segwright.contracts import DataError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.inference.maps import Predicts
    from segwright.inference.resuming import PredictedFile
    from segwright.labels import LabelSpace
    from segwright.models import Segmenter


def predict(
    sources: Sequence[str | Path],
    pictures: str | Path,
    out: str | Path,
    *,
    ensemble: bool = False,
    window: str | None = None,
    overlap: float | None = None,
    tta: str | None = None,
    write: Sequence[str] = ("overlay", "color", "ids"),
    format: str = "png",
    probabilities: str = "fp16",
    opacity: float = 0.5,
    palette: str = "official",
    abstain_below: float | None = None,
    labels: str | None = None,
    crf: Crf = False,
    batch: int = 1,
    resume: bool = False,
    backend: str | None = None,
    device: str = "auto",
    runs: Path = RUNS,
    console: Console | None = None,
) -> dict[str, list[PredictedFile]]:
    """Segment a picture or a folder of pictures with one or more models.

    ensemble: all models together as one, the mean of their class probabilities.
    window: `512x1024` (height × width) or `512`: slide a window of this size over the pictures; overlap: the share of it,
    0..0.9, that the next one covers again, half by default. tta: the mean over mirrored and resized pictures, such as
    `flip,scales=0.75:1:1.25`.
    write: of overlay, color, ids, probabilities, confidence, entropy. format: of maps: png, npy or tif (GeoTIFF).
    probabilities: how they are stored, fp16 or uint8.
    palette: `official`, the label space's own colours, or `safe`, which colour-blind people can tell apart.
    abstain_below: pixels of less confidence (0..1) get no class but 255; `calibrate` says which value keeps a wished risk.
    labels: label space in which the predictions are told (a name or a .yaml file); by default each model's own.
    crf: True refines with a fully connected CRF, with the parameters that `tune_crf` kept; a mapping changes some of them.
    batch: pictures of one size predicted together. resume: leave out what the same model and options finished in `out`.
    backend: `torch`, a runtime of `inference.backends.BACKENDS`, or `auto`; by default torch, and for an
    exported file the first that reads it.
    Writes STEM_KIND files and predictions.jsonl into `out` (into out/RUN for several models). Returns the files by model.
    Raises UserError for wrong arguments; DataError that lists the pictures that cannot be read, after all others are written.
    """
    from segwright.inference.folders import predict_paths
    from segwright.inference.outputs import Output
    from segwright.inference.video.places import is_video

    if is_video(str(pictures)):
        raise UserError(
            f"{pictures} is a video: segment it with segment_video(), on the command line with segwright video."
        )
    console = console or new_console()
    output = Output(write=tuple(write), format=format, probabilities=probabilities, opacity=opacity, palette=palette)
    space = None if labels is None else _space(labels)
    asked = _Asked(
        labels=space, window=window, overlap=overlap, tta=tta, crf=crf, abstain_below=abstain_below, device=device
    )
    ids_alone = not ensemble and not output.sureness and asked in (_Asked(), _Asked(device="cpu"))
    found: dict[str, list[PredictedFile]] = {}
    faults: list[DataError] = []
    several = len(sources) > 1 and not ensemble
    for source in [sources] if ensemble else [[source] for source in sources]:
        chosen = choose_backend(source[0], Path(runs), backend, console) if ids_alone else None
        if chosen is not None and chosen.runtime is not None:
            model = _ids_model(chosen.file, chosen.runtime, chosen.name)
        else:
            opened = (open_chosen(chosen), chosen.name) if chosen else open_as_one(source, Path(runs), backend, console)
            model = _model(*opened, source, asked, Path(runs), console)
        name = model.name
        console.print(f"{name}: licence of the weights: {model.licence}", highlight=False, markup=False)
        with counting(console, "predicting") as progress:
            try:
                found[name] = predict_paths(
                    model.predictor,
                    Path(pictures),
                    Path(out) / name if several else Path(out),
                    output,
                    batch=batch,
                    resume=resume,
                    model=_identity(model.provenance, source, Path(runs), backend, abstain_below),
                    skip=Path(out),
                    say=lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True),
                    progress=progress,
                )
            except DataError as error:  # of pictures: the other models have theirs all the same
                faults.append(error)
    if faults:
        raise faults[0] if len(faults) == 1 else DataError("\n".join(str(fault) for fault in faults))
    return found


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What is put around a model, as in `predict`."""

    labels: LabelSpace | None = None
    window: str | None = None
    overlap: float | None = None
    tta: str | None = None
    crf: Crf = False
    abstain_below: float | None = None
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class _Model:
    """A model ready to predict, and what is told of it."""

    predictor: Predicts
    name: str
    licence: str
    provenance: Mapping[str, Any]


def _space(labels: str) -> LabelSpace:
    from segwright.build import build_space

    return build_space(labels, "--labels")


def _ids_model(file: Path, runtime: str, name: str) -> _Model:
    """An exported file for class ids alone: torch is not imported, which takes more memory than most models."""
    from segwright.inference.backends.opening import load_plain
    from segwright.inference.backends.predicting import IdsPredictor

    model = load_plain(file, runtime)
    about = model.description
    return _Model(predictor=IdsPredictor(model), name=name, licence=about.licence, provenance=about.provenance)


def _model(
    segmenter: Segmenter, name: str, sources: Sequence[str | Path], asked: _Asked, runs: Path, console: Console
) -> _Model:
    """A model in torch, or seen from there, with what was asked for around it."""
    from segwright.build import pick_device, prediction_map
    from segwright.inference.predictor import Predictor
    from segwright.models.converted import in_space

    segmenter, name = applied(
        segmenter,
        name,
        sources,
        window=asked.window,
        overlap=asked.overlap,
        tta=asked.tta,
        crf=asked.crf,
        runs=runs,
        console=console,
    )
    told = None if asked.labels is None else prediction_map(segmenter.labels, asked.labels)
    predictor = Predictor(
        in_space(segmenter, told), device=pick_device(asked.device), abstain_below=asked.abstain_below
    )
    return _Model(predictor=predictor, name=name, licence=segmenter.licence, provenance=segmenter.provenance)


def _identity(
    provenance: Mapping[str, Any],
    sources: Sequence[str | Path],
    runs: Path,
    backend: str | None,
    abstain_below: float | None,
) -> dict[str, Any]:
    """What tells a model and its options from others, as plain data."""
    from segwright.evaluation.result import applied_to
    from segwright.files import sha256
    from segwright.runs import model_file

    return {
        "weights": [sha256(model_file(source, runs=runs)[0]) for source in sources],
        "backend": backend,
        "abstain_below": abstain_below,
        "applied": applied_to(provenance),
    }
