"""Five losses on CamVid: one small net, one recipe, three seeds each, about five minutes a run on one core.

python -m benchmarks.losses [--root DIR] [--only NAME ...] [--seeds 0 1 2] [--epochs 20]

Fast-SCNN starts from random numbers and is scored once, after the last epoch, so that no epoch is chosen by its score.
CamVid's val is one clip: an interval over its pictures would be too narrow. What is asked is whether another seed would
turn the order round, so the interval of a mean is Student's over the seeds (two degrees of freedom with three: wide),
and a loss is set beside cross entropy seed by seed. Writes benchmarks/results/losses.json after every run; runs that are
in it already are not made again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recording import RESULTS, need_camvid

LOSSES: dict[str, tuple[str, dict[str, Any]]] = {
    "cross entropy": ("cross_entropy", {}),
    "cross entropy, log class weights": ("cross_entropy", {"class_weights": "log"}),
    "focal, γ 2": ("focal", {"gamma": 2.0}),
    "cross entropy + Dice": (
        "combined",
        {"losses": [{"name": "cross_entropy", "weight": 0.6}, {"name": "dice", "weight": 0.4}]},
    ),
    "cross entropy + Lovász": (
        "combined",
        {"losses": [{"name": "cross_entropy", "weight": 0.5}, {"name": "lovasz", "weight": 0.5}]},
    ),
}
"""Title -> loss and its arguments; the first is what the others are compared with."""

OVERRIDES = (
    "model.args={}",
    "augmentation.size=[192,256]",
    "training.batch=8",
    "training.ema_decay=0.99",
    "training.precision=fp32",
    "training.memory_format=channels_last",
    "protocol=camvid",
)


def train(root: Path, title: str, seed: int, epochs: int, runs: Path) -> dict[str, Any]:
    """Train once, in a process of its own with one thread, and read its score."""
    from segwright.evaluation.result import Evaluation

    name, args = LOSSES[title]
    folder = runs / f"{list(LOSSES).index(title)}-{seed}"
    command = [sys.executable, "-m", "segwright.cli", "train", "camvid-cpu", f"data.root={root}", f"seed={seed}"]
    command += [f"loss.name={name}", f"loss.args={json.dumps(args)}", f"training.epochs={epochs}"]
    command += [f"training.val_every={epochs}", *OVERRIDES, "--name", folder.name, "--runs", str(runs)]
    began = time.perf_counter()
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    minutes = (time.perf_counter() - began) / 60
    evaluation = Evaluation.load(folder / "evaluation" / "val.json")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "seed": seed,
        "miou": round(evaluation.miou, 4),
        "accuracy": round(evaluation.accuracy, 4),
        "iou": {name: None if iou is None else round(iou, 4) for name, iou in evaluation.iou.items()},
        "minutes": round(minutes, 2),
        "images_per_s": float(np.median([row["images_per_s"] for row in rows if row["kind"] == "train"])),
    }


def over_seeds(values: Sequence[float]) -> list[float | None]:
    """Mean and bounds of Student's 95 % interval of it, rounded; no bounds for fewer than two values."""
    from segwright.metrics.seeds import spread

    found = spread(values)
    return [None if math.isnan(v) else round(v, 4) for v in (found.mean, found.low, found.high)]


def beside(made: Sequence[dict[str, Any]], first: Mapping[int, float]) -> dict[str, Any]:
    """The difference to the mIoU that the first line has with the same seed, and what it says; {} without a common seed."""
    differences = [run["miou"] - first[run["seed"]] for run in made if run["seed"] in first]
    if not differences:
        return {}
    found = over_seeds(differences)
    return {"minus_first": found, "verdict": verdict(*found[1:])}


def verdict(low: float | None, high: float | None) -> str:
    """What an interval of a difference says."""
    if low is not None and low > 0:
        return "better"
    return "worse" if high is not None and high < 0 else "cannot tell"


def table(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """A line for each loss: mean mIoU with its interval, and the difference to the first loss, seed by seed."""
    first = {run["seed"]: run["miou"] for run in runs.get(next(iter(LOSSES)), [])}
    lines: dict[str, Any] = {}
    for title, made in runs.items():
        lines[title] = {
            "loss": LOSSES[title][0],
            "args": LOSSES[title][1],
            "miou": over_seeds([run["miou"] for run in made]),
            "accuracy": over_seeds([run["accuracy"] for run in made]),
            "runs": made,
        }
        if title != next(iter(LOSSES)):
            lines[title] |= beside(made, first)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of CamVid")
    parser.add_argument("--only", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS / "losses.json")
    arguments = parser.parse_args()
    arguments.root = need_camvid(arguments.root)
    from segwright.files import write_json
    from segwright.runs.environment import environment

    before = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
    same = before.get("epochs") == arguments.epochs
    runs = {title: line["runs"] for title, line in before["losses"].items()} if same else {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            for title in arguments.only:
                made = runs.setdefault(title, [])
                if any(run["seed"] == seed for run in made):
                    continue
                made.append(train(arguments.root, title, seed, arguments.epochs, Path(folder)))
                content = {
                    "what": "Fast-SCNN on CamVid train to val, 11 classes, from scratch; mIoU under protocol camvid",
                    "interval": "95 % Student interval over the seeds; differences to the first loss seed by seed",
                    "epochs": arguments.epochs,
                    "overrides": OVERRIDES,
                    "date": datetime.now(UTC).isoformat(timespec="seconds"),
                    "environment": environment(),
                    "losses": table(runs),
                }
                write_json(arguments.out, content)
    for title, line in table(runs).items():
        print(f"{title:<34} mIoU {line['miou']}  {line.get('minus_first', '')} {line.get('verdict', '')}")


if __name__ == "__main__":
    main()
