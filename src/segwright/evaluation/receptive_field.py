"""Receptive fields: how far each layer can see, and how far it does see.

Theoretical: the square of input pixels on which one value of a layer can depend, found exactly by following intervals
through the network's operations (`extents`). Where a value depends on the whole picture (global pooling, attention),
that is said, and the field without those parts is stated. Known values: VGG-16 pool5 212, Inception v3 1311, MobileNet
v1 315 (Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019).

Effective: the mean absolute gradient of the value in the middle of a layer, all channels added, with respect to the
input (Luo, Li, Urtasun, Zemel, "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks",
NIPS 2016, arXiv 1701.04128). Most of it lies in a small part of the theoretical field.

Letters: B batch, C channels, H W pixels, h w reduced sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from segwright.contracts import Outputs, UserError
from segwright.evaluation.extents import Seen, Tracker
from segwright.evaluation.layers import Layer, missing, stages, watching
from segwright.models.segmenter import Segmenter
from segwright.models.tracing import evaluation_mode, without_memory

SMALLEST, LARGEST = 1024, 8192
"""Sides of the pictures that are tried until the field fits inside, pixels."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class FieldRow:
    """One layer.

    kernel, stride, dilation, padding: of the layer itself, (rows, columns); None where it has none. jump: input
    pixels from one position to the next, (rows, columns). field: (height, width) in input pixels of the position that
    sees most, without what mixes all positions; 0 where only that reaches it. whole: whether something on the way mixes
    all positions, so that the true field is the whole picture.
    """

    name: str
    type: str
    kernel: tuple[int, int] | None
    stride: tuple[int, int] | None
    dilation: tuple[int, int] | None
    padding: tuple[int, int] | None
    jump: tuple[float, float]
    field: tuple[int, int]
    whole: bool

    @property
    def looks(self) -> bool:
        """Whether the layer itself sees more than one position, or changes the grid."""
        return self.kernel is not None and (max(self.kernel) > 1 or max(self.stride or (1,)) > 1)


@dataclass(frozen=True, kw_only=True)
class ReceptiveField:
    """The layers of a network in the order of their calls, its stages and output. side: of the picture, pixels.

    complete: False where some field is larger than the largest picture tried; then it is at least what is stated.
    """

    title: str
    side: int
    rows: tuple[FieldRow, ...]
    stages: tuple[FieldRow, ...]
    complete: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class EffectiveField:
    """Where the middle value of a layer looks.

    heat_HW: float32 [H, W], the mean absolute gradient, in sum 1. centre: (row, column) of its centre of mass,
    pixels. radius50, radius95: of the circles around the centre that hold 50 and 95 % of the sum, pixels.
    """

    layer: str
    heat_HW: NDArray[np.float32]
    centre: tuple[float, float]
    radius50: float
    radius95: float


def theoretical_field(architecture: nn.Module, *, title: str = "") -> ReceptiveField:
    """The theoretical field of every layer, of the stages and of the output, on tensors without memory.

    The picture doubles from 1024×1024 until all fields fit inside. Resizing counts with the pixels that it reads.
    Attention inside windows counts as seeing the whole picture, which is more than it does.
    """
    layers = stages(architecture)
    side, fits = SMALLEST, False
    while not fits and side <= LARGEST:
        used = -(-side // int(getattr(architecture, "stride", 1))) * int(getattr(architecture, "stride", 1))
        rows, own = _fields(architecture, layers, used)
        fits = all(_fits(r, used) for r in (*rows, *own))
        side *= 2
    return ReceptiveField(title=title, side=used, rows=tuple(rows), stages=tuple(own), complete=fits)


def _fits(row: FieldRow, side: int) -> bool:
    """Some position sees its whole field inside the picture: then the largest is not cut."""
    return all(field + (jump if jump < side else 0) < side for field, jump in zip(row.field, row.jump, strict=True))


def _fields(architecture: nn.Module, layers: Sequence[Layer], side: int) -> tuple[list[FieldRow], list[FieldRow]]:
    found = _follow(architecture, side)
    names = {m: n for n, m in architecture.named_modules() if not any(True for _ in m.children())}
    rows = [_row(names[m], m, seen, side) for m, seen in found.items() if m in names and isinstance(seen, Seen)]
    return rows, [_row(s.title, s.module, _picked(found[s.module], s), side) for s in layers]


def _follow(architecture: nn.Module, side: int) -> dict[nn.Module, Any]:
    """What the last output of every module sees, in the order in which they finish: like its output, of `Seen`."""
    picture = torch.empty(1, 3, side, side, device="meta")
    tracker = Tracker(picture)
    found: dict[nn.Module, Any] = {}

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        found.pop(module, None)
        found[module] = _seen(tracker, output)

    hooks = [m.register_forward_hook(note) for m in architecture.modules()]
    try:
        with evaluation_mode(architecture), torch.no_grad(), tracker:
            functional_call(architecture, without_memory(architecture), (picture,))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _seen(tracker: Tracker, output: Any) -> Any:
    if isinstance(output, Tensor):
        return tracker.known.get(output)
    if isinstance(output, Outputs):
        return Outputs(_seen(tracker, output.logits_BKhw))
    if isinstance(output, list | tuple):
        return [_seen(tracker, part) for part in output]
    return None


def _row(name: str, module: nn.Module, seen: Seen, side: int) -> FieldRow:
    own = [_pair(getattr(module, key, None)) for key in ("kernel_size", "stride", "dilation", "padding")]
    own = own if own[0] else [None] * 4
    return FieldRow(
        name=name,
        type=type(module).__name__,
        kernel=own[0],
        stride=own[1],
        dilation=own[2],
        padding=own[3],
        jump=(side / seen.rows.length, side / seen.columns.length),
        field=(seen.rows.largest, seen.columns.largest),
        whole=seen.rows.whole or seen.columns.whole,
    )


def _picked(value: Any, layer: Layer) -> Seen:
    """The wanted one of a module's outputs; `layer.pick` looks for tensors, but here each is a `Seen`."""
    if isinstance(value, Outputs):
        return value.logits_BKhw  # type: ignore[return-value]
    if isinstance(value, list):
        stands = [torch.empty(0) for _ in value]
        chosen = layer.pick(stands)
        return next(v for v, s in zip(value, stands, strict=True) if s is chosen)
    return value


def _pair(value: Any) -> tuple[int, int] | None:
    if isinstance(value, int):
        return (value, value)
    if isinstance(value, tuple | list) and value and all(isinstance(v, int) for v in value):
        return (int(value[0]), int(value[-1]))
    return None


def effective_fields(
    segmenter: Segmenter,
    pictures: Iterable[Tensor],
    layers: Sequence[Layer],
    *,
    count: int,
    progress: Progress = lambda done, total: None,
) -> list[EffectiveField]:
    """The effective field of the middle value of each layer, averaged over `count` pictures, in evaluation mode.

    pictures: uint8 [B, 3, H, W], all of one size that the architecture takes, B any. Raises
    UserError for a layer without a map, and where every gradient is zero (a network whose signal died).
    """
    total: dict[str, Tensor] = {}
    done = 0
    with evaluation_mode(segmenter), torch.enable_grad(), watching(layers) as seen:
        for image in islice(pictures, count):
            normal = segmenter.normalise(image).requires_grad_()
            segmenter.architecture(normal)
            if error := missing(layers, seen):
                raise error
            for number, layer in enumerate(layers, start=1):
                value = seen[layer.title]
                h, w = value.shape[-2:]
                middle = value[..., h // 2, w // 2].sum()
                (gradient,) = torch.autograd.grad(middle, normal, retain_graph=number < len(layers))
                heat = gradient.abs().sum((0, 1)).double()
                total[layer.title] = total[layer.title] + heat if layer.title in total else heat
            done += len(image)
            progress(done, count)
    return [_effective(layer.title, total[layer.title]) for layer in layers]


def _effective(title: str, heat: Tensor) -> EffectiveField:
    if not (heat.isfinite().all() and heat.sum() > 0):
        raise UserError(
            f"the middle value of '{title}' depends on no pixel (all gradients are zero or not finite): the "
            "weights are damaged, or the network's signal died. Choose another layer, or trained weights."
        )
    share_HW = (heat / heat.sum()).cpu().numpy()
    rows, columns = np.arange(share_HW.shape[0]), np.arange(share_HW.shape[1])
    centre = (float(share_HW.sum(1) @ rows), float(share_HW.sum(0) @ columns))
    radius50, radius95 = (energy_radius(share_HW, centre, part) for part in (0.5, 0.95))
    return EffectiveField(
        layer=title, heat_HW=share_HW.astype(np.float32), centre=centre, radius50=radius50, radius95=radius95
    )


def energy_radius(share_HW: NDArray[np.floating[Any]], centre: tuple[float, float], part: float) -> float:
    """Radius in pixels of the smallest circle around `centre` that holds `part` (0..1) of the sum of float [H, W]."""
    height, width = share_HW.shape
    rows, columns = np.arange(height)[:, None] - centre[0], np.arange(width)[None] - centre[1]
    distance = np.hypot(rows, columns).ravel()
    order = np.argsort(distance, kind="stable")
    held = np.cumsum(share_HW.ravel()[order].astype(np.float64))
    return float(distance[order][min(int(np.searchsorted(held, part * held[-1])), distance.size - 1)])
