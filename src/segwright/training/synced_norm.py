"""Batch normalisation over the pictures of all processes, on any device: torch's own has none for the CPU.

Letters: B batch, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _Sum(torch.autograd.Function):
    """The sum over all processes; backwards, the sum of what they all want."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total


class SyncedBatchNorm(_BatchNorm):
    """In training, mean and variance of all processes' pictures, in float32; otherwise plain batch normalisation.

    counts: whether this process's pictures belong to them. Every process has to run it equally often.
    """

    counts = True

    def _check_input_dim(self, input: Tensor) -> None:
        return

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return self._over_all(input.float()).to(input.dtype)

    def _over_all(self, x: Tensor) -> Tensor:
        channels, axes = x.shape[1], [0, *range(2, x.ndim)]
        shape = [1, channels, *[1] * (x.ndim - 2)]
        own = x.numel() / channels if self.counts else 0.0
        sum_C, here = x.sum(axes) * self.counts, x.new_tensor([own])
        total = _sum(torch.cat([sum_C, here]))
        number = total[-1].detach()
        mean_C = total[:-1] / number
        centred = x - mean_C.view(shape)
        variance_C = _sum(centred.square().sum(axes) * self.counts) / number
        self._remember(mean_C.detach(), variance_C.detach(), number)
        scale_C = (variance_C + self.eps).rsqrt()
        if self.weight is not None:
            scale_C = scale_C * self.weight
        y = centred * scale_C.view(shape)
        return y if self.bias is None else y + self.bias.view(shape)

    @torch.no_grad()
    def _remember(self, mean_C: Tensor, variance_C: Tensor, number: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_C, share)
        self.running_var.lerp_(variance_C * number / (number - 1).clamp_min(1), share)


def _sum(values: Tensor) -> Tensor:
    found: Tensor = _Sum.apply(values)
    return found


def synced(module: nn.Module) -> None:
    """Turn every batch normalisation inside `module` into one over all processes; parameters and buffers stay."""
    for name, part in list(module.named_children()):
        if isinstance(part, _BatchNorm) and not isinstance(part, SyncedBatchNorm):
            setattr(module, name, _like(part))
        else:
            synced(part)


def _like(norm: _BatchNorm) -> SyncedBatchNorm:
    found = SyncedBatchNorm(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device="meta"
    )
    found.weight, found.bias = norm.weight, norm.bias
    found.running_mean, found.running_var = norm.running_mean, norm.running_var
    found.num_batches_tracked = norm.num_batches_tracked
    found.training = norm.training
    return found


@contextmanager
def not_counting(module: nn.Module, *, idle: bool) -> Iterator[None]:
    """While idle, pictures that run through the model leave no trace in batch statistics."""
    if not idle:
        yield
        return
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        if isinstance(norm, SyncedBatchNorm):
            norm.counts = False
        else:
            norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
            if isinstance(norm, SyncedBatchNorm):
                norm.counts = True
