"""What each change of the CamVid recipe gives: one change at a time, judged on a training sequence that was left out.

python -m benchmarks.camvid_tries [--root DIR] [--only NAME ...] [--seeds 0 1 2] [--epochs 40] [--left-out 0006R0]

Every try is the recipe camvid-cpu with small crops and few epochs, and what TRIES says; it trains on two of the three
training sequences and is scored once, after the last epoch, on the third. CamVid's val and test choose nothing. Writes
benchmarks/results/camvid_tries.json after every run; runs that are in it already are not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.losses import beside, over_seeds
from benchmarks.recording import RESULTS, need_camvid, record

SLIM = ("model.name=slim_unet", "model.args={}")
LOVASZ_2 = '{"losses":[{"name":"cross_entropy","args":{"class_weights":"log"}},{"name":"lovasz","args":{"every":2}}]}'
LOVASZ_1 = LOVASZ_2.replace('"every":2', '"every":1')
DICE = LOVASZ_2.replace('{"name":"lovasz","args":{"every":2}}', '{"name":"dice"}')
PLAIN = LOVASZ_2.replace('"log"', "null")
TRIES: dict[str, tuple[str, ...]] = {
    "slim_unet": SLIM,
    "fast_scnn, head at 1/4, two auxiliary heads": (),
    "pidnet, width 0.56": ("model.name=pidnet", 'model.args={"width":0.56}'),
    "an auxiliary head": (SLIM[0], 'model.args={"auxiliary":true}'),
    "Lovász on every second pixel": (*SLIM, "loss.name=combined", f"loss.args={LOVASZ_2}"),
    "Lovász on all pixels": (*SLIM, "loss.name=combined", f"loss.args={LOVASZ_1}"),
    "Lovász, no class weights": (*SLIM, "loss.name=combined", f"loss.args={PLAIN}"),
    "Dice": (*SLIM, "loss.name=combined", f"loss.args={DICE}"),
    "scales 0.5 to 2": (*SLIM, "augmentation.args.scale=[0.5,2.0]"),
    "stronger colours": (*SLIM, "augmentation.args.jitter_p=0.8", "augmentation.args.balance_p=0.5"),
    "half of the crops at rare classes": (*SLIM, "augmentation.args.balanced_crops=0.5"),
    "rare classes pasted in": (*SLIM, "augmentation.args.copy_paste_p=0.3"),
    "crops of 256×352": (*SLIM, "augmentation.size=[256,352]"),
    "weight decay 0.1": (*SLIM, "optimizer.weight_decay=0.1"),
}
"""Title -> overrides; the first is what the others are compared with."""

OVERRIDES = (
    "augmentation.size=[192,256]",
    "training.batch=8",
    "training.ema_decay=0.99",
    "training.precision=bf16",
    "training.memory_format=channels_last",
    "protocol=camvid",
)


def train(title: str, seed: int, epochs: int, sequence: str, data: list[str], runs: Path) -> dict[str, Any]:
    """Train once, in a process of its own with one thread; its score, and what it cost in seconds of that core."""
    from segwright.evaluation.result import Evaluation

    folder = runs / f"{list(TRIES).index(title)}-{seed}"
    command = [sys.executable, "-m", "segwright.cli", "train", "camvid-cpu", *data, f"seed={seed}", *OVERRIDES]
    command += [f"training.epochs={epochs}", f"training.val_every={epochs}", *TRIES[title]]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(
        [*command, "--name", folder.name, "--runs", str(runs)], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    evaluation = Evaluation.load(folder / "evaluation" / f"{sequence}.json")
    return {
        "seed": seed,
        "miou": round(evaluation.miou, 4),
        "accuracy": round(evaluation.accuracy, 4),
        "iou": {name: None if iou is None else round(iou, 4) for name, iou in evaluation.iou.items()},
        "cpu_seconds": round(seconds, 1),
    }


def table(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """A line for each try: mean mIoU with its interval over the seeds, and the difference to the first, seed by seed."""
    first = {run["seed"]: run["miou"] for run in runs.get(next(iter(TRIES)), [])}
    lines: dict[str, Any] = {}
    for title, made in runs.items():
        lines[title] = {"overrides": TRIES[title], "miou": over_seeds([run["miou"] for run in made]), "runs": made}
        if title != next(iter(TRIES)):
            lines[title] |= beside(made, first)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of CamVid")
    parser.add_argument("--only", nargs="+", choices=TRIES, default=list(TRIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--left-out", default="0006R0", choices=["0001TP", "0006R0", "0016E5"])
    parser.add_argument("--out", type=Path, default=RESULTS / "camvid_tries.json")
    parser.add_argument(
        "--runs", type=Path, help="where the runs are kept; a folder of the system's, then none is kept"
    )
    arguments = parser.parse_args()
    root = need_camvid(arguments.root)
    asked = {"epochs": arguments.epochs, "left_out": arguments.left_out, "overrides": list(OVERRIDES)}
    before = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
    same = all(before.get(key) == value for key, value in asked.items())
    runs = {title: line["runs"] for title, line in before["tries"].items()} if same else {}
    with tempfile.TemporaryDirectory() as folder:
        data = left_out(root, arguments.left_out, Path(folder) / "splits.json")
        for seed in arguments.seeds:
            for title in arguments.only:
                made = runs.setdefault(title, [])
                if any(run["seed"] == seed for run in made):
                    continue
                runs_folder = arguments.runs or Path(folder)
                made.append(train(title, seed, arguments.epochs, arguments.left_out, data, runs_folder))
                what = "CamVid, two training sequences to the third, 11 classes, from scratch; protocol camvid"
                spread = "95 % Student interval over the seeds; differences to the first try seed by seed"
                record(arguments.out, what, {"interval": spread, **asked, "tries": table(runs)})
    for title, line in table(runs).items():
        print(f"{title:<44} mIoU {line['miou']}  {line.get('minus_first', '')} {line.get('verdict', '')}")


def left_out(root: Path, sequence: str, file: Path) -> list[str]:
    """Recipe keys that train on all training sequences but one and validate on that one."""
    import segwright

    segwright.split_data(root, preset="camvid-leave-one-sequence-out", out=file)
    return [f"data.root={root}", f"data.split_file={file}", f"data.train=not-{sequence}", f"data.val={sequence}"]


if __name__ == "__main__":
    main()
