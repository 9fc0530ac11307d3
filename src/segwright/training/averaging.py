"""Averages of a training's weights: exponential over steps (EMA), or plain over the ends of epochs (SWA)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from segwright.contracts import Batch
from segwright.models import Segmenter
from segwright.recipe import Training
from segwright.training.means import reestimate_statistics


def averages(training: Training) -> bool:
    """Whether a training keeps averaged weights beside its own."""
    return training.ema_decay is not None or training.swa_from is not None


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


class EpochMean:
    """The mean of a model's weights at the ends of epochs, each weighing the same, from epoch `start` (1 for the first) on.

    model: the mean as a model, once `build` has made it. count: epochs in the mean; last: the latest of them.
    Source: Izmailov et al. 2018, "Averaging weights leads to wider optima" (SWA).
    """

    def __init__(self, start: int) -> None:
        self.start, self.count, self.last = start, 0, 0
        self.model: Segmenter | None = None
        self.tensors: dict[str, Tensor] = {}

    @torch.no_grad()
    def take(self, model: Segmenter, epoch: int) -> None:
        """Take in the weights at the end of an epoch, once: a second call for it changes nothing."""
        if epoch < self.start or epoch <= self.last:
            return
        self.count, self.last = self.count + 1, epoch
        for name, tensor in model.state_dict().items():
            if self.count == 1 or not tensor.is_floating_point():
                self.tensors[name] = tensor.detach().clone()
            else:
                self.tensors[name].lerp_(tensor, 1 / self.count)

    def build(self, like: Segmenter, batches: Iterable[Batch], device: str) -> None:
        """Make `model` of the mean, its batch statistics measured on batches for training. Nothing before `start`.

        like: the model that learns; what is frozen in it keeps its statistics.
        """
        if not self.count:
            return
        self.model = copy.deepcopy(like).requires_grad_(False)
        self.model.load_state_dict(self.tensors)
        reestimate_statistics(self.model, batches, device=device)
        self.model.eval()

    @property
    def state(self) -> dict[str, int]:
        return {"count": self.count, "last": self.last}

    def load(self, state: Mapping[str, int], tensors: Mapping[str, Tensor], device: str) -> None:
        """Put back what a checkpoint holds."""
        self.count, self.last = state["count"], state["last"]
        self.tensors = {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}


def _float_pairs(average: nn.Module, model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    pairs: list[tuple[Tensor, Tensor]] = list(zip(average.parameters(), model.parameters(), strict=True))
    pairs += [(a, m) for a, m in zip(average.buffers(), model.buffers(), strict=True) if a.is_floating_point()]
    return pairs
