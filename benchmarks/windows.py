"""Class ids of larger and larger pictures, whole and with sliding windows: peak memory and time, each in a process of its own.

Fast-SCNN with random weights and 19 classes, in fp32 on the CPU; pictures of noise, 2048 wide. Memory is what a prediction takes
beyond the process that has loaded everything, predicted a window, and holds the picture.

python -m benchmarks.windows [--most 4096] [--window 512]   writes benchmarks/results/windows.json
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Any

from benchmarks.recording import PROJECT, options_of, record

WIDTH = 2048


def one(height: int, window: int) -> dict[str, float]:
    """Peak megabytes and seconds of a prediction in this process. window: 0 for the whole picture."""
    import numpy as np
    import torch

    from segwright.inference.predictor import Predictor
    from segwright.inference.tiling import Tiled, Window
    from segwright.labels import load_label_space
    from segwright.models import Segmenter, build_architecture

    space = load_label_space("cityscapes19")
    torch.manual_seed(0)
    net = build_architecture("fast_scnn", space.num_classes, {}, where="bench")
    model = Segmenter(net, labels=space, model={"name": "fast_scnn", "args": {}})
    predictor = Predictor(Tiled(model, Window(window, window)) if window else model, device="cpu")
    rgb = np.random.default_rng(0).integers(0, 256, (height, WIDTH, 3), dtype=np.uint8)
    predictor.predict(rgb[:512, :512])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    predictor.predict(rgb)
    seconds = time.perf_counter() - began
    return {
        "megabytes": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024),
        "seconds": round(seconds, 2),
    }


def in_a_process(height: int, window: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.windows", "--height", str(height), "--window", str(window)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    options = options_of(__doc__, "windows", most=4096, window=512, height=0).parse_args()
    if options.height:  # the child
        print(json.dumps(one(options.height, options.window)))
        return
    heights = [h for h in (512, 1024, 2048, 4096, 8192, 16384) if h <= options.most]
    found = {
        f"{height}x{WIDTH}": {
            "whole": in_a_process(height, 0),
            f"windows of {options.window}": in_a_process(height, options.window),
        }
        for height in heights
    }
    record(options.out, "class ids of large pictures, whole and with sliding windows, Fast-SCNN", {"pictures": found})
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
