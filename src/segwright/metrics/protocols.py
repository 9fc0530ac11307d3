"""Named scoring definitions: the same predictions give different "mIoU" under each, so every number names its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from segwright.contracts import UserError
from segwright.metrics.scores import Floats, Scores, mean_defined
from segwright.names import did_you_mean


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How one mIoU is made from pooled counts.

    sentence: the definition in one sentence, printed beside every number.
    all_classes: True when the mean divides by the number of classes, and a class without true pixels counts 0.
    source: where the definition comes from.
    """

    name: str
    title: str
    sentence: str
    source: str
    all_classes: bool = False

    def iou(self, scores: Scores) -> Floats:
        """IoU of each class under this protocol, float64 [K]; NaN where a class counts in no mean."""
        return np.where(scores.support > 0, scores.iou, 0.0) if self.all_classes else scores.iou

    def mean_iou(self, scores: Scores) -> float:
        """mIoU, 0..1; NaN when no pixel is labelled."""
        return mean_defined(self.iou(scores)) if scores.pixels else float("nan")

    def mean_accuracy(self, scores: Scores) -> float:
        """Class-average accuracy, 0..1; NaN when no pixel is labelled."""
        if not scores.pixels:
            return float("nan")
        return mean_defined(np.nan_to_num(scores.recall) if self.all_classes else scores.recall)

    def left_out(self, scores: Scores) -> tuple[int, ...]:
        """Ids of the classes that the mean does not count."""
        return () if self.all_classes else scores.absent


_ALL = (
    Protocol(
        name="pooled",
        title="pooled mIoU",
        sentence=(
            "pooled: the pixels of all pictures are counted together at original size, void pixels are ignored, and "
            "mIoU is the mean over the classes present in truth or prediction."
        ),
        source="cityscapesScripts, evalPixelLevelSemanticLabeling.py (class IoU; void predictions do not occur here)",
    ),
    Protocol(
        name="camvid",
        title="mIoU of SegNet's CamVid script",
        sentence=(
            "camvid: the pixels of all pictures are counted together at original size, void pixels are ignored, and "
            "mIoU divides by the number of all classes: one without true pixels counts 0."
        ),
        source="SegNet-Tutorial, compute_test_results.m",
        all_classes=True,
    ),
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({p.name: p for p in _ALL})


def find_protocol(name: str) -> Protocol:
    """A protocol by name. Raises UserError with the nearest name."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    raise UserError(f"unknown protocol '{name}'.{did_you_mean(name, PROTOCOLS)} Known: {', '.join(PROTOCOLS)}.")
