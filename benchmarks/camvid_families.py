"""Families of architectures on CamVid under one small budget: the same recipe, crop, epochs and thread for each.

python -m benchmarks.camvid_families [--root DIR] [--only NAME ...] [--epochs 10]

Each net starts from random numbers and sees every training picture once an epoch; nothing is tuned for it. So the table
tells how far each gets with little training, not how good it can become: nets that live on ImageNet weights (SegFormer,
ResNet encoders) stand lower here than in their papers. Writes benchmarks/results/camvid_families.json after every net;
nets that are in it already are not trained again. Times are taken at the end, all nets after one another.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.recording import RESULTS, need_camvid

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Fast-SCNN": ("fast_scnn", {}),
    "Fast-SCNN, head at stride 4": ("fast_scnn", {"head_stride": 4, "auxiliary": True}),
    "ENet": ("enet", {}),
    "ERFNet": ("erfnet", {}),
    "BiSeNet V1, ResNet-18": ("bisenet_v1", {"backbone": "resnet18"}),
    "BiSeNet V2": ("bisenet_v2", {}),
    "DDRNet-23-slim": ("ddrnet", {}),
    "PIDNet-S": ("pidnet", {}),
    "U-Net, width 16": ("unet", {"width": 16}),
    "U-Net of smp, ResNet-18": ("smp", {"architecture": "Unet", "encoder": "resnet18"}),
    "SegNet, width 16": ("segnet", {"width": 16}),
    "DeepLab v3, ResNet-18": ("deeplab_v3", {"backbone": "resnet18", "output_stride": 16}),
    "DeepLab v3+, MobileNetV2": ("deeplab_v3_plus", {"backbone": "mobilenetv2_100", "output_stride": 16}),
    "PSPNet, ResNet-18": ("pspnet", {"backbone": "resnet18", "output_stride": 16}),
    "HRNetV2-W18-small": ("hrnet", {"backbone": "hrnet_w18_small"}),
    "SegFormer-B0 of smp": ("smp", {"architecture": "segformer", "encoder": "mit_b0"}),
}
"""Title -> architecture and its arguments: each family in a form that two cores can train."""

OVERRIDES = (
    "augmentation.size=[192,256]",
    "training.batch=8",
    "training.ema_decay=0.99",
    "training.precision=auto",
    "protocol=camvid",
)


def train(root: Path, title: str, epochs: int, runs: Path) -> dict[str, Any]:
    """Train one family in a process of its own with one thread."""
    name, args = FAMILIES[title]
    folder = runs / title.replace(" ", "_").replace(",", "")
    command = [sys.executable, "-m", "segwright.cli", "train", "camvid-cpu", f"data.root={root}", f"model.name={name}"]
    command += [f"model.args={json.dumps(args)}", f"training.epochs={epochs}", f"training.val_every={epochs}"]
    began = time.perf_counter()
    subprocess.run(
        [*command, *OVERRIDES, "--name", folder.name, "--runs", str(runs)],
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    minutes = (time.perf_counter() - began) / 60
    return {"model": name, "args": args, "minutes": round(minutes, 2), **score(folder)}


def score(folder: Path) -> dict[str, Any]:
    """mIoU with its interval, parameters and size of the best model of a run."""
    import numpy as np
    import yaml

    from segwright.evaluation.result import Evaluation
    from segwright.metrics.intervals import miou_interval
    from segwright.models.weights import load_segmenter

    evaluation = Evaluation.load(folder / "evaluation" / "val.json")
    interval = miou_interval(evaluation.counts_NKK, evaluation.groups, protocol="camvid")
    best = folder / "checkpoints" / "best.safetensors"
    segmenter = load_segmenter(best)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    chosen = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))["training"]
    trained = [row for row in rows if row["kind"] == "train"]
    return {
        "miou": round(interval.value, 4),
        "miou_low": round(interval.low, 4),
        "miou_high": round(interval.high, 4),
        "interval": interval.conditions,
        "accuracy": round(evaluation.accuracy, 4),
        "iou": evaluation.iou,
        "parameters": sum(p.numel() for p in segmenter.parameters()),
        "file_mb": round(best.stat().st_size / 1e6, 2),
        "precision": f"{chosen['precision']} {chosen['memory_format']}",
        "images_per_s": float(np.median([row["images_per_s"] for row in trained])),
        "peak_memory_mb": trained[-1]["peak_memory_mb"],
    }


def latencies(titles: list[str], repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds from one 360×480 uint8 picture to class ids, fp32 eager, all threads; random weights cost the same."""
    from segwright.evaluation.speed import measure_latency
    from segwright.labels import load_label_space
    from segwright.models import Segmenter, build_architecture

    found = {}
    for title in titles:
        name, args = FAMILIES[title]
        segmenter = Segmenter(
            build_architecture(name, 11, args), labels=load_label_space("camvid11"), model={"name": name, "args": args}
        )
        measured = measure_latency(segmenter, (360, 480), repeats=repeats, device="cpu")
        found[title] = {"ms": round(measured.median_ms, 1), "fastest_ms": round(measured.fastest_ms, 1)}
        found[title]["threads"] = measured.threads
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of CamVid")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=15, help="calls per net when times are taken; 0 takes none")
    parser.add_argument("--out", type=Path, default=RESULTS / "camvid_families.json")
    arguments = parser.parse_args()
    arguments.root = need_camvid(arguments.root)
    from segwright.files import write_json
    from segwright.runs.environment import environment

    before = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
    found: dict[str, Any] = before.get("families", {}) if before.get("epochs") == arguments.epochs else {}

    def write() -> None:
        content = {
            "what": "CamVid train to val, 11 classes, from scratch, one recipe for all; mIoU under protocol camvid",
            "epochs": arguments.epochs,
            "overrides": OVERRIDES,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": environment(),
            "families": found,
        }
        write_json(arguments.out, content)

    with tempfile.TemporaryDirectory() as runs:
        for title in arguments.only:
            if title not in found:
                found[title] = train(arguments.root, title, arguments.epochs, Path(runs))
                write()
    if arguments.repeats:
        for title, times in latencies([t for t in arguments.only if t in found], arguments.repeats).items():
            found[title] |= times
        write()


if __name__ == "__main__":
    main()
