"""Calibrated confidence: a temperature in the model file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.backends import open_backend
from segwright.api.scoring import data_of
from segwright.api.showing import counting, new_console
from segwright.api.verbs import RUNS
from segwright.contracts import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.evaluation.calibrate import CalibrationResult


def calibrate(
    source: str | Path,
    overrides: Sequence[str] = (),
    *,
    split: str | None = None,
    classwise: bool = False,
    risks: Sequence[float] = (0.01, 0.02, 0.05),
    out: str | Path | None = None,
    save: bool = True,
    seed: int = 0,
    device: str = "auto",
    runs: Path = RUNS,
    console: Console | None = None,
) -> CalibrationResult:
    """Fit the temperature of a run's best model, or of a .safetensors file, on a labelled split, and keep it in the file.

    overrides: `data.*` keys, as in `evaluate`. split: the validation split by default; never one that was trained on.
    classwise: one temperature for each predicted class. Class ids stay as they are either way. risks: shares of wrong
    pixels, 0..1, for which the result says from which confidence on to answer. out: file to write; the model's own
    without one. save: False only looks. The file is written when held-out pictures agree that the temperature helps; a
    model that had an older one then, or does not need one any more, is written without.
    """
    from segwright.build import build_scored_set, pick_device
    from segwright.evaluation.calibrate import calibrate as fit
    from segwright.models.weights import save_segmenter
    from segwright.shipped import is_shipped

    console = console or new_console()
    segmenter, file, run = open_backend(source, Path(runs))
    if file.suffix != ".safetensors":
        raise UserError(
            f"{file} is an exported model, which cannot be changed: calibrate its run, then export that again."
        )
    if save and out is None and is_shipped(file):
        raise UserError(
            f"{source} comes with segwright and stays as it is: name a file for the calibrated one, -o FILE."
        )
    data, _ = data_of(run, segmenter, overrides)
    split = split or data.val
    had = segmenter.temperature is not None
    dataset = build_scored_set(data, split, segmenter.labels)
    with counting(console, f"scoring {split}") as progress:
        result = fit(
            segmenter,
            dataset,
            split=split,
            classwise=classwise,
            risks=risks,
            seed=seed,
            device=pick_device(device),
            progress=progress,
        )
    if save and (result.kept or had or out is not None):
        save_segmenter(segmenter, file if out is None else Path(out))
    return result
