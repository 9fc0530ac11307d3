"""What learns and how fast: layers that are frozen, and layers whose learning rate is lower.

Depth is the order in which the layers of a network are used for the first time: the first convolution is layer 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segwright.contracts import UserError
from segwright.models.tracing import evaluation_mode, trace, without_memory
from segwright.names import did_you_mean

Value = TypeVar("Value")

STRONG = 0.6
"""mIoU (0..1) from which a source model counts as strong: our choice; the study that gives the rule has no number."""
MANY = 500
"""Training pictures from which data count as good: our choice, likewise."""


class _KeepsStatistics(nn.Module):
    """A normalisation layer that stays in evaluation mode: training uses its statistics and does not change them."""

    def train(self, mode: bool = True) -> Self:
        return nn.Module.train(self, False)


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """What `freeze` did. names: parameters that no longer learn. parameters, total: their numbers, and all of them.

    changed: those of the names that did learn before. statistics: how many BatchNorm layers keep their mean and variance.
    """

    names: tuple[str, ...]
    changed: tuple[str, ...]
    parameters: int
    total: int
    statistics: int

    def sentence(self) -> str:
        share = self.parameters / max(1, self.total)
        kept = f", with the statistics of {self.statistics} BatchNorm layers" if self.statistics else ""
        return f"{self.parameters:,} of {self.total:,} parameters are frozen ({share:.0%}){kept}"


def freeze(architecture: nn.Module, what: Sequence[str] | float, *, statistics: bool = True) -> Frozen:
    """Freeze parameters, by name patterns or the first layers by share of depth.

    what: patterns of parameter names (`backbone.*`, `*.bias`); or the share of all layers, 0 to below 1, counted from
    the picture on. statistics: BatchNorm layers whose parameters are all frozen keep their mean and variance too, in
    every later `train()`. Raises UserError for a pattern that matches nothing, a share that is not allowed, and when
    nothing would be left to learn. Call it before the optimiser is built; `unfreeze` undoes it.
    """
    parameters = dict(architecture.named_parameters())
    learning = {name for name, parameter in parameters.items() if parameter.requires_grad}
    names = _share(architecture, what) if isinstance(what, int | float) else _matching(list(parameters), what)
    frozen = {name for name in parameters if name in names or name not in learning}
    if len(frozen) == len(parameters):
        raise UserError(f"model.freeze={what!r} freezes every parameter: nothing would learn. Freeze less.")
    for name in names:
        parameters[name].requires_grad_(False)
    count = _freeze_statistics(architecture) if statistics else 0
    return Frozen(
        names=tuple(n for n in parameters if n in frozen),
        changed=tuple(n for n in parameters if n in frozen and n in learning),
        parameters=sum(parameters[n].numel() for n in frozen),
        total=sum(p.numel() for p in parameters.values()),
        statistics=count,
    )


def unfreeze(architecture: nn.Module, done: Frozen) -> None:
    """Undo `freeze`: what it froze learns again, and the BatchNorm layers among it follow the data again.

    Their statistics go on from where they stood. Parameters that did not learn before stay as they are.
    """
    parameters = dict(architecture.named_parameters())
    for name in done.changed:
        parameters[name].requires_grad_(True)
    for part in architecture.modules():
        if isinstance(part, _KeepsStatistics) and any(p.requires_grad for p in part.parameters(recurse=False)):
            part.__class__ = type(part).__bases__[1]
            part.train(architecture.training)


def _matching(names: Sequence[str], patterns: Sequence[str], key: str = "model.freeze") -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        hits = {n for n in names if fnmatchcase(n, pattern)}
        if not hits:
            parts = [
                f"{'.'.join(n.split('.')[:depth])}.*" for depth in (1, 2, 3) for n in names if n.count(".") >= depth
            ]
            hint = did_you_mean(pattern, [*dict.fromkeys(parts), *names])
            top = ", ".join(dict.fromkeys(f"{n.split('.')[0]}.*" for n in names))
            raise UserError(
                f"{key}: the pattern '{pattern}' matches no parameter.{hint} Patterns are of whole names, * for any text; "
                f"here there are: {top}. `segwright summary NAME` lists the layers."
            )
        found |= hits
    return found


def _share(architecture: nn.Module, share: float) -> set[str]:
    if not 0 <= share < 1:
        raise UserError(f"model.freeze is {share}; a share of depth is from 0 to below 1, such as 0.5.")
    layers = layers_in_order(architecture)
    return {name for names in layers[: round(share * len(layers))] for name in names}


def _freeze_statistics(architecture: nn.Module) -> int:
    count = 0
    for part in architecture.modules():
        own = list(part.parameters(recurse=False))
        if isinstance(part, _BatchNorm) and own and not any(p.requires_grad for p in own):
            if not isinstance(part, _KeepsStatistics):
                part.__class__ = type(f"Frozen{type(part).__name__}", (_KeepsStatistics, type(part)), {})
            part.eval()
            count += 1
    return count


def layers_in_order(architecture: nn.Module) -> list[list[str]]:
    """Names of the parameters of each layer, in the order of the forward pass; found without arithmetic.

    A layer is a weight matrix or kernel with its bias and the normalisation behind it. Layers that only training uses
    (auxiliary heads) come last.
    """
    used: dict[str, None] = {}
    hooks = [
        part.register_forward_pre_hook(lambda _, __, name=name: used.setdefault(name))
        for name, part in architecture.named_modules()
    ]
    side = 2 * int(getattr(architecture, "min_size", None) or architecture.stride)  # type: ignore[arg-type]
    try:
        with evaluation_mode(architecture), torch.no_grad():
            trace(architecture, without_memory(architecture), (side, side))
    finally:
        for hook in hooks:
            hook.remove()
    own = {name: part for name, part in architecture.named_modules() if list(part.parameters(recurse=False))}
    order = [name for name in used if name in own]
    order += [name for name in own if name not in used]
    layers: list[list[str]] = []
    for name in order:
        tensors = dict(own[name].named_parameters(recurse=False))
        names = [f"{name}.{key}".removeprefix(".") for key in tensors]
        if layers and all(t.ndim <= 1 for t in tensors.values()):
            layers[-1] += names
        else:
            layers.append(names)
    return layers


def advice(source_miou: float | None, pictures: int) -> str:
    """The rule of thumb of transfer learning, for these weights and these data, in one sentence.

    source_miou: of the source model on its own data, 0..1; None when it is not known. pictures: of the training set.
    Strong source and good data: freeze more. Weak source or poor data: freeze less.
    """
    data = f"{pictures:,} pictures are {'a good deal' if pictures >= MANY else 'few'}"
    if source_miou is None:
        return (
            f"How good the source model is, is not known; {data}. Rule of thumb: a strong source and good data allow "
            "freezing more (the whole backbone), a weak source or poor data less (the first layers, or nothing)."
        )
    strong = source_miou >= STRONG
    source = f"The source model is {'strong' if strong else 'weak'} (mIoU {source_miou:.2f}) and {data}"
    if strong and pictures >= MANY:
        return f"{source}: freeze more, say the whole backbone."
    return f"{source}: freeze less, say the first layers or nothing."


def parameter_groups(
    architecture: nn.Module,
    *,
    lr: float,
    weight_decay: float = 0.0,
    decay_by_depth: float | None = None,
    factors: Mapping[str, float] | None = None,
    decays: Mapping[str, float | None] | None = None,
    steps: int = 8,
) -> list[dict[str, Any]]:
    """Groups for an optimiser: lower learning rates for early layers, none for frozen ones.

    decay_by_depth: rate of the first layer as a share of the last one's, above 0 to 1; in between it rises by equal
    factors, in `steps` steps. factors: name pattern -> share of the rate; the first pattern that fits counts, and it
    multiplies the one by depth. decays: name pattern -> weight decay, the first that fits; None there means `weight_decay`.
    Biases and normalisation weights are not decayed.
    Each group has `params`, `lr`, `lr_factor` (by which a schedule multiplies its rate) and `weight_decay`.
    Raises UserError for a share out of range and a pattern that matches nothing.
    """
    if decay_by_depth is not None and not 0 < decay_by_depth <= 1:
        raise UserError(f"decay_by_depth is {decay_by_depth}; allowed are shares above 0 up to 1, such as 0.1.")
    parameters = {n: p for n, p in architecture.named_parameters() if p.requires_grad}
    shares = _depth_shares(architecture, decay_by_depth, steps) if decay_by_depth is not None else {}
    for pattern, factor in (factors or {}).items():
        if not 0 < factor <= 100:
            raise UserError(f"the factor of '{pattern}' is {factor}; allowed are shares above 0 (freeze for none).")
    every = dict(architecture.named_parameters())
    by_pattern, decay_of = _first_match(every, factors or {}), _first_match(every, decays or {})
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in parameters.items():
        factor = shares.get(name, 1.0) * by_pattern.get(name, 1.0)
        own = decay_of.get(name)
        decay = weight_decay if own is None else own
        groups.setdefault((factor, decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [
        {"params": members, "lr": lr * factor, "lr_factor": factor, "weight_decay": decay}
        for (factor, decay), members in groups.items()
    ]


def _first_match(parameters: Mapping[str, Tensor], patterns: Mapping[str, Value]) -> dict[str, Value]:
    """Parameter name -> the value of the first pattern that fits it."""
    found: dict[str, Value] = {}
    for pattern, value in patterns.items():
        for name in _matching(list(parameters), [pattern], "optimizer.groups"):
            found.setdefault(name, value)
    return found


def _depth_shares(architecture: nn.Module, first: float, steps: int) -> dict[str, float]:
    layers = layers_in_order(architecture)
    last_step = max(1, min(steps, len(layers)) - 1)
    shares: dict[str, float] = {}
    for index, names in enumerate(layers):
        step = round(last_step * index / max(1, len(layers) - 1))
        shares |= dict.fromkeys(names, first ** (1 - step / last_step))
    return shares
