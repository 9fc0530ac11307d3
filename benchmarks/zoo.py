"""Every architecture with its default arguments: parameters, arithmetic, one training step, one large picture.

python -m benchmarks.zoo [--only NAME ...] [--phases facts training predicting]

Each net has processes of its own: `training_mb` is the peak memory of one after an optimiser step on two pictures of
256×256 (or the next multiple of its stride), `predicting_mb` of another after the class ids of one picture of
1024×2048, both in fp32, PyTorch and weights included. The limit of both is 8 GB. Writes benchmarks/results/zoo.json, from
which docs/models/table.md has its figures.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.recording import RESULTS

LIMIT_MB = 8000
CLASSES = 19
PHASES = ("facts", "training", "predicting")

FORMS: dict[str, dict[str, Any]] = {
    "smp": {"architecture": "Unet", "encoder": "resnet18"},
    "torchvision": {"architecture": "deeplabv3_resnet50"},
    "transformers": {"family": "segformer"},
}
"""Arguments of the adapters, which have no natural default."""


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1_000_000


def one(name: str, phase: str) -> dict[str, Any]:
    """One measurement of one net, in this process."""
    import torch

    from segwright.contracts import Batch
    from segwright.labels import load_label_space
    from segwright.losses import LOSSES, total_loss
    from segwright.models import Segmenter, build_architecture
    from segwright.models.summary import summarise

    torch.manual_seed(0)
    args = FORMS.get(name, {})
    model = {"name": name, "args": args}
    segmenter = Segmenter(build_architecture(name, CLASSES, args), labels=load_label_space("cityscapes19"), model=model)
    generator = torch.Generator().manual_seed(0)

    def pictures(batch: int, height: int, width: int) -> torch.Tensor:
        return torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, generator=generator)

    if phase == "facts":
        found = summarise(segmenter, (512, 1024))
        return {
            "parameters": sum(p.numel() for p in segmenter.parameters()),
            "gmacs": round(found.macs / 1e9, 1),
            "stride": segmenter.stride,
        }
    if phase == "training":
        side = -(-256 // segmenter.stride) * segmenter.stride
        labels = torch.randint(0, CLASSES, (2, side, side), generator=generator)
        batch = Batch(image=pictures(2, side, side), labels=labels, names=("a", "b"), weights=torch.ones(2))
        optimizer = torch.optim.SGD(segmenter.parameters(), lr=1e-3, momentum=0.9)
        began = time.perf_counter()
        loss = total_loss(LOSSES["cross_entropy"](CLASSES), segmenter.train().outputs(batch.image), batch)
        loss.backward()
        optimizer.step()
        seconds = time.perf_counter() - began
        return {"training_mb": peak_mb(), "training_s": round(seconds, 2), "first_loss": round(loss.item(), 3)}
    began = time.perf_counter()
    ids = segmenter.eval().ids(pictures(1, 1024, 2048))
    seconds = time.perf_counter() - began
    assert ids.shape == (1, 1024, 2048)
    return {"predicting_mb": peak_mb(), "predicting_s": round(seconds, 2)}


def measure(name: str, phases: Sequence[str]) -> dict[str, Any]:
    """Some phases of one net, each in a process of its own."""
    found: dict[str, Any] = {"args": FORMS.get(name, {})}
    for phase in phases:
        command = [sys.executable, "-m", "benchmarks.zoo", "--one", name, "--phase", phase]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found |= json.loads(done.stdout.splitlines()[-1])
        else:
            found[phase] = f"failed: {done.stderr.strip().splitlines()[-1][:200]}"
    print(name, found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=PHASES)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--phase", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS / "zoo.json")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments.one, arguments.phase)))
        return
    from segwright.files import write_json
    from segwright.models import MODELS
    from segwright.runs.environment import environment

    found: dict[str, Any] = {}
    if arguments.out.is_file():
        found = json.loads(arguments.out.read_text(encoding="utf-8"))["nets"]
    for name in arguments.only or MODELS:
        found[name] = found.get(name, {}) | measure(name, arguments.phases)
        content = {
            "what": "default forms, 19 classes; MB are peaks of whole processes; GMACs at 512×1024",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": environment(),
            "nets": found,
        }
        write_json(arguments.out, content)
    too_large = [n for n, f in found.items() if max(f.get("training_mb", 0), f.get("predicting_mb", 0)) > LIMIT_MB]
    print(f"over {LIMIT_MB} MB: {', '.join(too_large) or 'none'}")


if __name__ == "__main__":
    main()
