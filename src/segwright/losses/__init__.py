"""Losses: one a file. LOSSES maps a recipe's `loss.name` to a module built as `LOSSES[name](num_classes, **args)`."""

from collections.abc import Callable

from segwright.losses.combined import Combined
from segwright.losses.contract import SegmentationLoss
from segwright.losses.cross_entropy import CrossEntropy
from segwright.losses.registry import SINGLE_LOSSES
from segwright.losses.total import AUXILIARY_WEIGHT, total_loss

LOSSES: dict[str, Callable[..., SegmentationLoss]] = {**SINGLE_LOSSES, "combined": Combined}

__all__ = [
    "AUXILIARY_WEIGHT",
    "LOSSES",
    "SINGLE_LOSSES",
    "Combined",
    "CrossEntropy",
    "SegmentationLoss",
    "total_loss",
]
