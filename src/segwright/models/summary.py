"""What a network is made of: its layers with output shapes, parameters and arithmetic.

A MAC is one multiplication with its addition; FLOPs are 2 × MACs (many papers print MACs and call them FLOPs). Counted
are convolutions and matrix products, not the additions of biases, normalisation, activations or resizing.

Letters: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segwright.contracts import UserError
from segwright.models.tracing import evaluation_mode, trace, without_memory

OUTSIDE = "(outside layers)"


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer: its place in the module, its class, and what it costs for one picture.

    output_shape: of its last call, batch first; empty for a layer that is never called. parameters: its own, not those
    of layers inside it.
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int

    @property
    def flops(self) -> int:
        return 2 * self.macs


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The layers in order, for one picture of `size` (height, width)."""

    size: tuple[int, int]
    rows: tuple[LayerRow, ...]

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.rows)

    @property
    def flops(self) -> int:
        return 2 * self.macs

    def table(self) -> Table:
        table = Table(title=f"one picture of {self.size[0]}×{self.size[1]}", show_footer=True)
        table.add_column("layer", "total", overflow="fold")
        table.add_column("type")
        table.add_column("output [B, C, H, W]", justify="right")
        table.add_column("parameters", f"{self.parameters:,}", justify="right")
        table.add_column("MMACs", f"{self.macs / 1e6:,.1f}", justify="right")
        table.add_column("MFLOPs", f"{self.flops / 1e6:,.1f}", justify="right")
        for row in self.rows:
            shape = str(list(row.output_shape)) if row.output_shape else "–"
            cost = (f"{row.macs / 1e6:,.1f}", f"{row.flops / 1e6:,.1f}") if row.macs else ("–", "–")
            table.add_row(row.name, row.type, shape, f"{row.parameters:,}" if row.parameters else "–", *cost)
        return table


def summarise(module: nn.Module, size: tuple[int, int]) -> Summary:
    """The layers of an architecture or a Segmenter for one RGB picture of `size` (height, width), pixels.

    Runs the module in evaluation mode on tensors without memory, so that any size takes no time. Layers are modules
    without children, and modules with parameters of their own. Arithmetic outside layers, such as that of attention
    and pooling by matrix products, has a row of its own.
    Raises UserError for a size that is not a multiple of the architecture's stride.
    """
    stride = 1 if hasattr(module, "ids") else int(getattr(module, "stride", 1))
    if min(size) < 1 or size[0] % stride or size[1] % stride:
        near = [max(stride, round(side / stride) * stride) for side in size]
        raise UserError(
            f"size is {size[0]}×{size[1]}; this architecture takes multiples of {stride}: "
            f"the nearest is {near[0]}×{near[1]}."
        )
    layers = [(name, m) for name, m in module.named_modules() if _is_layer(m)]
    calls: dict[nn.Module, tuple[tuple[int, ...], int]] = {}

    def note(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        shape = tuple(output.shape) if isinstance(output, Tensor) else ()
        calls[layer] = (shape, calls.get(layer, ((), 0))[1] + _macs(layer, inputs, output))

    hooks = [layer.register_forward_hook(note) for _, layer in layers]
    try:
        with evaluation_mode(module), torch.no_grad(), FlopCounterMode(display=False) as counter:
            trace(module, without_memory(module), size)
    finally:
        for hook in hooks:
            hook.remove()
    rows = [_row(name, layer, calls.get(layer, ((), 0))) for name, layer in layers]
    outside = counter.get_total_flops() // 2 - sum(row.macs for row in rows)
    if outside > 0:
        rows.append(LayerRow(name=OUTSIDE, type="matrix products", output_shape=(), parameters=0, macs=outside))
    return Summary(size=size, rows=tuple(rows))


def _is_layer(module: nn.Module) -> bool:
    if isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return False
    return not any(True for _ in module.children()) or any(True for _ in module.parameters(recurse=False))


def _row(name: str, layer: nn.Module, call: tuple[tuple[int, ...], int]) -> LayerRow:
    own = sum(p.numel() for p in layer.parameters(recurse=False))
    return LayerRow(name=name, type=type(layer).__name__, output_shape=call[0], parameters=own, macs=call[1])


def _macs(layer: nn.Module, inputs: Sequence[Any], output: Any) -> int:
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return int(inputs[0].numel()) * layer.weight[0].numel()
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return int(output.numel()) * layer.weight[0].numel()
    if isinstance(layer, nn.Linear):
        return int(output.numel()) * layer.in_features
    return 0
