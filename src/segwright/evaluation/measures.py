"""What can be measured of every picture beside the confusion counts, by name.

A measure notes one row a picture (`metrics.measure`), so each can be resampled by picture or group afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from segwright.contracts import Dataset, UserError
from segwright.labels import LabelSpace
from segwright.metrics.measure import Measure
from segwright.models.converted import Converted
from segwright.names import did_you_mean

if TYPE_CHECKING:
    from segwright.models.segmenter import Segmenter

MEASURES: Mapping[str, Callable[[LabelSpace], Measure]] = MappingProxyType({})
"""Name -> a measure for a label space."""


def find_measures(names: Sequence[str]) -> tuple[str, ...]:
    """Names of measures: those given, or every one for "all" and none for "none". Raises UserError with the nearest name."""
    if list(names) in (["all"], ["none"]):
        return tuple(MEASURES) if names[0] == "all" else ()
    for name in names:
        if name not in MEASURES:
            raise UserError(
                f"unknown measure '{name}'.{did_you_mean(name, MEASURES)} Known: {', '.join(MEASURES)}, or all, or none."
            )
    return tuple(dict.fromkeys(names))


def build_measures(names: Sequence[str], segmenter: Segmenter | Converted, dataset: Dataset) -> list[Measure]:
    """The measures that this model and this data allow: logits need the model's own label space, instances the data's."""
    made = [MEASURES[name](segmenter.labels) for name in find_measures(names)]
    has_instances = bool(len(dataset)) and dataset[0].instances is not None
    return [
        one
        for one in made
        if not (one.needs_logits and isinstance(segmenter, Converted)) and (has_instances or not one.needs_instances)
    ]
