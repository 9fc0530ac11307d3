"""The work of one process of a bench: load, warm up, time calls, and print it all as one line of JSON.

python -m segwright.evaluation.bench_process '{"way": ..., "size": [512, 1024], "threads": 2, "repeats": 20, "device": "cpu"}'
"""

from __future__ import annotations

import json
import math
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.evaluation.ways import Way, caller

WARM_UP = 2


def picture(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Blocks of colour with noise: uint8 [H, W, 3]. Made without NumPy's generators, which take 7 MB of what is measured."""
    chance = random.Random(seed)

    def drawn(*shape: int) -> NDArray[np.uint8]:
        return np.frombuffer(chance.randbytes(math.prod(shape)), np.uint8).reshape(shape)

    coarse = drawn(-(-size[0] // 32), -(-size[1] // 32), 3) % 200
    whole: NDArray[np.uint8] = coarse.repeat(32, 0).repeat(32, 1)[: size[0], : size[1]]
    return whole + drawn(*size, 3) % 56


def time_way(way: Way, size: tuple[int, int], *, threads: int, repeats: int, device: str) -> dict[str, Any]:
    """Milliseconds of each call, seconds from the start of loading to the first answer, and MB of this process at most."""
    image = picture(size)
    started = time.perf_counter()
    call = caller(way, threads=threads, device=device)
    call(image)
    first = time.perf_counter() - started
    for _ in range(WARM_UP - 1):
        call(image)
    milliseconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call(image)
        milliseconds.append(1000 * (time.perf_counter() - start))
    return {"milliseconds": milliseconds, "first_s": first, "peak_mb": _peak_mb(way, device)}


def _peak_mb(way: Way, device: str) -> float:
    """Most memory so far, MB: of this process, or what torch took of the GPU that it runs on."""
    if way.backend == "torch" and device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")
    if status.is_file():  # what getrusage tells there may be of the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset / 1e6)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def main() -> None:
    asked = json.loads(sys.argv[1])
    height, width = asked["size"]
    options = {key: asked[key] for key in ("threads", "repeats", "device")}
    print(json.dumps(time_way(Way.from_dict(asked["way"]), (height, width), **options)))


if __name__ == "__main__":
    main()
