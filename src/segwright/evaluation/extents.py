"""Which input rows and columns every value inside a network can see: exact intervals, followed through its operations.

Every tensor carries, for each position along its rows (and columns), the first and last input row that reach it. An
operation on tensors gives those of its result: a convolution takes the least and the largest over its taps, an addition
over its operands. Sizes alone matter, so the network runs on tensors without memory.

What mixes all positions (a global mean, attention) is marked `whole` and left out of the intervals, which so tell what
convolutions, pooling and resizing see. Every operation that is not known here counts as mixing, to be on the safe side,
attention inside windows among them.

Letters: B batch, C channels, H W pixels, h w reduced sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from segwright.evaluation import taps

Atom = int | str
"""Part of a tensor's dimension: "r" (the rows), "c" (the columns), or so many values that are neither."""
aten = torch.ops.aten


@dataclass(frozen=True)
class Span:
    """First and last input position that reach each position of an axis: float64 [n], or [1] where all see the same.

    Nothing at all is an interval from inf to -inf. whole: something on the way mixed all positions.
    """

    first: NDArray[np.float64]
    last: NDArray[np.float64]
    whole: bool = False

    @property
    def length(self) -> int:
        return len(self.first)

    @property
    def largest(self) -> int:
        """The longest interval, in input pixels; 0 where nothing reaches."""
        return int(max(0.0, (self.last - self.first).max() + 1))

    def at(self, index: NDArray[np.int64]) -> Span:
        """The intervals at `index` [n, taps], joined over the taps; indices outside hold nothing."""
        if self.length == 1:
            return self
        inside = (index >= 0) & (index < self.length)
        safe = index.clip(0, self.length - 1)
        first = np.where(inside, self.first[safe], np.inf).min(1)
        return Span(first, np.where(inside, self.last[safe], -np.inf).max(1), self.whole)

    def mixed(self) -> Span:
        """What mixes all positions: noted, and left out of the intervals."""
        return self if self.length == 1 else Span(np.array([np.inf]), np.array([-np.inf]), True)

    def join(self, other: Span) -> Span:
        return Span(np.minimum(self.first, other.first), np.maximum(self.last, other.last), self.whole or other.whole)


@dataclass(frozen=True)
class Seen:
    """What a tensor sees: its spans, and of which atoms each of its dimensions consists."""

    rows: Span
    columns: Span
    dims: tuple[tuple[Atom, ...], ...]

    def span(self, axis: str) -> Span:
        return self.rows if axis == "r" else self.columns

    def place(self, axis: str) -> int | None:
        """The dimension that is exactly this axis; None where there is none, or where it is merged with others."""
        return next((i for i, dim in enumerate(self.dims) if dim == (axis,)), None)

    def has(self, axis: str) -> bool:
        return any(axis in dim for dim in self.dims)


class Tracker(TorchDispatchMode):
    """Follows intervals from `picture` (float [1, 3, H, W]) through all operations inside `with`."""

    def __init__(self, picture: Tensor) -> None:
        super().__init__()
        height, width = picture.shape[-2:]
        rows, columns = np.arange(height, dtype=np.float64), np.arange(width, dtype=np.float64)
        self.known = WeakTensorKeyDictionary()
        self.known[picture] = Seen(Span(rows, rows), Span(columns, columns), ((1,), (3,), ("r",), ("c",)))

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = [t for t in _tensors((*args, *(kwargs or {}).values())) if t in self.known]
        if not inputs:
            return result
        named = dict(zip([a.name for a in func._schema.arguments], args, strict=False)) | (kwargs or {})
        for output in _tensors([result]):
            self.known[output] = self._seen(func, named, inputs, output, len(_tensors([result])))
        if func._schema.is_mutable and isinstance(base := getattr(args[0], "_base", None), Tensor):
            self.known[base] = self._mixed([*inputs, *([base] if base in self.known else [])], base)
        return result

    def _seen(self, func: Any, named: dict[str, Any], inputs: list[Tensor], output: Tensor, outputs: int) -> Seen:
        packet = func.overloadpacket
        rule = RULES.get(packet)
        if rule is None and torch.Tag.pointwise in func.tags:
            rule = _pointwise
        found = rule(self, named, inputs, output) if rule is not None else None
        return found if found is not None else self._mixed(inputs, output)

    def _mixed(self, inputs: Sequence[Tensor], output: Tensor) -> Seen:
        """Every position sees all of all inputs."""
        rows, columns = (_joined([self.known[t].span(axis).mixed() for t in inputs]) for axis in ("r", "c"))
        return Seen(rows, columns, tuple((int(n),) for n in output.shape))


Rule = Callable[[Tracker, dict[str, Any], list[Tensor], Tensor], Seen | None]
"""(tracker, arguments by name, inputs that see the picture, output) -> what it sees; None: every position is mixed."""


def _tensors(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _joined(spans: Sequence[Span]) -> Span:
    joined = spans[0]
    for span in spans[1:]:
        joined = joined.join(span)
    return joined


def _pointwise(tracker: Tracker, named: dict[str, Any], inputs: list[Tensor], output: Tensor) -> Seen | None:
    """Every value from those at its own place: inputs are joined as they broadcast."""
    seen = [tracker.known[t] for t in inputs]
    dims: list[tuple[Atom, ...]] = [(int(n),) for n in output.shape]
    for one in seen:
        for back, dim in enumerate(reversed(one.dims), start=1):
            if "r" in dim or "c" in dim:
                if any(a in ("r", "c") for a in dims[-back]) and dims[-back] != dim:
                    return None
                dims[-back] = dim
    if sum(dim.count("r") for dim in dims) > 1 or sum(dim.count("c") for dim in dims) > 1:
        return None
    return Seen(_joined([s.rows for s in seen]), _joined([s.columns for s in seen]), tuple(dims))


def _same(tracker: Tracker, named: dict[str, Any], inputs: list[Tensor], output: Tensor) -> Seen | None:
    """Normalisation by stored statistics, copies: the first input, place by place."""
    seen: Seen = tracker.known[inputs[0]]
    return seen if output.ndim == len(seen.dims) else None


def _over(*names: str) -> Rule:
    """Values mixed along some dimensions (softmax, layer norm, means): fine where these are not rows or columns."""

    def rule(tracker: Tracker, named: dict[str, Any], inputs: list[Tensor], output: Tensor) -> Seen | None:
        seen: Seen = tracker.known[inputs[0]]
        given = next((named[n] for n in names if named.get(n) is not None), None)
        if "normalized_shape" in names:
            given = list(range(-len(named["normalized_shape"]), 0))
        where = range(len(seen.dims)) if given is None or given == [] else [given] if isinstance(given, int) else given
        places = {w % len(seen.dims) for w in where}
        spans = {a: seen.span(a) for a in ("r", "c")}
        for axis in spans:
            if any(axis in seen.dims[p] for p in places):
                spans[axis] = spans[axis].mixed()
        if output.ndim == len(seen.dims):
            dims = tuple((int(output.shape[i]),) if i in places else d for i, d in enumerate(seen.dims))
        else:
            dims = tuple(d for i, d in enumerate(seen.dims) if i not in places)
        return Seen(spans["r"], spans["c"], dims) if len(dims) == output.ndim else None

    return rule


def _windowed(find: Callable[[dict[str, Any], int, int, int], NDArray[np.int64]]) -> Rule:
    """Results from some positions of each axis: find(arguments, axis 0 or 1, n in, n out) -> indices [n out, taps]."""

    def rule(tracker: Tracker, named: dict[str, Any], inputs: list[Tensor], output: Tensor) -> Seen | None:
        seen: Seen = tracker.known[inputs[0]]
        source = inputs[0]
        if seen.place("r") not in (None, output.ndim - 2) or seen.place("c") not in (None, output.ndim - 1):
            return None
        spans = []
        for number, axis in enumerate("rc"):
            n_in, n_out = int(source.shape[number - 2]), int(output.shape[number - 2])
            spans.append(seen.span(axis).at(find(named, number, n_in, n_out)))
        dims = [(int(n),) for n in output.shape[:-2]]
        tail: list[tuple[Atom, ...]] = [
            (axis,) if span.length > 1 else (int(n),)
            for axis, span, n in zip("rc", spans, output.shape[-2:], strict=True)
        ]
        return Seen(spans[0], spans[1], (*dims, *tail))

    return rule


def _chosen(tracker: Tracker, named: dict[str, Any], inputs: list[Tensor], output: Tensor) -> Seen | None:
    """A slice along one dimension."""
    seen: Seen = tracker.known[inputs[0]]
    place = named.get("dim", 0) % len(seen.dims)
    dim = seen.dims[place]
    if len(dim) > 1 and ("r" in dim or "c" in dim):
        return None
    n = inputs[0].shape[place]
    index = np.arange(n)[slice(named.get("start"), named.get("end"), named.get("step", 1))][:, None]
    spans = {a: seen.span(a).at(index) if dim == (a,) else seen.span(a) for a in ("r", "c")}
    dims = tuple(d if i != place or d in (("r",), ("c",)) else (int(output.shape[i]),) for i, d in enumerate(seen.dims))
    return Seen(spans["r"], spans["c"], dims)


def _divided(tracker: Tracker, named: dict[str, Any], inputs: list[Tensor], output: Tensor) -> Seen | None:
    """Channels in parts; rows or columns in parts are mixed."""
    seen: Seen = tracker.known[inputs[0]]
    place = named.get("dim", 0) % len(seen.dims)
    if "r" in seen.dims[place] or "c" in seen.dims[place]:
        return None
    dims = [d if i != place else (int(inputs[0].shape[i]),) for i, d in enumerate(seen.dims)]
    if output.ndim == len(dims):
        dims[place] = (int(output.shape[place]),)
    else:
        del dims[place]
    return Seen(seen.rows, seen.columns, tuple(dims)) if len(dims) == output.ndim else None


def _side_by_side(tracker: Tracker, named: dict[str, Any], inputs: list[Tensor], output: Tensor) -> Seen | None:
    """Concatenation along channels."""
    place = named.get("dim", 0) % output.ndim
    seen = [tracker.known[t] for t in inputs]
    if any("r" in s.dims[place] or "c" in s.dims[place] for s in seen):
        return None
    joined = _pointwise(tracker, named, inputs, output)
    if joined is None:
        return None
    dims = tuple((int(output.shape[i]),) if i == place else d for i, d in enumerate(joined.dims))
    return Seen(joined.rows, joined.columns, dims)


def _moved(tracker: Tracker, named: dict[str, Any], inputs: list[Tensor], output: Tensor) -> Seen | None:
    """Dimensions in another order."""
    seen: Seen = tracker.known[inputs[0]]
    order = list(range(len(seen.dims)))
    if "dims" in named:
        order = [d % len(order) for d in named["dims"]]
    else:
        one, two = (named[k] % len(order) if k in named else i for i, k in enumerate(("dim0", "dim1")))
        order[one], order[two] = order[two], order[one]
    return Seen(seen.rows, seen.columns, tuple(seen.dims[i] for i in order))


def _regrouped(tracker: Tracker, named: dict[str, Any], inputs: list[Tensor], output: Tensor) -> Seen | None:
    """The same values in other dimensions: rows and columns stay, merged or not, unless they are cut into pieces."""
    seen: Seen = tracker.known[inputs[0]]
    lengths = {axis: seen.span(axis).length for axis in ("r", "c")}
    atoms = [a for dim in seen.dims for a in dim if a != 1]
    dims: list[tuple[Atom, ...]] = []
    for wanted in output.shape:
        left, dim = int(wanted), list[Atom]()
        while left > 1:
            atom = atoms.pop(0)
            size = lengths[atom] if isinstance(atom, str) else atom
            if left % size == 0:
                dim.append(atom)
                left //= size
            elif isinstance(atom, int) and size % left == 0:
                dim.append(left)
                atoms.insert(0, size // left)
                left = 1
            else:
                return None
        dims.append(tuple(dim) or (1,))
    return Seen(seen.rows, seen.columns, tuple(dims))


def _product(tracker: Tracker, named: dict[str, Any], inputs: list[Tensor], output: Tensor) -> Seen | None:
    """A matrix product with weights on the right (a linear layer), which mixes the last dimension."""
    left = next((named[k] for k in ("mat1", "self") if k in named and named[k] in tracker.known), None)
    if left is None or len(inputs) > 1 or left.ndim != output.ndim:
        return None
    seen: Seen = tracker.known[left]
    if "r" in seen.dims[-1] or "c" in seen.dims[-1]:
        return None
    return Seen(seen.rows, seen.columns, (*seen.dims[:-1], (int(output.shape[-1]),)))


def _rules(rule: Rule, *names: str) -> dict[Any, Rule]:
    return {getattr(aten, name): rule for name in names if hasattr(aten, name)}


RULES: dict[Any, Rule] = {
    **_rules(_windowed(taps.convolution), "convolution"),
    **_rules(_windowed(taps.pooling), "max_pool2d_with_indices", "avg_pool2d", "max_pool2d"),
    **_rules(_windowed(taps.regions), "_adaptive_avg_pool2d", "adaptive_max_pool2d"),
    **_rules(_windowed(taps.linear_resize), "upsample_bilinear2d"),
    **_rules(_windowed(taps.cubic_resize), "upsample_bicubic2d"),
    **_rules(_windowed(taps.nearest_resize), "upsample_nearest2d", "_upsample_nearest_exact2d"),
    **_rules(_windowed(taps.padding), "constant_pad_nd", "reflection_pad2d", "replication_pad2d"),
    **_rules(_windowed(taps.shuffled), "pixel_shuffle", "pixel_unshuffle", "max_unpool2d"),
    **_rules(_same, "native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit", "clone"),
    **_rules(_same, "detach", "_to_copy", "alias", "native_dropout", "contiguous", "lift_fresh"),
    **_rules(_over("normalized_shape"), "native_layer_norm"),
    **_rules(_over("dim"), "_softmax", "_log_softmax", "mean", "sum", "amax", "max", "linalg_vector_norm", "argmax"),
    **_rules(_chosen, "slice"),
    **_rules(_divided, "split", "split_with_sizes", "unbind", "select"),
    **_rules(_side_by_side, "cat"),
    **_rules(_moved, "permute", "transpose", "t"),
    **_rules(_regrouped, "view", "_unsafe_view", "reshape", "unsqueeze", "squeeze"),
    **_rules(_pointwise, "expand"),
    **_rules(_product, "mm", "addmm"),
}
