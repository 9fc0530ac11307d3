"""Losses: one a file. LOSSES maps a recipe's `loss.name` to a module built as `LOSSES[name](num_classes, **args)`."""

from collections.abc import Callable

from torch import nn

from segwright.losses.cross_entropy import CrossEntropy
from segwright.losses.total import total_loss

LOSSES: dict[str, Callable[..., nn.Module]] = {"cross_entropy": CrossEntropy}

__all__ = ["LOSSES", "CrossEntropy", "total_loss"]
