"""What a network is made of: its layers with output shapes, parameters, arithmetic and memory.

A MAC is one multiplication with its addition; FLOPs are 2 × MACs (many papers print MACs and call them FLOPs). Counted
are convolutions and matrix products, not the additions of biases, normalisation, activations or resizing.

Memory is that of the values that layers put out, 4 bytes each in fp32 and 2 in bf16; what a layer does in place takes
none. What training keeps for the backward pass is counted tensor by tensor, as autograd saves them.

Letters: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segwright.contracts import UserError
from segwright.models.tracing import evaluation_mode, trace, without_memory

OUTSIDE = "(outside layers)"
BYTES = {"fp32": 4, "bf16": 2}
ORDERS = {"parameters": "parameters", "macs": "macs", "memory": "values"}


class Call(NamedTuple):
    """What a layer did: the shape of its last output, multiply-adds and new numbers of all its calls."""

    shape: tuple[int, ...]
    macs: int
    values: int


NEVER = Call((), 0, 0)


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer: its place in the module, its class, and what it costs for one picture.

    output_shape: of its last call, batch first; empty for a layer that is never called. parameters: its own, not those
    of layers inside it. values: numbers in new memory that its calls put out.
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    values: int = 0

    @property
    def flops(self) -> int:
        return 2 * self.macs

    def bytes(self, precision: str = "fp32") -> int:
        return self.values * BYTES[precision]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The layers in order, for one picture of `size` (height, width).

    kept_values: numbers that training keeps of one picture for the backward pass, the picture among them.
    temperature: what a calibrated model divides its scores by, one number or one a class; empty for none.
    """

    size: tuple[int, int]
    rows: tuple[LayerRow, ...]
    kept_values: int = 0
    temperature: tuple[float, ...] = ()

    @property
    def values(self) -> int:
        return sum(row.values for row in self.rows)

    def sorted(self, by: str | None = None, limit: int | None = None) -> tuple[LayerRow, ...]:
        """The rows as they are, or the largest first by `parameters`, `macs` or `memory`; at most `limit` of them.

        Raises UserError for another order.
        """
        if by is not None and by not in ORDERS:
            raise UserError(f"--sort {by}: allowed are {', '.join(ORDERS)}; without it, layers keep their order.")
        rows = self.rows if by is None else sorted(self.rows, key=lambda row: -getattr(row, ORDERS[by]))
        return tuple(rows[:limit])

    def to_dict(self) -> dict[str, Any]:
        """Plain data: totals and rows; memory in bytes."""
        rows = [asdict(row) | {"bytes": {p: row.bytes(p) for p in BYTES}} for row in self.rows]
        totals = {"size": list(self.size), "parameters": self.parameters, "macs": self.macs, "flops": self.flops}
        memory = {p: self.values * size for p, size in BYTES.items()}
        kept = {p: self.kept_values * size for p, size in BYTES.items()}
        fitted = {"temperature": list(self.temperature)}
        return totals | {"activation_bytes": memory, "training_bytes": kept, "rows": rows} | fitted

    def confidence_sentence(self) -> str:
        """What was done to the model's confidence; "" where nothing was."""
        if not self.temperature:
            return ""
        told = ", ".join(f"{value:.3g}" for value in self.temperature)
        many = "Temperatures by predicted class" if len(self.temperature) > 1 else "Temperature"
        return f"{many} {told}: `segwright calibrate` fitted it, and probabilities are given with it."

    def memory_sentence(self) -> str:
        outputs, kept = (
            f"{n * 4 / 1e6:,.1f} MB in fp32, {n * 2 / 1e6:,.1f} in bf16" for n in (self.values, self.kept_values)
        )
        state = f"{self.parameters * 16 / 1e6:,.1f} MB"
        return (
            f"A picture's layer outputs take {outputs}, if all were held. Training keeps {kept} a picture; weights, "
            f"gradients and Adam's two means take {state} more in fp32."
        )

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.rows)

    @property
    def flops(self) -> int:
        return 2 * self.macs

    def table(self, sort: str | None = None, limit: int | None = None) -> Table:
        """For the terminal; totals are of all layers, also with a limit."""
        table = Table(title=f"one picture of {self.size[0]}×{self.size[1]}", show_footer=True)
        table.add_column("layer", "total", overflow="fold")
        table.add_column("type")
        table.add_column("output [B, C, H, W]", justify="right")
        table.add_column("parameters", f"{self.parameters:,}", justify="right")
        table.add_column("MMACs", f"{self.macs / 1e6:,.1f}", justify="right")
        table.add_column("MFLOPs", f"{self.flops / 1e6:,.1f}", justify="right")
        table.add_column("MB fp32", f"{self.values * BYTES['fp32'] / 1e6:,.1f}", justify="right")
        for row in self.sorted(sort, limit):
            shape = str(list(row.output_shape)) if row.output_shape else "–"
            memory = f"{row.bytes() / 1e6:,.1f}" if row.values else "–"
            cost = (f"{row.macs / 1e6:,.1f}", f"{row.flops / 1e6:,.1f}") if row.macs else ("–", "–")
            table.add_row(row.name, row.type, shape, f"{row.parameters:,}" if row.parameters else "–", *cost, memory)
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
    calls: dict[nn.Module, Call] = {}

    def note(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        shape = tuple(output.shape) if isinstance(output, Tensor) else ()
        before = calls.get(layer, NEVER)
        calls[layer] = Call(shape, before.macs + _macs(layer, inputs, output), before.values + _new(inputs, output))

    hooks = [layer.register_forward_hook(note) for _, layer in layers]
    try:
        with evaluation_mode(module), torch.no_grad(), FlopCounterMode(display=False) as counter:
            trace(module, without_memory(module), size)
    finally:
        for hook in hooks:
            hook.remove()
    rows = [_row(name, layer, calls.get(layer, NEVER)) for name, layer in layers]
    outside = counter.get_total_flops() // 2 - sum(row.macs for row in rows)
    if outside > 0:
        rows.append(LayerRow(name=OUTSIDE, type="matrix products", output_shape=(), parameters=0, macs=outside))
    return Summary(size=size, rows=tuple(rows), kept_values=_kept(module, size))


def _is_layer(module: nn.Module) -> bool:
    if isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return False
    return not any(True for _ in module.children()) or any(True for _ in module.parameters(recurse=False))


def _new(inputs: tuple[Any, ...], output: Any) -> int:
    """Numbers in the output, unless it lies in the memory of an input: layers in place, and those that do nothing."""
    if not isinstance(output, Tensor):
        return 0
    held = {t.untyped_storage()._cdata for t in inputs if isinstance(t, Tensor)}
    return 0 if output.untyped_storage()._cdata in held else output.numel()


def _kept(module: nn.Module, size: tuple[int, int]) -> int:
    """Numbers that autograd saves in one forward pass, each tensor once, without the weights."""
    tensors = without_memory(module)
    weights = {t.untyped_storage()._cdata for t in tensors.values()}
    saved: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    with (
        evaluation_mode(module),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        held = trace(module, tensors, size)  # the graph lives as long as this: no memory is counted under two names
    del held
    return sum(t.untyped_storage().nbytes() // t.element_size() for key, t in saved.items() if key not in weights)


def _row(name: str, layer: nn.Module, call: Call) -> LayerRow:
    own = sum(p.numel() for p in layer.parameters(recurse=False))
    kind = type(layer).__name__
    return LayerRow(name=name, type=kind, output_shape=call.shape, parameters=own, macs=call.macs, values=call.values)


def _macs(layer: nn.Module, inputs: Sequence[Any], output: Any) -> int:
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return int(inputs[0].numel()) * layer.weight[0].numel()
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return int(output.numel()) * layer.weight[0].numel()
    if isinstance(layer, nn.Linear):
        return int(output.numel()) * layer.in_features
    return 0
