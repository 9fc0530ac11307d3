"""One evaluation of all training pictures of a cross-validation, each predicted by the model that has not seen it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from segwright.build import build_scored_set, build_space, pick_device, prediction_map, score_space
from segwright.contracts import UserError
from segwright.evaluation.evaluate import evaluate, with_protocol
from segwright.evaluation.label_sources import fold_models
from segwright.evaluation.measures import build_measures, find_measures
from segwright.evaluation.result import Evaluation
from segwright.metrics.intervals import Interval, Resampled
from segwright.metrics.protocols import find_protocol
from segwright.models.converted import in_space
from segwright.models.weights import load_segmenter
from segwright.training.folds import Crossvalidation
from segwright.training.progress import Counting

SPLIT = "out-of-fold"
INTERVALS = "intervals"
"""The key of `intervals` among the measures."""


def out_of_fold_file(crossval: Crossvalidation) -> Path:
    """Where the evaluation under the recipe's own protocol and label space is kept."""
    return crossval.path / "evaluation" / f"{SPLIT}.json"


def evaluate_out_of_fold(
    crossval: Crossvalidation,
    *,
    protocol: str | None = None,
    labels: str | None = None,
    measures: Sequence[str] = ("all",),
    device: str = "auto",
    console: Console,
) -> Evaluation:
    """Score each fold's model on the pictures that it held out, and put all of them into one evaluation.

    Pictures stand in the order of the training split. Models are those of the first round of folds, the only ones that
    surely have not seen what they judge. The epoch of each was chosen on the same pictures, so the score is a little too
    good. Saved as evaluation/out-of-fold.json in the folder; under another protocol or space than the recipe's, these
    are part of the name. Raises UserError for a fold that is not trained.
    """
    base, own = crossval.base, crossval.rounds[0]
    usual = score_space(base)
    space = usual if labels is None else build_space(labels, "--labels")
    rule = find_protocol(protocol or base.protocol)
    rule.for_space(space).check(space)
    chosen = find_measures(measures)
    found = []
    for number, run in fold_models(crossval):
        data = own.fold_recipe(number, crossval.folds_file).data
        segmenter = load_segmenter(run.best)
        model = in_space(segmenter, prediction_map(segmenter.labels, space))
        dataset = build_scored_set(data, f"fold{number}", space)
        with Counting(console, f"scoring fold {number} of {crossval.settings.folds}") as progress:
            one = evaluate(
                model,
                dataset,
                run=run.name,
                checkpoint=run.best.name,
                split=f"fold{number}",
                protocol=rule.name,
                device=pick_device(device),
                memory_format="channels_last",
                measures=chosen,
                progress=progress,
            )
        kinds = build_measures(with_protocol(chosen, rule.for_space(space)), model, dataset)
        found.append((one, kinds))
    order = build_scored_set(base.data, base.data.train, space).names
    pooled = pool([one for one, _ in found], name=crossval.name, order=order)
    results = {kind.name: kind.result(_rows(pooled, kind.name), pooled.groups) for kind in found[0][1]}
    result = replace(pooled, measures=results | {INTERVALS: intervals(pooled)})
    other = ([result.protocol] if rule.name != find_protocol(base.protocol).name else []) + (
        [space.name] if space.class_names != usual.class_names else []
    )
    result.save(out_of_fold_file(crossval).with_name(f"{'-'.join([SPLIT, *other])}.json"))
    return result


def pool(parts: Sequence[Evaluation], *, name: str, order: Sequence[str]) -> Evaluation:
    """Evaluations of different pictures as one. name: what to call it; order: of the pictures, by name.

    `measures` stay empty, their rows are pooled. Raises UserError for a picture that is in two of them or not in `order`.
    """
    names = [picture for one in parts for picture in one.names]
    place = {picture: index for index, picture in enumerate(order)}
    if len(set(names)) < len(names) or not set(names) <= set(place):
        raise UserError(
            f"the folds of '{name}' do not hold out different pictures of the training split. The data has changed since: "
            "cross-validate again."
        )
    sorting = np.argsort([place[picture] for picture in names], kind="stable")
    groups = [group for one in parts for group in one.groups]
    shared = [key for key in parts[0].arrays if all(key in one.arrays for one in parts)]
    return replace(
        parts[0],
        run=name,
        checkpoint=f"{len(parts)} folds",
        split=SPLIT,
        names=tuple(names[i] for i in sorting),
        groups=tuple(groups[i] for i in sorting),
        counts_NKK=np.concatenate([one.counts_NKK for one in parts])[sorting],
        ignored_N=np.concatenate([one.ignored_N for one in parts])[sorting],
        seconds=sum(one.seconds for one in parts),
        measures={},
        arrays={key: np.concatenate([one.arrays[key] for one in parts])[sorting] for key in shared},
    )


def intervals(pooled: Evaluation) -> dict[str, Any]:
    """95 % bootstrap intervals of mIoU and of each class's IoU, 0..1, and what was resampled: {"miou": {"value": 0.6,
    "low": 0.5, "high": 0.7}, "classes": {…}, "conditions": "…"}; None where undefined.

    `miou` is None under a protocol that is not made of pixel counts. What the choice of epochs and the training itself vary
    is not in them.
    """
    resampled = Resampled(pooled.counts_NKK, pooled.groups, missed_NK=pooled.missed_NK)
    own = resampled.interval(resampled.miou_R(pooled.rule))
    classes = [resampled.interval(resampled.iou_RK[:, k]) for k in range(pooled.space.num_classes)]
    return {
        "miou": _plain(own) if pooled.rule.counted else None,
        "classes": {name: _plain(one) for name, one in zip(pooled.space.class_names, classes, strict=True)},
        "conditions": own.conditions,
    }


def _plain(interval: Interval) -> dict[str, float | None]:
    numbers = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {key: value if math.isfinite(value) else None for key, value in numbers.items()}


def _rows(pooled: Evaluation, measure: str) -> dict[str, NDArray[Any]]:
    start = f"{measure}."
    return {key.removeprefix(start): rows for key, rows in pooled.arrays.items() if key.startswith(start)}
