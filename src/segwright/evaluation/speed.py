"""How long a network takes for one picture on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from segwright.build import pick_device
from segwright.contracts import UserError
from segwright.inference.running import computing
from segwright.models.segmenter import Segmenter

WARM_UP = 2


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Time from a picture in memory (uint8) to class ids, one picture at a time.

    median_ms, fastest_ms, slowest_ms: of `repeats` calls after the warm-up, milliseconds. threads: of torch on the CPU.
    size: height and width of the picture, pixels.
    """

    median_ms: float
    fastest_ms: float
    slowest_ms: float
    repeats: int
    size: tuple[int, int]
    device: str
    precision: str
    threads: int

    @property
    def conditions(self) -> str:
        """What was measured, in words."""
        where = f"{self.device}, {self.threads} threads" if self.device == "cpu" else self.device
        height, width = self.size
        return (
            f"one uint8 picture of {height}×{width} to class ids, {self.precision}, on {where}: "
            f"median of {self.repeats} after {WARM_UP} to warm up"
        )


def measure_latency(
    segmenter: Segmenter,
    size: tuple[int, int],
    *,
    repeats: int = 10,
    device: str = "auto",
    precision: str = "fp32",
) -> Latency:
    """Time `Segmenter.ids` in evaluation mode. The model is moved to the device and left there.

    Nothing else should run meanwhile: other programs make every number larger. Raises UserError for less than one
    repeat.
    """
    if repeats < 1:
        raise UserError(f"repeats is {repeats}; allowed are whole numbers from 1.")
    where = pick_device(device)
    model = segmenter.to(where).eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=generator).to(where)
    seconds = []
    with computing(where, precision):
        for _ in range(WARM_UP + repeats):
            start = time.perf_counter()
            model.ids(image)
            if where.startswith("cuda"):
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    timed = 1000 * np.array(seconds[WARM_UP:])
    return Latency(
        median_ms=float(np.median(timed)),
        fastest_ms=float(timed.min()),
        slowest_ms=float(timed.max()),
        repeats=repeats,
        size=size,
        device=where,
        precision=precision,
        threads=torch.get_num_threads(),
    )
