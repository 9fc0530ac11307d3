"""What a network costs: parameters, arithmetic, memory and time for one picture.

Parameters, multiply-adds and memory are counted on tensors without memory: the same numbers on every machine. Time is
measured, model after model in turn, so that a busy minute of the machine hits all of them alike.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segwright.contracts import UserError
from segwright.evaluation.speed import WARM_UP, Latency
from segwright.inference.running import computing, no_training
from segwright.models.segmenter import Segmenter
from segwright.models.summary import summarise
from segwright.models.tracing import evaluation_mode, trace, without_memory

MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one model, for one picture of `size` (height, width in pixels).

    macs: multiply-adds. memory: bytes, weights and what a forward pass in fp32 to full-size scores holds at most.
    latency: None where it was not measured.
    """

    size: tuple[int, int]
    parameters: int
    macs: int
    memory: int
    latency: Latency | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data: memory in bytes, time in milliseconds."""
        time_ms = None if self.latency is None else self.latency.median_ms
        return {
            "size": list(self.size),
            "parameters": self.parameters,
            "macs": self.macs,
            "memory": self.memory,
            "latency_ms": time_ms,
        }


def count_costs(segmenter: Segmenter, size: tuple[int, int]) -> Cost:
    """Everything but the time; nothing is computed, so any size takes a moment."""
    found = summarise(segmenter, size)
    parameters = sum(p.numel() for p in segmenter.parameters())
    return Cost(size=size, parameters=parameters, macs=found.macs, memory=peak_memory(segmenter, size))


def peak_memory(module: nn.Module, size: tuple[int, int]) -> int:
    """Bytes: parameters and buffers, and the most that tensors of one forward pass in fp32 take at the same time.

    What an operation takes for itself inside (the buffers of a convolution, say) is not known here and comes on top.
    """
    tensors = without_memory(module)
    held = _Held()
    with evaluation_mode(module), torch.no_grad(), held:
        trace(module, tensors, size)
    weights = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors.values()}
    return held.peak + sum(weights.values())


class _Held(TorchDispatchMode):
    """Notes how many bytes of new tensors are alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in given:
                self._enter(tensor.untyped_storage())
        return result

    def _enter(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.alive:
            return
        self.alive.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._leave, key, size)

    def _leave(self, key: int, size: int) -> None:
        self.alive.discard(key)
        self.now -= size


def measure_in_turn(
    segmenters: Mapping[str, Segmenter],
    size: tuple[int, int],
    *,
    repeats: int = 10,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Latency]:
    """The time of `Segmenter.ids` of several models, one call of each in every round, in fp32.

    size: height and width of the picture, random pixels. device: as torch names it; the models are moved there and
    stay. progress: called with (done, total) rounds. Raises UserError for less than one repeat.
    """
    if repeats < 1:
        raise UserError(f"repeats is {repeats}; allowed are whole numbers from 1.")
    names = list(segmenters)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=generator).to(device)
    image = image.contiguous(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for model in segmenters.values():
        model.to(device).to(memory_format=torch.channels_last)
    for done in range(WARM_UP + repeats):
        shift = done % len(names)
        for name in names[shift:] + names[:shift]:
            with no_training(segmenters[name]), computing(device, "fp32"):
                start = time.perf_counter()
                segmenters[name].ids(image)
                if device.startswith("cuda"):
                    torch.cuda.synchronize()
                seconds[name].append(time.perf_counter() - start)
        if progress is not None:
            progress(done + 1, WARM_UP + repeats)
    return {name: _latency(values[WARM_UP:], size, device) for name, values in seconds.items()}


def _latency(seconds: list[float], size: tuple[int, int], device: str) -> Latency:
    timed = 1000 * np.array(seconds)
    return Latency(
        median_ms=float(np.median(timed)),
        fastest_ms=float(timed.min()),
        slowest_ms=float(timed.max()),
        repeats=len(seconds),
        size=size,
        device=device,
        precision="fp32",
        threads=torch.get_num_threads(),
    )
