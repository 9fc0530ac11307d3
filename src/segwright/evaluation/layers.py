"""Layers of a network by name, the stages of any network, and what comes out of them.

A layer is a module, as `named_modules()` spells it; a number in brackets picks one of several outputs, such as
`backbone[3]`. Two names are made here: `output`, the logits at the network's own stride, and `head input`, what the
last layer reads: with the head replaced by identity, that is what the network would return.

Letters: B batch, C channels, h w reduced sizes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from segwright.contracts import Outputs, UserError
from segwright.models.tracing import evaluation_mode, trace, without_memory
from segwright.names import did_you_mean

OUTPUT, HEAD_INPUT = "output", "head input"
STAGES = 4
"""How many stages are shown, counted from the coarsest."""
STAGE_NAME = re.compile(r"((?:.*[._])?(?:layer|stage|stages[._]|blocks[._]|features_denseblock))(\d+)")
"""How timm, torchvision and the papers number the stages of a backbone."""


@dataclass(frozen=True)
class Layer:
    """One module of a network, and `pick`, which takes the wanted map from what it returns."""

    title: str
    module: nn.Module
    pick: Callable[[Any], Tensor | None]
    reads: bool = False
    """Whether its input is meant, not its output."""


def find_layers(architecture: nn.Module, names: Sequence[str]) -> list[Layer]:
    """The layers of these names, in this order. Raises UserError for a name that there is not, with the nearest."""
    modules = {name: m for name, m in architecture.named_modules() if name}
    found = []
    for name in names:
        if name == OUTPUT:
            found.append(_output(architecture))
        elif name == HEAD_INPUT:
            found.append(head_input(architecture))
        else:
            found.append(_named(name, modules))
    return found


def stages(architecture: nn.Module) -> list[Layer]:
    """The last four stages of the encoder, from fine to coarse, then the output.

    Stages are the features that a backbone returns. Where no module returns three or more, they are the modules called
    layer1, layer2, … or stages.0, stages.1, … Else they are the last layers before the maps shrink, down to 1/stride.
    """
    side, stride = _side(architecture), int(architecture.stride)  # type: ignore[arg-type]
    calls = _calls(architecture, side)
    for name, module, value in sorted(calls, key=lambda call: call[0].count(".")):  # the outermost first
        if isinstance(value, list | tuple) and not isinstance(value, Outputs):
            maps = [i for i, t in enumerate(value) if isinstance(t, Tensor) and t.ndim == 4]
            if len(maps) >= 3 and name:
                chosen = [Layer(f"{name}[{i}]", module, _item(i)) for i in maps[-STAGES:]]
                return [*chosen, _output(architecture)]
    if numbered := _numbered(calls):
        return [*numbered[-STAGES:], _output(architecture)]
    heights: dict[int, Layer] = {}
    smallest = side
    for name, module, value in _leaves(calls):
        height = value.shape[-2]
        if height <= smallest and side % height == 0 and side // height <= max(1, stride):
            smallest = height
            heights[height] = Layer(name, module, _only)
    return [*list(heights.values())[-STAGES:], _output(architecture)]


def _numbered(calls: Sequence[tuple[str, nn.Module, Any]]) -> list[Layer]:
    """Modules whose names differ in their last number only, three or more, that give one map each."""
    series: dict[str, list[Layer]] = {}
    for name, module, value in calls:
        if (match := STAGE_NAME.fullmatch(name)) and isinstance(value, Tensor) and value.ndim == 4:
            series.setdefault(match[1], []).append(Layer(name, module, _only))
    return next((found for found in series.values() if len(found) >= 3), [])


def head_input(architecture: nn.Module) -> Layer:
    """What the last layer with weights reads."""
    leaves = [(n, m) for n, m, _ in _leaves(_calls(architecture, _side(architecture))) if _has_weights(m)]
    if not leaves:
        raise UserError(f"{type(architecture).__name__} has no layer with weights, so no head.")
    return Layer(HEAD_INPUT, leaves[-1][1], _only, reads=True)


@contextmanager
def watching(layers: Sequence[Layer]) -> Iterator[dict[str, Tensor]]:
    """Inside the block, a dict that holds what each layer put out when it was called last: title -> float [B, C, h, w].

    The values are the layers' own, even where the next layer works in place. Sequences of transformers, [B, h·w, C],
    are left out: they are no maps.
    """
    seen: dict[str, Tensor] = {}

    def keep(layer: Layer) -> Callable[..., Any]:
        def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            value = layer.pick(output)
            if value is not None:
                seen[layer.title] = value
            return output.clone() if isinstance(output, Tensor) else None  # the next layer may write into it

        def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if inputs and isinstance(inputs[0], Tensor):
                seen[layer.title] = inputs[0]

        return before if layer.reads else after

    hooks = [
        layer.module.register_forward_pre_hook(keep(layer))
        if layer.reads
        else layer.module.register_forward_hook(keep(layer))
        for layer in layers
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def missing(layers: Sequence[Layer], seen: dict[str, Tensor]) -> UserError | None:
    """Why a layer has no feature map, if one has none."""
    for layer in layers:
        if layer.title not in seen:
            return UserError(f"layer '{layer.title}' is never called, or gives several values: choose one inside it.")
        if seen[layer.title].ndim != 4:
            shape = list(seen[layer.title].shape)
            return UserError(f"layer '{layer.title}' gives {shape}, no map [B, C, h, w]: choose another.")
    return None


def _named(name: str, modules: dict[str, nn.Module]) -> Layer:
    plain, bracket, number = name.partition("[")
    number = number.removesuffix("]")
    if plain not in modules or (bracket and not number.isdigit()):
        hint = did_you_mean(plain, modules)
        some = ", ".join([n for n in modules if n.count(".") == 0][:12])
        raise UserError(
            f"there is no layer '{name}'.{hint} At the top there are: {some}, {OUTPUT}, {HEAD_INPUT}. "
            "`segwright summary` lists all."
        )
    return Layer(name, modules[plain], _item(int(number)) if bracket else _only)


def _output(architecture: nn.Module) -> Layer:
    return Layer(OUTPUT, architecture, lambda value: value.logits_BKhw)


def _only(value: Any) -> Tensor | None:
    return value if isinstance(value, Tensor) else None


def _item(index: int) -> Callable[[Any], Tensor | None]:
    def pick(value: Any) -> Tensor | None:
        if isinstance(value, list | tuple) and index < len(value) and isinstance(value[index], Tensor):
            return value[index]
        return None

    return pick


def _side(architecture: nn.Module) -> int:
    """A picture side large enough to tell the levels apart."""
    stride = int(architecture.stride)  # type: ignore[arg-type]
    least = max(256, int(getattr(architecture, "min_size", stride)))
    return -(-least // stride) * stride


def _calls(architecture: nn.Module, side: int) -> list[tuple[str, nn.Module, Any]]:
    """(name, module, output) of each module, in the order in which they finish."""
    order: list[tuple[str, nn.Module, Any]] = []
    names = {m: n for n, m in architecture.named_modules()}
    hooks = [m.register_forward_hook(lambda m, _, out: order.append((names[m], m, out))) for m in names]
    try:
        with evaluation_mode(architecture), torch.no_grad():
            trace(architecture, without_memory(architecture), (side, side))
    finally:
        for hook in hooks:
            hook.remove()
    return order


def _leaves(calls: Sequence[tuple[str, nn.Module, Any]]) -> list[tuple[str, nn.Module, Tensor]]:
    """Layers without children that give one map, in the order of their calls."""
    leaves = [c for c in calls if not any(True for _ in c[1].children())]
    return [(n, m, v) for n, m, v in leaves if isinstance(v, Tensor) and v.ndim == 4]


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))
