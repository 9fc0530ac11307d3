"""Which precision and memory format train fastest here? A few measured steps on a copy of the model decide.

No switch wins everywhere: dense nets gain most from bf16 with channels_last, tiny depthwise ones from fp32 with
channels_last. The log says what was measured; the resolved recipe keeps the choice, and resuming uses it.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from segwright.contracts import Batch
from segwright.inference.running import FORMATS

TOO_SLOW = 2.5  # a mode that takes this many times the best (twice that in its warm-up) is not measured further
TrialStep = Callable[[nn.Module, Tensor, str, str], None]


@dataclass(frozen=True)
class Mode:
    """A measured mode. sound: all gradients were finite, and those of doubtful layers agree with fp32."""

    precision: str
    memory_format: str
    seconds: float
    sound: bool = True

    def __str__(self) -> str:
        spoiled = "" if self.sound else " (wrong gradients)"
        return f"{self.precision} {self.memory_format}: {self.seconds * 1e3:.0f} ms{spoiled}"


def doubtful_layers(model: nn.Module) -> list[nn.Conv2d]:
    """Grouped, dilated convolutions: their bf16 weight gradients are wrong on CPUs with channels_last in torch 2.15."""
    return [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1 and max(m.dilation) > 1]


class GradientCheck:
    """Watches the doubtful layers of a model during one step and computes their weight gradients again in fp32."""

    TOLERANCE = 0.1  # relative; bf16 alone stays under 0.02

    def __init__(self, model: nn.Module) -> None:
        self.layers = doubtful_layers(model)
        self.seen: dict[nn.Module, list[Tensor]] = {layer: [] for layer in self.layers}
        self.hooks = [layer.register_forward_hook(self._forward) for layer in self.layers]

    def _forward(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.seen[layer] = [inputs[0].detach()]
        output.register_hook(self.seen[layer].append)

    def passed(self) -> bool:
        """Whether the gradients of the step since construction agree with fp32. Stops watching."""
        for hook in self.hooks:
            hook.remove()
        return all(self._agrees(layer, *self.seen[layer]) for layer in self.layers if len(self.seen[layer]) == 2)

    def _agrees(self, layer: nn.Conv2d, image: Tensor, gradient: Tensor) -> bool:
        if layer.weight.grad is None or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            return True
        shape, place = list(layer.weight.shape), (layer.stride, layer.padding, layer.dilation, layer.groups)
        exact = conv2d_weight(image.float().contiguous(), shape, gradient.float().contiguous(), *place)
        error = (layer.weight.grad - exact).norm() / exact.norm().clamp_min(1e-12)
        return bool(error < self.TOLERANCE)


def random_batch(pictures: int, size: Sequence[int], num_classes: int, *, device: str) -> Batch:
    """Noise of the size (height, width) of a training crop, the same at each call, with a class at every pixel."""
    height, width = size
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (pictures, 3, height, width), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, num_classes, (pictures, height, width), generator=generator)
    names = tuple(f"noise {number}" for number in range(pictures))
    return Batch(image=image, labels=labels, names=names, weights=torch.ones(pictures)).to(device)


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
            check, sound = GradientCheck(trial), True
            best = float("inf")
            for attempt in range(repeats + 1):
                start = time.perf_counter()
                step(trial, image, precision, memory_format)
                if device.startswith("cuda"):
                    torch.cuda.synchronize()
                seconds = time.perf_counter() - start
                if attempt == 0:
                    sound = check.passed() and all(
                        p.grad is None or p.grad.isfinite().all() for p in trial.parameters()
                    )
                if attempt:
                    best = min(best, seconds)
                limit = (TOO_SLOW if attempt else 2 * TOO_SLOW) * min((m.seconds for m in measured), default=math.inf)
                if seconds > limit:
                    best = min(best, seconds)
                    break
            measured.append(Mode(precision, memory_format, best, sound))
    return sorted(measured, key=lambda m: (not m.sound, m.seconds))
