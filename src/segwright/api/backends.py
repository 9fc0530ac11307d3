"""Opening a model to predict with: a run or its weights in torch, or an exported file in a runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.contracts import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.export.record import Known
    from segwright.models import Segmenter
    from segwright.runs import Run

EXPORTED = (".onnx", ".xml")
EXPORT_FOLDER = "export"
"""Where a run keeps what was exported of it."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What runs a model: the file, and the runtime that reads it, or None for torch. run: the model's, if any."""

    file: Path
    runtime: str | None
    run: Run | None

    @property
    def name(self) -> str:
        """Of the run, or else of the file."""
        return self.run.name if self.run else self.file.stem


def choose_backend(
    source: str | Path, runs: Path, backend: str | None = None, console: Console | None = None
) -> Chosen:
    """What is to run a model; nothing is loaded.

    source: a run, its name, a .safetensors file, or an exported .onnx or .xml file. backend: torch or one of
    `inference.backends.BACKENDS`; `auto` takes the fastest verified one that costs at most half a point of mIoU and says
    which; None takes torch, or for an exported file the first that reads it.
    A run's exported files are those in its folder `export`, as long as they were made of its present weights.
    Raises UserError for an unknown backend and for one that no verified file of the run fits.
    """
    from segwright.export.record import known
    from segwright.inference.backends.opening import BACKENDS, reader
    from segwright.runs import model_file

    if backend not in (None, "auto", "torch", *BACKENDS):
        raise UserError(f"--backend is '{backend}'; allowed are auto, torch, {', '.join(BACKENDS)}.")
    path, run = model_file(source, runs=runs)
    if path.suffix.lower() in EXPORTED:
        if backend == "auto":
            here = _fit([one for one in known(path.parent) if one.file.name == path.name])
            backend = here[0].backend if here else None
            _say(console, here[0] if here else None, f"{path.name} was not verified here", "its default runtime")
        return Chosen(file=path, runtime=reader(path, backend), run=run)
    torch = Chosen(file=path, runtime=None, run=run)
    if backend in (None, "torch"):
        return torch
    found: list[Known] = [] if run is None else _of_weights(run, path)
    if backend == "auto":
        fitting = [one for one in _fit(found) if one.milliseconds[1] < one.milliseconds[0]]
        reason = (
            "no verified export of these weights is faster and costs at most half a point of mIoU (make one: segwright export "
            f"{source} --to onnx --verify val)"
        )
        _say(console, fitting[0] if fitting else None, reason, "torch")
        return Chosen(file=fitting[0].file, runtime=fitting[0].backend, run=run) if fitting else torch
    chosen = [one for one in found if one.backend == backend]
    if not chosen:
        raise UserError(
            f"{source} has no verified export for {backend} that was made of its present weights. Make one: segwright export "
            f"{source} --to onnx --with-processing --verify val"
        )
    return Chosen(file=chosen[0].file, runtime=backend, run=run)


def open_chosen(chosen: Chosen) -> Segmenter:
    """The model, loaded."""
    from segwright.inference.backends.opening import load_exported
    from segwright.models.weights import load_segmenter

    if chosen.runtime is None:
        return load_segmenter(chosen.file)
    return load_exported(chosen.file, chosen.runtime)


def open_backend(
    source: str | Path, runs: Path, backend: str | None = None, console: Console | None = None
) -> tuple[Segmenter, Path, Run | None]:
    """The model, the file that it lies in, and its run if any. Arguments and errors as for `choose_backend`."""
    chosen = choose_backend(source, runs, backend, console)
    return open_chosen(chosen), chosen.file, chosen.run


def _of_weights(run: Run, weights: Path) -> list[Known]:
    from segwright.export.record import known
    from segwright.files import sha256

    found = known(run.path / EXPORT_FOLDER)
    own = sha256(weights) if found else ""
    return [one for one in found if one.weights == own]


def _fit(found: list[Known]) -> list[Known]:
    from segwright.export.record import MOST_LOST

    return [one for one in found if one.points >= -MOST_LOST]


def _say(console: Console | None, chosen: Known | None, reason: str, instead: str) -> None:
    if console is None:
        return
    if chosen is None:
        text = f"--backend auto: {reason}; {instead} is used."
    else:
        before, after = chosen.milliseconds
        text = (
            f"--backend auto: {chosen.backend} with {chosen.file.name}, {before / after:.1f} times as fast as torch when it was "
            f"verified, {chosen.points:+.2f} points of mIoU."
        )
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def open_named(source: str | Path, runs: Path, backend: str | None, console: Console) -> tuple[Segmenter, str]:
    """As `open_backend`, with the run's or file's name."""
    chosen = choose_backend(source, runs, backend, console)
    return open_chosen(chosen), chosen.name


def open_as_one(
    sources: Sequence[str | Path], runs: Path, backend: str | None, console: Console
) -> tuple[Segmenter, str]:
    """Several models as one, and what to call it."""
    from segwright.inference.ensemble import Ensemble

    if len(sources) == 1:
        return open_named(sources[0], runs, backend, console)
    models = [open_named(source, runs, backend, console) for source in sources]
    names = [name for _, name in models]
    return Ensemble([segmenter for segmenter, _ in models], names), "+".join(names)
