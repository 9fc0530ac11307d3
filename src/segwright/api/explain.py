"""Why your number differs: the same predictions under every scoring convention."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segwright.api.backends import open_backend
from segwright.api.scoring import data_of, open_for_files, scored_set
from segwright.api.showing import counting, new_console
from segwright.api.verbs import RUNS
from segwright.contracts import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from segwright.evaluation.explain import Explanation


def explain(
    source: str | Path | None,
    overrides: Sequence[str] = (),
    *,
    predictions: str | Path | None = None,
    prediction_ids: str | None = None,
    split: str | None = None,
    protocol: str | None = None,
    labels: str | None = None,
    at: str | None = None,
    device: str = "auto",
    runs: Path = RUNS,
    console: Console | None = None,
) -> Explanation:
    """Score a model, or a folder of prediction files, under every convention that is called mIoU, in one pass.

    The arguments are those of `evaluate`. protocol: whose mIoU is the headline that differences are told from.
    at: also score prediction and mask resized to `512x1024` or to the `network`'s size, which is the default where the
    model has one. The predictions stay those at original size. Nothing is saved.
    """
    from segwright.build import build_space, pick_device, prediction_map, score_space
    from segwright.evaluation.at_size import find_size
    from segwright.evaluation.evaluate import evaluate
    from segwright.evaluation.explain import explain as explained
    from segwright.evaluation.explain import extra_measures, fitting_protocols, measures_for
    from segwright.evaluation.predictions import evaluate_predictions
    from segwright.metrics.protocols import find_protocol
    from segwright.models.converted import in_space
    from segwright.recipe import load_recipe
    from segwright.runs import find_run

    console = console or new_console()
    if predictions is not None:
        run = None if source is None else find_run(source, runs=Path(runs))
        data, default_protocol, space = open_for_files(run, overrides, labels=labels)
        segmenter = None
    elif source is None:
        raise UserError("what to score is missing: a run or a model file, or --predictions DIR.")
    else:
        segmenter, checkpoint, run = open_backend(source, Path(runs))
        data, default_protocol = data_of(run, segmenter, overrides)
        own_space = score_space(load_recipe(run.recipe_file).recipe) if run else segmenter.labels
        space = own_space if labels is None else build_space(labels, "--labels")
    headline = find_protocol(protocol or default_protocol)
    headline.check(space)
    split = split or data.val
    if segmenter is None:
        size = None if at is None else find_size(at, None)
    elif at is None and segmenter.short_side is None:
        size = None
    else:
        size = find_size(at or "network", segmenter)
    extra = extra_measures(space, None if size is None else size.of)
    mapped = [rule for rule in fitting_protocols(space) if rule.instances]
    dataset = scored_set(data, split, space, (*mapped, headline)[0], console)
    with counting(console, f"scoring {split}") as progress:
        if segmenter is None:
            found = evaluate_predictions(
                Path(str(predictions)),
                dataset,
                space,
                split=split,
                ids=prediction_ids,
                measures=measures_for(space),
                extra=extra,
                progress=progress,
            )
        else:
            found = evaluate(
                in_space(segmenter, prediction_map(segmenter.labels, space)),
                dataset,
                run=run.name if run else checkpoint.stem,
                checkpoint=checkpoint.name,
                split=split,
                device=pick_device(device),
                memory_format="channels_last",
                measures=measures_for(space),
                extra=extra,
                progress=progress,
            )
    return explained(found, protocol=headline.name)
