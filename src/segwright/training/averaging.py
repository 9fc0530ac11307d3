"""Exponential moving average of weights and BatchNorm statistics."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from segwright.models import Segmenter


class AveragedModel:
    """A copy of `model` that follows it: average <- d * average + (1 - d) * model after every optimiser step.

    d rises from 0.1 to `decay` over the first steps (d = min(decay, (1 + n) / (10 + n))), so that a short training is
    not dominated by its random start. Buffers in floating point are averaged too; counters are copied.
    """

    def __init__(self, model: Segmenter, *, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._pairs = _float_pairs(self.model, model)
        self._counters = [
            (a, m) for a, m in zip(self.model.buffers(), model.buffers(), strict=True) if not a.is_floating_point()
        ]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the model after optimiser step number `step` (1 for the first)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_([a for a, _ in self._pairs], [m.detach() for _, m in self._pairs], 1 - decay)
        for average, current in self._counters:
            average.copy_(current)


def _float_pairs(average: nn.Module, model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    pairs: list[tuple[Tensor, Tensor]] = list(zip(average.parameters(), model.parameters(), strict=True))
    pairs += [(a, m) for a, m in zip(average.buffers(), model.buffers(), strict=True) if a.is_floating_point()]
    return pairs
