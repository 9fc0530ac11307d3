"""Evaluate: score a model on one split of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from segwright.contracts import DataError, Dataset
from segwright.evaluation.at_size import AtSize, ResizedSet, check_protocol
from segwright.evaluation.measures import build_measures, find_measures
from segwright.evaluation.result import Evaluation, applied_to
from segwright.inference.ahead import Progress
from segwright.inference.measure import measure
from segwright.inference.sharding import WHOLE, Shard
from segwright.metrics.conventions import PictureSize
from segwright.metrics.measure import Measure
from segwright.metrics.protocols import Protocol, find_protocol
from segwright.models.converted import Converted

if TYPE_CHECKING:
    from segwright.models.segmenter import Segmenter


def with_protocol(measures: Sequence[str], rule: Protocol) -> tuple[str, ...]:
    """Names of measures, and that of the protocol's own measure, which it cannot do without."""
    return tuple(dict.fromkeys([*find_measures(measures), *([rule.measure] if rule.measure else [])]))


def no_labels(split: str, pictures: int) -> DataError:
    """What to raise where every mask of a split is void."""
    return DataError(
        f"split '{split}' has no labelled pixel: all {pictures} masks are void. "
        "A test split without public labels looks like this; choose another split, or check the label space."
    )


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
    extra: Sequence[Measure] = (),
    at: AtSize | None = None,
    progress: Progress | None = None,
    shard: Shard = WHOLE,
) -> Evaluation:
    """Score a segmenter on every picture of a split, at original size.

    run, checkpoint, split: where model and data come from; kept in the result. protocol: a name in PROTOCOLS.
    measures: names in MEASURES; what cannot be measured on this data or with this model is left out. extra: further ones.
    at: another size to resize pictures and masks to before all else; the result says so (`Evaluation.at`).
    The rest as in `measure`. Raises UserError for an unknown protocol and for one that does not score these classes,
    before anything runs; DataError for an empty split, and for one without a single labelled pixel.
    """
    rule = find_protocol(protocol).for_space(segmenter.labels)
    rule.check(segmenter.labels)
    if len(dataset) == 0:
        raise DataError(f"split '{split}' has no pictures: there is nothing to score. Choose another split.")
    chosen = [*build_measures(with_protocol(measures, rule), segmenter, dataset), *extra]
    if at is not None:
        check_protocol(rule)
        dataset = ResizedSet(dataset, at)
        chosen.append(PictureSize(segmenter.labels))
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
    counts_NKK = rule.without_void(measured.counts_NKK)
    if not counts_NKK.any():
        raise no_labels(split, len(dataset))
    found = {one.name: one.result(measured.arrays[one.name], dataset.groups) for one in chosen}
    model = segmenter.segmenter if isinstance(segmenter, Converted) else segmenter
    return Evaluation(
        run=run,
        checkpoint=checkpoint,
        split=split,
        protocol=rule.name,
        space=segmenter.labels,
        names=tuple(dataset.names),
        groups=tuple(dataset.groups),
        counts_NKK=counts_NKK,
        ignored_N=measured.ignored_N + (measured.counts_NKK - counts_NKK).sum((1, 2)),
        seconds=measured.seconds,
        at=None if at is None else found[PictureSize.name]["size"],
        applied=applied_to(model.provenance),
        measures=found,
        arrays={f"{name}.{key}": v for name, rows in measured.arrays.items() for key, v in rows.items()},
    )
