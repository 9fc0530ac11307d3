"""What a training step on CamVid costs: nets, losses, crops, and memory that is kept; pictures a second of one core.

python -m benchmarks.camvid_steps [--only CASE ...] [--rounds 4] [--out FILE]

Each case is a process of its own with one thread: forward in bf16 and channels_last, loss at full size, backward, AdamW,
on eight random pictures; the fastest of the rounds, in seconds of processor time, so that other programs count little.
Labels are in blocks, as real ones are. Writes benchmarks/results/camvid_steps.json after every case.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

from benchmarks.recording import options_of, record

CE = {"name": "cross_entropy"}
SLIM: dict[str, Any] = {"net": "slim_unet", "args": {}, "size": [256, 352], "losses": [CE], "keep": True}
FAST = SLIM | {"net": "fast_scnn", "args": {"head_stride": 4, "auxiliary": True}}
CASES: dict[str, dict[str, Any]] = {
    "slim_unet": SLIM,
    "fast_scnn, head at 1/4, two auxiliary heads": FAST,
    "pidnet, width 0.56": SLIM | {"net": "pidnet", "args": {"width": 0.56}},
    "ddrnet, width 0.6": SLIM | {"net": "ddrnet", "args": {"width": 0.6}},
    "bisenet_v2, width 0.75": SLIM | {"net": "bisenet_v2", "args": {"width": 0.75}},
    "erfnet": SLIM | {"net": "erfnet"},
    "unet, width 16": SLIM | {"net": "unet", "args": {"width": 16}},
    "slim_unet, + Dice": SLIM | {"losses": [CE, {"name": "dice"}]},
    "slim_unet, + Lovász": SLIM | {"losses": [CE, {"name": "lovasz"}]},
    "slim_unet, + Lovász on every second pixel": SLIM | {"losses": [CE, {"name": "lovasz", "args": {"every": 2}}]},
    "slim_unet, 352×480": SLIM | {"size": [352, 480]},
    "slim_unet, 352×480, freed memory given back": SLIM | {"size": [352, 480], "keep": False},
    "fast_scnn, 352×480": FAST | {"size": [352, 480]},
    "fast_scnn, 352×480, freed memory given back": FAST | {"size": [352, 480], "keep": False},
}
BATCH, CLASSES, BLOCK = 8, 11, 8


def measure(case: dict[str, Any], rounds: int) -> dict[str, Any]:
    """One case, in this process."""
    import torch

    from segwright.contracts import Batch
    from segwright.losses import LOSSES, total_loss
    from segwright.models import build_architecture
    from segwright.training.memory import keep_freed, peak_memory_mb

    torch.set_num_threads(1)
    if case["keep"]:
        keep_freed("cpu")
    torch.manual_seed(0)
    height, width = case["size"]
    net = build_architecture(case["net"], CLASSES, case["args"]).train().to(memory_format=torch.channels_last)
    loss = LOSSES["combined"](CLASSES, losses=case["losses"])
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    image = torch.randn(BATCH, 3, height, width).to(memory_format=torch.channels_last)
    blocks = torch.randint(CLASSES, (BATCH, height // BLOCK, width // BLOCK))
    labels = blocks.repeat_interleave(BLOCK, 1).repeat_interleave(BLOCK, 2)
    batch = Batch(image=image, labels=labels, names=("",) * BATCH, weights=torch.ones(BATCH))
    seconds = []
    for _ in range(rounds + 1):
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16):
            outputs = net(image)
        total_loss(loss, outputs, batch).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.process_time() - began)
    return {
        "images_per_core_s": round(BATCH / min(seconds[1:]), 1),
        "parameters": sum(p.numel() for p in net.parameters()),
        "peak_memory_mb": peak_memory_mb("cpu"),
    }


def main() -> None:
    parser = options_of(__doc__, "camvid_steps", rounds=4)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(CASES[arguments.one], arguments.rounds)))
        return
    found: dict[str, Any] = {}
    for title in arguments.only:
        command = [sys.executable, "-m", "benchmarks.camvid_steps", "--one", title, "--rounds", str(arguments.rounds)]
        done = subprocess.run(
            command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, stdout=subprocess.PIPE, text=True
        )
        found[title] = CASES[title] | json.loads(done.stdout.splitlines()[-1])
        print(f"{title:<46} {found[title]['images_per_core_s']} pictures a second of one core", flush=True)
        record(arguments.out, "one training step on CamVid's size: pictures a second of one core", {"cases": found})


if __name__ == "__main__":
    main()
