"""Robustness: score a run under corruptions of its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.showing import counting, new_console

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.evaluation.robustness import Robustness

RUNS = Path("runs")
PICTURES = 50


@dataclass(frozen=True, kw_only=True)
class RobustnessResult:
    """found: the scores. file: where they are kept. sheet: one picture under every corruption."""

    found: Robustness
    file: Path
    sheet: Path


def robustness(
    source: str | Path,
    *,
    corruptions: Sequence[str] = (),
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    pictures: int = PICTURES,
    split: str | None = None,
    protocol: str | None = None,
    seed: int = 0,
    device: str = "auto",
    runs: Path = RUNS,
    console: Console | None = None,
) -> RobustnessResult:
    """Score a run's best model on clean and on corrupted pictures of a labelled split.

    corruptions: names in `segwright.data.corruptions.CORRUPTIONS`; all by default. pictures: so many, evenly spread
    over the split. Writes evaluation/robustness.json and .npz into the run after each corruption and severity; what is
    there of the same model, pictures and seed is not scored again. The sheet lies beside them.
    """
    from segwright.build import build_scored_set, pick_device, prediction_map, score_space
    from segwright.data.corruptions import CORRUPTIONS, find_corruption
    from segwright.evaluation.robustness import ROBUSTNESS, load_robustness, score_robustness, spread
    from segwright.files import sha256
    from segwright.metrics.protocols import find_protocol
    from segwright.models.converted import in_space
    from segwright.models.weights import load_segmenter
    from segwright.recipe import load_recipe
    from segwright.report.corruption_sheet import write_corruption_sheet
    from segwright.runs import find_run, model_file

    names = [find_corruption(name).name for name in corruptions] or list(CORRUPTIONS)
    run = find_run(source, runs=Path(runs))
    checkpoint, _ = model_file(run.path, runs=Path(runs))
    recipe = load_recipe(run.recipe_file).recipe
    segmenter, space = load_segmenter(checkpoint), score_space(recipe)
    split = split or recipe.data.val
    dataset = build_scored_set(recipe.data, split, space)
    chosen = spread(len(dataset), pictures)
    rule = find_protocol(protocol or recipe.protocol).for_space(space)
    rule.check(space)
    identity = {
        "run": run.name,
        "checkpoint": checkpoint.name,
        "sha256": sha256(checkpoint),
        "split": split,
        "space": space.name,
        "seed": seed,
        "names": [dataset.names[i] for i in chosen],
    }
    file = run.path / "evaluation" / ROBUSTNESS
    before = load_robustness(file, rule) if file.is_file() else None
    with counting(console or new_console(), "corrupting and scoring") as progress:
        found = score_robustness(
            in_space(segmenter, prediction_map(segmenter.labels, space)),
            dataset,
            rule=rule,
            identity=identity,
            chosen=chosen,
            names=names,
            severities=severities,
            seed=seed,
            device=pick_device(device),
            before=before,
            keep=lambda so_far: so_far.save(file),
            progress=progress,
        )
    sheet = write_corruption_sheet(dataset[chosen[len(chosen) // 2]], names, file.with_suffix(".webp"), seed=seed)
    return RobustnessResult(found=found, file=file, sheet=sheet)
