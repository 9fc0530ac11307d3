"""A classifier for other classes: its numbers go over by class name, and only new classes start anew.

Letters: L classes of the source, K classes of the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segwright.contracts import UserError
from segwright.labels import LabelMap, LabelSpace, map_labels
from segwright.labels.mapping import Overrides
from segwright.labels.matching import match_classes
from segwright.models.registry import build_architecture


@dataclass(frozen=True, kw_only=True)
class ClassTable:
    """Where each class of the new classifier starts.

    kept: class -> the class of the source that it is. merged: class -> the classes of the source that it unites.
    new: classes that start from random numbers. dropped: classes of the source that nothing becomes.
    tensors: the classifier's. restarted: tensors whose classes cannot be told apart, which start from random numbers.
    """

    source: str
    target: str
    kept: Mapping[str, str]
    merged: Mapping[str, tuple[str, ...]]
    new: tuple[str, ...]
    dropped: tuple[str, ...]
    tensors: tuple[str, ...]
    restarted: tuple[str, ...] = ()

    def table(self) -> str:
        """Plain text: a line a class of the target in two columns, then the dropped ones."""
        rows = [(name, name if name == found else f"{name} ← {found}") for name, found in self.kept.items()]
        lines = [f"classes of '{self.source}' → '{self.target}', in {', '.join(self.tensors) or 'no tensor'}:"]
        lines += [f"  kept     {text}" for _, text in rows]
        lines += [f"  merged   {name} ← mean of {', '.join(found)}" for name, found in self.merged.items()]
        lines += [f"  new      {name} (random start)" for name in self.new]
        lines += [f"  dropped  {name}" for name in self.dropped]
        lines += [f"  restart  {name}: its numbers do not belong to single classes" for name in self.restarted]
        return "\n".join(lines)


def class_map(source: LabelSpace, target: LabelSpace, overrides: Overrides | None = None) -> LabelMap:
    """What each class of the source is in the target, as `map_labels` says; also where they have no class in common."""
    if overrides or any(row.targets for row in match_classes(source, target)):
        return map_labels(source, target, overrides)
    nothing = np.zeros((source.num_classes, target.num_classes), bool)
    return LabelMap(source=source, target=target, matrix_LK=nothing, how=dict.fromkeys(source.class_names, "lost"))


def class_axes(architecture: nn.Module, name: str, args: Mapping[str, Any], num_classes: int) -> dict[str, list[int]]:
    """Tensor name -> its axes that have one entry (or a fixed number of them) a class.

    Found by comparing the shapes of the architecture with those of the same one for one class more. An empty list: the
    shape depends on the number of classes in another way. Random numbers drawn for that are given back.
    """
    with torch.random.fork_rng(devices=[]):
        larger = build_architecture(name, num_classes + 1, args, fresh=False).state_dict()
    axes: dict[str, list[int]] = {}
    for key, tensor in architecture.state_dict().items():
        if tensor.shape == larger[key].shape:
            continue
        changed = [d for d, (a, b) in enumerate(zip(tensor.shape, larger[key].shape, strict=True)) if a != b]
        whole = all(tensor.shape[d] == num_classes * (larger[key].shape[d] - tensor.shape[d]) for d in changed)
        axes[key] = changed if whole else []
    return axes


def move_classes(
    old: Mapping[str, Tensor],
    fresh: Mapping[str, Tensor],
    axes: Mapping[str, list[int]],
    model: nn.Module,
    map: LabelMap,
) -> tuple[dict[str, Tensor], ClassTable]:
    """The classifier's tensors for the target's classes, and where each class comes from.

    old: tensors for L classes. fresh: the same for K, as they start by themselves. axes: of `class_axes`, same names.
    model: the architecture for K classes, which says which axis is a layer's input and which its output. A class takes
    the numbers of its source; the mean of them where it unites several (their sum, where scores are a layer's input).
    Several classes that one coarse source may be all take its numbers. Other classes keep their fresh ones.
    """
    moved: dict[str, Tensor] = {}
    restarted = []
    for name, dimensions in axes.items():
        if name not in old:
            continue
        if not dimensions:
            restarted.append(name)
            moved[name] = fresh[name]
            continue
        moved[name] = _moved(old[name], fresh[name], dimensions, _input_axis(model, name), map)
    columns = {
        t: tuple(map.source.class_names[i] for i in np.flatnonzero(map.matrix_LK[:, k]))
        for k, t in enumerate(map.target.class_names)
    }
    return moved, ClassTable(
        source=map.source.name,
        target=map.target.name,
        kept={t: found[0] for t, found in columns.items() if len(found) == 1},
        merged={t: found for t, found in columns.items() if len(found) > 1},
        new=tuple(t for t, found in columns.items() if not found),
        dropped=map.lost,
        tensors=tuple(moved),
        restarted=tuple(restarted),
    )


def _moved(old: Tensor, fresh: Tensor, dimensions: list[int], input_axis: int, map: LabelMap) -> Tensor:
    matrix_KL = torch.from_numpy(map.matrix_LK.astype(np.float64)).T.contiguous()
    reached_K = matrix_KL.any(1)
    result, known = old.double(), torch.ones((), dtype=torch.bool)
    for axis in dimensions:
        each = old.shape[axis] // map.source.num_classes  # several a class, class by class: pixel shuffle's order
        share = matrix_KL / matrix_KL.sum(0 if axis == input_axis else 1, keepdim=True).clamp_min(1)
        share = torch.kron(share, torch.eye(each, dtype=torch.float64))
        result = torch.movedim(torch.tensordot(share, result, dims=([1], [axis])), 0, axis)
        shape = [1] * old.ndim
        shape[axis] = -1
        known = known & reached_K.repeat_interleave(each).view(shape)
    if result.shape != fresh.shape:
        raise UserError(f"a classifier of shape {list(old.shape)} cannot become one of {list(fresh.shape)}.")
    return torch.where(known, result.to(fresh.dtype), fresh)


def _input_axis(model: nn.Module, name: str) -> int:
    """The axis of a weight that counts a layer's inputs: 1, but 0 for transposed convolutions."""
    part = model.get_submodule(name.rpartition(".")[0])
    return 0 if isinstance(part, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d) else 1
