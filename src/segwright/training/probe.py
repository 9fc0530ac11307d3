"""Which precision and memory format train fastest here? A few measured steps on a copy of the model decide.

No switch wins everywhere: dense nets gain most from bf16 with channels_last, tiny depthwise ones from fp32 with
channels_last. The log says what was measured; the resolved recipe keeps the choice, and resuming uses it.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segwright.inference.running import FORMATS

TOO_SLOW = 2.5  # a mode that takes this many times the best (twice that in its warm-up) is not measured further
TrialStep = Callable[[nn.Module, Tensor, str, str], None]


@dataclass(frozen=True)
class Mode:
    precision: str
    memory_format: str
    seconds: float
    finite: bool = True
    """Whether all gradients were finite: some kernels are wrong on some machines."""

    def __str__(self) -> str:
        spoiled = "" if self.finite else " (wrong gradients)"
        return f"{self.precision} {self.memory_format}: {self.seconds * 1e3:.0f} ms{spoiled}"


def candidates(precision: str, memory_format: str, device: str) -> list[tuple[str, str]]:
    """Modes to try: those that `auto` leaves open. fp16 is tried on GPUs without bf16 only."""
    low = "bf16" if not device.startswith("cuda") or torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    precisions = ["fp32", low] if precision == "auto" else [precision]
    formats = ["channels_last", "contiguous"] if memory_format == "auto" else [memory_format]
    return [(p, f) for f in formats for p in precisions]


def measure_modes(
    model: nn.Module, step: TrialStep, image: Tensor, modes: list[tuple[str, str]], *, device: str, repeats: int = 3
) -> list[Mode]:
    """Time one training step in each mode, fastest first, those with wrong gradients last. Neither `model` nor the random state changes.

    step: runs forward, loss and backward of a copy of the model on `image` in the given precision and memory format.
    Each time is the least of `repeats` after one warm-up step; a hopeless mode is measured once.
    """
    devices = [torch.device(device)] if device.startswith("cuda") else []
    measured: list[Mode] = []
    with torch.random.fork_rng(devices):
        for precision, memory_format in modes:
            trial = copy.deepcopy(model).to(memory_format=FORMATS[memory_format])
            best = float("inf")
            for attempt in range(repeats + 1):
                start = time.perf_counter()
                step(trial, image, precision, memory_format)
                if device.startswith("cuda"):
                    torch.cuda.synchronize()
                seconds = time.perf_counter() - start
                if attempt:
                    best = min(best, seconds)
                limit = (TOO_SLOW if attempt else 2 * TOO_SLOW) * min((m.seconds for m in measured), default=math.inf)
                if seconds > limit:
                    best = min(best, seconds)
                    break
            finite = all(p.grad is None or bool(p.grad.isfinite().all()) for p in trial.parameters())
            measured.append(Mode(precision, memory_format, best, finite))
    return sorted(measured, key=lambda m: (not m.finite, m.seconds))
