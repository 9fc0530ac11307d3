"""Export: a model as a file for other runtimes, accepted only when it does what the original does."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwright.api.backends import EXPORT_FOLDER
from segwright.api.scoring import data_of
from segwright.api.showing import counting, new_console
from segwright.api.verbs import RUNS
from segwright.contracts import DataError, Dataset, UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from segwright.export.verify import Verification
    from segwright.inference.backends.description import Description
    from segwright.models import Segmenter
    from segwright.runs import Run

SUFFIX = {"onnx": ".onnx", "openvino": ".xml"}


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was written. path: the model. files: what lies beside it. verified: against labelled pictures, one a runtime."""

    path: Path
    files: tuple[Path, ...]
    description: Description
    verified: tuple[Verification, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "path": str(self.path),
            "files": [str(file) for file in self.files],
            "form": self.description.form,
            "precision": self.description.precision,
            "size": self.description.size,
            "verified": [one.to_dict() for one in self.verified],
        }


def export_model(
    source: str | Path,
    *,
    to: str = "onnx",
    out: str | Path | None = None,
    with_processing: bool = False,
    precision: str = "fp32",
    calibrate: str | Path | None = None,
    size: tuple[int, int] | None = None,
    verify: str | Path | None = None,
    tolerance: float | None = None,
    runs: Path = RUNS,
    console: Console | None = None,
) -> ExportResult:
    """Write a run's best model, or a .safetensors file, as an ONNX file or an OpenVINO model.

    to: onnx or openvino. out: the file; by default export/NAME in the run. with_processing: uint8 picture in, class ids
    out, everything between inside the graph. precision: fp32, fp16 or int8. calibrate: for int8, a picture or a folder of
    pictures like those to predict; the run's training pictures when None. size: fixed height and width of the input;
    None for any. verify: a labelled data set's folder, or a split of the run's data, on which original and exported model
    are scored. tolerance: how much mIoU may change, points of 100; 0.05, for int8 0.5, when None.
    Beside the file lie labels.json, MODEL_CARD.md, predict.py and, when verified, verified.json.
    Raises DataError, and leaves nothing behind, when the exported model does not do what the original does.
    """
    from segwright.export.beside import write_beside
    from segwright.export.onnx import describe, export_onnx
    from segwright.export.openvino import export_openvino
    from segwright.export.record import remember
    from segwright.export.verify import check_scores
    from segwright.files import sha256
    from segwright.inference.backends.opening import load_exported
    from segwright.models.weights import load_segmenter
    from segwright.runs import model_file

    if to not in SUFFIX:
        raise UserError(f"--to is '{to}'; allowed are {', '.join(SUFFIX)}. TensorRT: see the guide on exporting.")
    if calibrate is not None and precision != "int8":
        raise UserError("calibration is for int8 alone: add --precision int8, or leave out --calibrate.")
    if tolerance is not None and not 0 <= tolerance <= 100:
        raise UserError(f"tolerance is {tolerance}; allowed are 0 to 100 points of mIoU.")
    console = console or new_console()
    weights, run = model_file(source, runs=Path(runs))
    segmenter = load_segmenter(weights)
    describe(segmenter, picture=with_processing, precision=precision, size=size)
    path = _target(out, run, weights, SUFFIX[to], with_processing, precision)
    labelled = None if verify is None else _labelled(verify, run, segmenter)
    pictures = _calibration(calibrate, run, segmenter) if precision == "int8" else iter(())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
            graph, made = Path(folder) / "model.onnx", Path(folder) / path.name
            console.print(f"exporting {segmenter.model['name']} to {to}, {precision} …", highlight=False)
            description = export_onnx(
                segmenter, graph, picture=with_processing, precision=precision, size=size, calibration=pictures
            )
            if to == "openvino":
                export_openvino(graph, made, description)
            else:
                graph.replace(made)
            judge = "onnxruntime" if to == "onnx" else "openvino-fp32"
            check_scores(segmenter, load_exported(made, judge), precision=precision)
            found = [] if labelled is None else _verify(made, segmenter, labelled, precision, judge, tolerance, console)
            card = _card(run, console) if run is not None and weights == run.best else None
            for file in (made.with_suffix(".bin"), made):
                if file.is_file():
                    file.replace(path.with_name(file.name))
        remember(path, sha256(weights), found)
        files = write_beside(path, description, found, card)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}). Free some space or choose another file with -o."
        ) from error
    return ExportResult(path=path, files=tuple(files), description=description, verified=tuple(found))


def _target(out: str | Path | None, run: Run | None, weights: Path, suffix: str, picture: bool, precision: str) -> Path:
    from segwright.runs import home

    if out is not None:
        path = Path(out)
        if path.suffix.lower() != suffix:
            raise UserError(f"-o {path}: the file ends in {suffix}, such as {path.with_suffix(suffix)}.")
        return path
    name = "model" + "-with-processing" * picture + f"-{precision}" * (precision != "fp32") + suffix
    return home(weights, run) / EXPORT_FOLDER / name


def _labelled(verify: str | Path, run: Run | None, segmenter: Segmenter) -> tuple[str, Dataset]:
    """Split and data set to verify on, told in the model's classes."""
    from segwright.build import build_scored_set
    from segwright.data.recognise import recognise
    from segwright.recipe import load_recipe

    folder = Path(verify).expanduser()
    if folder.is_dir():
        name = recognise(folder) or "paired_folders"
        own = None if run is None else load_recipe(run.recipe_file).recipe.data.name
        keys = [f"data.root={folder}"] + ([] if own == name else [f"data.name={name}"])
        data, _ = data_of(run if own == name else None, segmenter, keys)
        split = data.val
    elif run is None:
        raise UserError(f"--verify {verify}: there is no such folder, and a model file alone has no splits to name.")
    else:
        data, _ = data_of(run, segmenter, ())
        split = str(verify)
    return split, build_scored_set(data, split, segmenter.labels)


def _calibration(calibrate: str | Path | None, run: Run | None, segmenter: Segmenter) -> Iterator[NDArray[np.uint8]]:
    """Pictures to see ranges on, spread evenly over what there is."""
    from segwright.build import build_scored_set
    from segwright.data.reading import read_image
    from segwright.export.int8 import PICTURES
    from segwright.inference.folders import find_pictures

    if calibrate is not None:
        paths = find_pictures(Path(calibrate))
        return (read_image(path) for path in _spread(paths, PICTURES))
    if run is None:
        raise UserError("int8 needs pictures to calibrate on: add --calibrate DIR with pictures like those to predict.")
    data, _ = data_of(run, segmenter, ())
    dataset = build_scored_set(data, data.train, segmenter.labels)
    return (dataset[index].rgb for index in _spread(range(len(dataset)), PICTURES))


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    return list(items) if len(items) <= count else [items[i * len(items) // count] for i in range(count)]


def _verify(
    made: Path,
    segmenter: Segmenter,
    labelled: tuple[str, Dataset],
    precision: str,
    judge: str,
    tolerance: float | None,
    console: Console,
) -> list[Verification]:
    """What each runtime that is here makes of it, the judging one first. Raises DataError when that one says no."""
    from importlib.util import find_spec

    from segwright.export.verify import verify
    from segwright.inference.backends.opening import load_exported

    split, dataset = labelled
    found = []
    for backend in (judge, *(["openvino"] if find_spec("openvino") is not None else [])):
        with counting(console, f"verifying in {backend}") as progress:
            one = verify(
                segmenter,
                load_exported(made, backend),
                dataset,
                backend=backend,
                precision=precision,
                split=split,
                tolerance=tolerance,
                progress=progress,
            )
        if backend == judge and one.problems:
            raise DataError(
                f"the exported model does not do what the original does, on {one.pictures} pictures of '{split}': "
                f"{'; '.join(one.problems)}. Nothing was written. For int8, calibrate on more pictures (--calibrate DIR) or take "
                "fp16; to accept a larger loss of mIoU, set --tolerance."
            )
        found.append(one)
    return found


def _card(run: Run, console: Console) -> str:
    """The run's card as it is, else a new one."""
    from segwright.api.cards import card
    from segwright.report.model_card import CARD_FILE

    path = run.path / CARD_FILE
    return path.read_text(encoding="utf-8") if path.is_file() else card(run.path, console=console)
