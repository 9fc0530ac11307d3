"""Bench: what runs a model fastest on this machine, in how much memory, and at which mIoU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.backends import EXPORT_FOLDER, EXPORTED
from segwright.api.scoring import data_of
from segwright.api.showing import counting, new_console
from segwright.api.verbs import RUNS
from segwright.contracts import DataError, SegwrightError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.contracts import Dataset
    from segwright.evaluation.bench import Bench, Timed
    from segwright.evaluation.ways import Way
    from segwright.models import Segmenter
    from segwright.runs import Run

BENCH_FILE, PLOT_FILE = "bench.json", "bench.png"
WANTED = {"fp32": "", "int8": " --precision int8"}
"""Exports that a bench misses where they are not there, and what else `segwright export` needs for them."""


def bench(
    source: str | Path,
    *,
    backends: Sequence[str] = (),
    size: tuple[int, int] = (512, 1024),
    repeats: int = 20,
    threads: int | None = None,
    compiled: bool = False,
    score: bool = False,
    split: str | None = None,
    export: bool = False,
    plot: str | Path | None = None,
    device: str = "cpu",
    runs: Path = RUNS,
    console: Console | None = None,
) -> Bench:
    """Time a run's best model, or a .safetensors file, in every way that this machine has, each in its own process.

    The ways are the modes of torch, and the run's exported files that were made of its present weights, in each runtime that
    reads them. backends: these alone (torch, or names of `inference.backends.BACKENDS`). size: height and width of the
    picture, pixels. repeats: calls of each way. threads: of one call; torch's number when None. compiled: torch.compile, too,
    which takes half a minute. device: of torch; exported files run on the CPU.
    score: measure the mIoU of the ways for which none is stored, on `split`, the validation split when None. export: first
    make the exports that are missing, verified on that split.
    Writes bench.json into the run and, where an mIoU is known, a plot of time against mIoU: bench.png beside it, or `plot`,
    a .png or .svg file. Raises UserError for an unknown backend, and when nothing is left to time.
    """
    import torch

    from segwright.build import pick_device
    from segwright.evaluation.bench import Bench, time_ways
    from segwright.evaluation.ways import TORCH, Way
    from segwright.files import write_json
    from segwright.inference.backends.opening import BACKENDS
    from segwright.models.weights import load_segmenter
    from segwright.report.bench_plot import check_plot, draw_bench
    from segwright.runs import model_file
    from segwright.runs.environment import environment

    if unknown := [name for name in backends if name not in ("torch", *BACKENDS)]:
        raise UserError(f"--backend is '{unknown[0]}'; allowed are torch, {', '.join(BACKENDS)}.")
    if plot is not None:
        check_plot(Path(plot))
    console = console or new_console()
    weights, run = model_file(source, runs=Path(runs))
    if weights.suffix.lower() in EXPORTED:
        raise UserError(f"{source} is an exported file: bench the run that it is of; the bench finds its exports.")
    if score and run is None:
        raise UserError("--score needs a run, whose data it scores on; a model file alone names no data.")
    where = pick_device(device)
    segmenter = load_segmenter(weights)
    split = split or (None if run is None else data_of(run, segmenter, ())[0].val)
    _export_missing(source, run, weights, split, export, Path(runs), console)
    ways = [
        Way(backend="torch", form=form, file=weights) for form, mode in TORCH.items() if compiled or not mode.compiled
    ]
    ways += exported_ways(weights, run, console)
    ways = [way for way in ways if not backends or way.backend in backends]
    if not ways:
        raise UserError(
            f"{source} has no exported file for {', '.join(backends)}. Add --export, or leave out --backend."
        )
    threads = threads or torch.get_num_threads()
    with counting(console, "timing") as progress:
        rows, failed = time_ways(ways, size, threads=threads, repeats=repeats, device=where, progress=progress)
    if not rows:
        raise DataError(f"no way could be timed: {'; '.join(f'{name}: {why}' for name, why in failed.items())}")
    scores = _Scores(segmenter, weights, run, split, console)
    result = Bench(
        run=run.name if run is not None else weights.stem,
        split=split,
        size=size,
        threads=threads,
        repeats=repeats,
        device=where,
        rows=tuple(scores.scored(row, measured=score) for row in rows),
        failed=failed,
        environment=environment(),
    )
    if run is not None:
        write_json(run.path / BENCH_FILE, result.to_dict())
    target = Path(plot) if plot is not None else None if run is None else run.path / PLOT_FILE
    if target is not None and (result.scored or plot is not None):
        draw_bench(result, target)
    return result


def _export_missing(
    source: str | Path, run: Run | None, weights: Path, split: str | None, make: bool, runs: Path, console: Console
) -> None:
    """Say which command makes each export that is missing, or make it."""
    from segwright.api.export import export_model

    here = {way.form for way in exported_ways(weights, run, None)}
    for precision, options in WANTED.items():
        if precision in here:
            continue
        pictures = " --calibrate DIR" if run is None and precision == "int8" else ""
        verify = "" if split is None else f" --verify {split}"
        command = f"segwright export {source} --to onnx{options}{pictures}{verify}"
        if not make:
            console.print(f"no {precision} export; make it: {command}", highlight=False, markup=False, soft_wrap=True)
            continue
        try:
            export_model(source, precision=precision, verify=split, runs=runs, console=console)
        except SegwrightError as error:  # one that is refused is no reason to leave out the others
            console.print(f"{precision}: {error}", highlight=False, markup=False, soft_wrap=True)


def exported_ways(weights: Path, run: Run | None, console: Console | None) -> list[Way]:
    """A model's exported files, each in every runtime that is here and reads it; those of other weights are left out.

    console: where what is left out is told; None for nowhere. An unverified file counts when it is newer than the weights.
    """
    from segwright.evaluation.ways import Way
    from segwright.export.record import known
    from segwright.files import sha256
    from segwright.inference.backends.opening import SUFFIXES, load_exported
    from segwright.runs import home

    folder = home(weights, run) / EXPORT_FOLDER
    own = sha256(weights)
    verified = {one.file.name: one.weights for one in known(folder)}
    found = []
    for file in sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES):
        newer = file.stat().st_mtime >= weights.stat().st_mtime
        if verified.get(file.name, own if newer else "") != own:
            if console is not None:
                console.print(f"{file.name} was made of other weights: left out.", highlight=False, markup=False)
            continue
        names = [name for name in SUFFIXES[file.suffix.lower()] if find_spec(name.removesuffix("-fp32")) is not None]
        if not names:
            continue
        about = load_exported(file, names[0]).description  # which also checks the file
        for name in names if about.precision == "fp32" else [name for name in names if name != "openvino-fp32"]:
            form = about.precision + (", with processing" if about.form == "picture" else "")
            found.append(Way(backend=name, form=form, file=file, text=about.to_json()))
    return found


class _Scores:
    """The mIoU of each way, pooled over the split, in the model's own classes: as stored, or measured."""

    def __init__(
        self, segmenter: Segmenter, weights: Path, run: Run | None, split: str | None, console: Console
    ) -> None:
        from segwright.export.record import known
        from segwright.files import sha256
        from segwright.runs import home

        self.segmenter, self.weights, self.run, self.split, self.console = segmenter, weights, run, split, console
        folder = home(weights, run) / EXPORT_FOLDER
        own = sha256(weights)
        self.verified = [one for one in known(folder) if one.weights == own and one.split == split]
        self.data: Dataset | None = None

    def scored(self, row: Timed, *, measured: bool) -> Timed:
        """A timed way with its mIoU, where one is stored. measured: score it where none is."""
        found = self._stored(row.way)
        if found is not None:
            return replace(row, miou=found, where="stored")
        return replace(row, miou=self._measure(row.way), where="measured") if measured else row

    def _stored(self, way: Way) -> float | None:
        from segwright.evaluation.ways import PLAIN

        if way.backend != "torch":
            known = {(one.file.name, one.backend): one.miou[1] for one in self.verified}
            return known.get((way.file.name, way.backend))
        if way.form not in (PLAIN, "fp32"):
            return None
        return self.verified[0].miou[0] if self.verified else self._evaluated()

    def _evaluated(self) -> float | None:
        """What `segwright evaluate` stored of these weights, where it is of the model's own classes."""
        import numpy as np

        from segwright.evaluation.result import Evaluation

        if self.run is None or self.weights != self.run.best:
            return None
        file = self.run.path / "evaluation" / f"{self.split}.json"
        if not file.is_file() or file.stat().st_mtime < self.weights.stat().st_mtime:
            return None
        found = Evaluation.load(file)
        return float(np.nanmean(found.scores.iou)) if found.space == self.segmenter.labels else None

    def _measure(self, way: Way) -> float:
        import numpy as np

        from segwright.build import build_scored_set
        from segwright.evaluation.evaluate import evaluate
        from segwright.evaluation.ways import TORCH, Mode, open_torch
        from segwright.inference.backends.opening import load_exported

        if self.data is None:
            recipe_data, _ = data_of(self.run, self.segmenter, ())
            self.data = build_scored_set(recipe_data, str(self.split), self.segmenter.labels)
        mode = TORCH.get(way.form, Mode()) if way.backend == "torch" else Mode()
        with counting(self.console, f"scoring {way.name}") as progress:
            found = evaluate(
                open_torch(self.segmenter, mode) if way.backend == "torch" else load_exported(way.file, way.backend),
                self.data,
                run="bench",
                checkpoint=way.file.name,
                split=str(self.split),
                precision=mode.precision,
                memory_format=mode.memory_format,
                progress=progress,
            )
        return float(np.nanmean(found.scores.iou))
