"""Depthwise convolutions with a dilation, as a CPU trains them well: tap by tap instead of by torch's own kernel.

In torch 2.15 the kernel of a CPU takes up to thirty times as long as the taps do, and in bf16 with channels last its
weight gradients are wrong, or it crashes. benchmarks/dilated.py measures both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

MOST_TAPS = 25
"""A kernel with more weights than 5×5 stays with torch's own convolution: each tap goes over the whole picture."""


class DilatedConv2d(nn.Conv2d):
    """A convolution in groups with a dilation; the same numbers as `nn.Conv2d` up to rounding, and the same weights.

    Where it trains on a CPU and is depthwise, it goes tap by tap; other groups go through torch's kernel in fp32. On a
    GPU, under torch.compile and without gradients, as in prediction and export, it is `nn.Conv2d`.
    """

    def forward(self, input: Tensor) -> Tensor:
        trains_here = input.is_cpu and torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if not trains_here or max(self.dilation) == 1:
            return super().forward(input)
        if self._goes_by_taps():
            kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
            result: Tensor = _Taps.apply(input.to(kind), self.weight.to(kind), self.dilation)
            return result if self.bias is None else result + self.bias.to(kind).view(-1, 1, 1)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.to(self.weight.dtype))

    def _goes_by_taps(self) -> bool:
        depthwise = self.in_channels == self.out_channels == self.groups
        taps = self.kernel_size[0] * self.kernel_size[1]
        return depthwise and taps <= MOST_TAPS and self.padding_mode == "zeros" and self._keeps_the_size()

    def _keeps_the_size(self) -> bool:
        if max(self.stride) > 1 or any(kernel % 2 == 0 for kernel in self.kernel_size):
            return False
        if isinstance(self.padding, str):
            return self.padding == "same"
        return all(2 * p == d * (k - 1) for p, d, k in zip(self.padding, self.dilation, self.kernel_size, strict=True))


def train_by_taps(model: nn.Module) -> nn.Module:
    """Make every plain convolution of `model` that is in groups and dilated a DilatedConv2d, in place. Returns `model`."""
    for part in model.modules():
        if type(part) is nn.Conv2d and part.groups > 1 and max(part.dilation) > 1:
            part.__class__ = DilatedConv2d
    return model


class _Taps(torch.autograd.Function):
    """Each weight of a depthwise kernel times the picture moved by its distance from the centre, summed."""

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, weight: Tensor, dilation: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x_BCHW, weight)
        ctx.dilation = dilation
        return _moved_sum(x_BCHW, weight, dilation, forward=True)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient_BCHW: Tensor) -> tuple[Tensor, Tensor, None]:
        x_BCHW, weight = ctx.saved_tensors
        of_weight = torch.zeros_like(weight)
        exact = torch.promote_types(weight.dtype, torch.float32)  # bf16 is summed in fp32
        for row, column, to, source in _taps(x_BCHW, weight, ctx.dilation):
            product = gradient_BCHW[to] * x_BCHW[source]
            of_weight[:, 0, row, column] = product.sum((0, 2, 3), dtype=exact)
        return _moved_sum(gradient_BCHW, weight, ctx.dilation, forward=False), of_weight, None


def _moved_sum(x_BCHW: Tensor, weight: Tensor, dilation: tuple[int, int], *, forward: bool) -> Tensor:
    """The convolution; not `forward`: its transpose, which is the gradient of the input."""
    centre = tuple(size // 2 for size in weight.shape[2:])
    each = (
        weight.permute(2, 3, 0, 1).unsqueeze(-1).contiguous()
    )  # the channels of one tap side by side: five times as fast
    result = x_BCHW * each[centre]
    for row, column, to, source in _taps(x_BCHW, weight, dilation):
        if (row, column) != centre:
            goal, origin = (to, source) if forward else (source, to)
            result[goal].addcmul_(x_BCHW[origin], each[row, column])
    return result


Region = tuple[slice, slice, slice, slice]


def _taps(x_BCHW: Tensor, weight: Tensor, dilation: tuple[int, int]) -> Iterator[tuple[int, int, Region, Region]]:
    """Row and column of each weight that meets the picture, where its products go, and what it is multiplied with."""
    every = slice(None)
    for row, to_y, from_y in _along(x_BCHW.shape[2], weight.shape[2], dilation[0]):
        for column, to_x, from_x in _along(x_BCHW.shape[3], weight.shape[3], dilation[1]):
            yield row, column, (every, every, to_y, to_x), (every, every, from_y, from_x)


def _along(size: int, kernel: int, dilation: int) -> Iterator[tuple[int, slice, slice]]:
    for tap in range(kernel):
        offset = (tap - kernel // 2) * dilation
        if abs(offset) < size:
            before, after = max(0, -offset), size - max(0, offset)
            yield tap, slice(before, after), slice(before + offset, after + offset)
