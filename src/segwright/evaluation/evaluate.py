"""Evaluate: score a model on one split of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from segwright.contracts import DataError, Dataset
from segwright.evaluation.measures import build_measures
from segwright.evaluation.result import Evaluation
from segwright.inference.measure import measure
from segwright.inference.running import Progress
from segwright.inference.sharding import WHOLE, Shard
from segwright.metrics.protocols import find_protocol

if TYPE_CHECKING:
    from segwright.models.converted import Converted
    from segwright.models.segmenter import Segmenter


def evaluate(
    segmenter: Segmenter | Converted,
    dataset: Dataset,
    *,
    run: str,
    checkpoint: str,
    split: str,
    protocol: str = "pooled",
    device: str = "cpu",
    precision: str = "fp32",
    memory_format: str = "contiguous",
    measures: Sequence[str] = (),
    progress: Progress | None = None,
    shard: Shard = WHOLE,
) -> Evaluation:
    """Score a segmenter on every picture of a split, at original size.

    run, checkpoint, split: where model and data come from; kept in the result. protocol: a name in PROTOCOLS.
    measures: names in MEASURES; what cannot be measured on this data or with this model is left out.
    The rest as in `measure`. Raises UserError for an unknown protocol, before anything runs; DataError for an empty
    split, and for one without a single labelled pixel.
    """
    rule = find_protocol(protocol)
    if len(dataset) == 0:
        raise DataError(f"split '{split}' has no pictures: there is nothing to score. Choose another split.")
    chosen = build_measures(measures, segmenter, dataset)
    measured = measure(
        segmenter,
        dataset,
        measures=chosen,
        device=device,
        precision=precision,
        memory_format=memory_format,
        progress=progress,
        shard=shard,
    )
    if not measured.counts_NKK.any():
        raise DataError(
            f"split '{split}' has no labelled pixel: all {len(dataset)} masks are void. "
            "A test split without public labels looks like this; choose another split, or check the label space."
        )
    return Evaluation(
        run=run,
        checkpoint=checkpoint,
        split=split,
        protocol=rule.name,
        space=segmenter.labels,
        names=tuple(dataset.names),
        groups=tuple(dataset.groups),
        counts_NKK=measured.counts_NKK,
        ignored_N=measured.ignored_N,
        seconds=measured.seconds,
        measures={one.name: one.result(measured.arrays[one.name], dataset.groups) for one in chosen},
        arrays={f"{name}.{key}": v for name, found in measured.arrays.items() for key, v in found.items()},
    )
