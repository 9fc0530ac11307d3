"""Memory of a training, and when it runs out: knowing it, saying what would fit, and running a batch in parts."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import psutil
import torch
from torch import Tensor

from segwright.contracts import Batch, SegwrightError
from segwright.data.device import free_on

OVERHEAD = 1.5
"""Memory of a training step over that of the tensors kept for its backward pass: gradients of activations, work space."""
_CPU_ALLOCATOR = "DefaultCPUAllocator"
_KEEP = ((-4, 0), (-1, -1))
"""glibc's M_MMAP_MAX: no blocks outside the heap; M_TRIM_THRESHOLD: the heap never shrinks."""


class OutOfMemory(SegwrightError):
    """A step or a validation does not fit into memory; the message says what would."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the device or of the machine is used up."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and (_CPU_ALLOCATOR in str(error) or "out of memory" in str(error))


def keep_freed(device: str) -> None:
    """On a processor: from here on this process keeps the memory that it frees, and takes it again.

    glibc gives blocks above 32 MB back to the system at once. A training step frees and takes many of them, and the
    system fills each one with zeros again: a third of the time of a small network. Other C libraries are left alone, as
    is a process whose environment sets glibc's allocator.
    """
    if device != "cpu" or any(key.startswith("MALLOC_") or key == "GLIBC_TUNABLES" for key in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for setting, value in _KEEP:
            mallopt(setting, value)


def release(device: str) -> None:
    """Give cached memory of a GPU back, so that the next try finds it in one piece."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def peak_memory_mb(device: str) -> int:
    """Most memory used so far, MB: of the GPU where there is one, else of this process."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated() / 1e6)
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset / 1e6)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def can_halve(pictures: int, parts: int) -> bool:
    """Whether twice as many parts still hold two pictures each, as batch normalisation needs."""
    return pictures >= 4 * parts


def in_parts(batch: Batch, parts: int) -> Iterator[tuple[Batch, float]]:
    """The batch in up to `parts` nearly equal parts of at least two pictures, each with its share of the pictures."""
    pictures = len(batch.names)
    count = max(1, min(parts, pictures // 2))
    if count == 1:
        yield batch, 1.0
        return
    borders = [round(i * pictures / count) for i in range(count + 1)]
    for start, end in pairwise(borders):
        yield _pictures(batch, start, end), (end - start) / pictures


def _pictures(batch: Batch, start: int, end: int) -> Batch:
    chosen = slice(start, end)
    return replace(
        batch,
        image=batch.image[chosen],
        labels=batch.labels[chosen],
        weights=batch.weights[chosen],
        names=batch.names[chosen],
        known_labelled=None,
    )


def kept_bytes(compute: Callable[[], Tensor]) -> int:
    """Bytes that autograd keeps for the backward pass of what `compute` returns, each storage once, weights apart."""
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if not (tensor.is_leaf and tensor.requires_grad):
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = compute()
    del result
    return sum(seen.values())


@dataclass(frozen=True)
class Estimate:
    """What a training step needs. pixel_bytes: per pixel of the batch; fixed_bytes: gradients and optimiser to come."""

    pixel_bytes: float
    fixed_bytes: int
    free_bytes: int

    def need(self, pictures: int, height: int, width: int) -> float:
        """Bytes of a step."""
        return self.fixed_bytes + self.pixel_bytes * pictures * height * width

    def batch(self, height: int, width: int) -> int:
        """Pictures that fit in a step; 0 when not even one does."""
        return max(0, math.floor((self.free_bytes - self.fixed_bytes) / (self.pixel_bytes * height * width)))

    def size(self, pictures: int, height: int, width: int, stride: int) -> tuple[int, int] | None:
        """The crop of the same shape that fits with this batch, in multiples of the stride; None when none does."""
        share = (self.free_bytes - self.fixed_bytes) / (self.pixel_bytes * pictures * height * width)
        if share <= 0:
            return None
        smaller = [int(side * min(1.0, math.sqrt(share))) // stride * stride for side in (height, width)]
        return (smaller[0], smaller[1]) if min(smaller) > 0 else None


def estimate(
    batch: Batch, loss_of: Callable[[Batch], Tensor], *, fixed_bytes: int, stride: int, device: str
) -> Estimate | None:
    """Measure what two pictures of the batch need, in smaller crops where the whole ones do not fit; None if none fits.

    loss_of: forward pass and loss. It is only called, never differentiated; what it changes the caller puts back.
    """
    height, width = batch.image.shape[-2:]
    free = free_on(device)
    for divisor in (1, 2, 4, 8):
        h, w = (max(stride, side // divisor // stride * stride) for side in (height, width))
        few = _pictures(batch, 0, 2)
        small = replace(few, image=few.image[..., :h, :w], labels=few.labels[..., :h, :w])
        try:
            kept = kept_bytes(lambda: loss_of(small))  # noqa: B023  called at once
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            continue
        return Estimate(OVERHEAD * kept / (len(small.names) * h * w), fixed_bytes, free)
    return None


def advice(found: Estimate | None, batch: Batch, *, stride: int, device: str) -> str:
    """One sentence: what the step needs, what is free, and the batch and the crop that would fit."""
    pictures, (height, width) = len(batch.names), batch.image.shape[-2:]
    step = f"{pictures} crops of {height}×{width}"
    if found is None:
        return (
            f"not even two crops of an eighth of {height}×{width} fit: another program may hold the memory of {device}"
        )
    needed, free = found.need(pictures, height, width) / 1e9, found.free_bytes / 1e9
    text = f"{step} need about {needed:.2f} GB, and {device} has {free:.2f} GB free"
    if needed <= free:
        return f"{text}, so it should have fitted: another program may have taken the memory for a moment"
    fits = []
    if fewer := found.batch(height, width):
        fits.append(f"training.batch={fewer} with these crops")
    if smaller := found.size(pictures, height, width, stride):
        fits.append(f"augmentation.size=[{smaller[0]},{smaller[1]}] with this batch")
    return f"{text}; {' or '.join(fits)} would fit" if fits else f"{text}; no batch of this model fits there"
