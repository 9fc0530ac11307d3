"""What can be measured of every picture beside the confusion counts, by name.

A measure notes one row a picture (`metrics.measure`), so each can be resampled by picture or group afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from segwright.contracts import Dataset, UserError
from segwright.labels import LabelSpace
from segwright.metrics.borders import Boundary
from segwright.metrics.calibration import Calibration
from segwright.metrics.cityscapes import Cityscapes
from segwright.metrics.errors import ErrorCells
from segwright.metrics.measure import Measure
from segwright.metrics.panoptic import Instances
from segwright.metrics.sizes import Sizes
from segwright.metrics.slices import SliceCounts
from segwright.metrics.suim import SuimPaper
from segwright.models.converted import Converted
from segwright.names import did_you_mean

if TYPE_CHECKING:
    from segwright.models.segmenter import Segmenter

MEASURES: Mapping[str, type[Measure]] = MappingProxyType(
    {
        "boundary": Boundary,
        "calibration": Calibration,
        "sizes": Sizes,
        "instances": Instances,
        "errors": ErrorCells,
        "slices": SliceCounts,
        "cityscapes": Cityscapes,
        "suim-paper": SuimPaper,
    }
)
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
    return fitting_measures(names, segmenter.labels, dataset, logits=not isinstance(segmenter, Converted))


def fitting_measures(names: Sequence[str], space: LabelSpace, dataset: Dataset, *, logits: bool) -> list[Measure]:
    """The measures that fit a label space and a data set. logits: whether there are any."""
    kinds = [MEASURES[name] for name in find_measures(names)]
    has_instances = (
        any(kind.needs_instances for kind in kinds) and bool(len(dataset)) and dataset[0].instances is not None
    )
    return [
        kind(space)
        for kind in kinds
        if kind.fits(space) and (logits or not kind.needs_logits) and (has_instances or not kind.needs_instances)
    ]
