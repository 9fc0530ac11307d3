"""What each change of the CamVid recipe gives: one change at a time, judged on training pictures that were left out.

python -m benchmarks.camvid_tries [--root DIR] [--only NAME ...] [--seeds 0 1 2] [--left-out clips]

Every try is the recipe camvid-60 with fewer epochs and what TRIES says; it trains on a part of the training pictures and
is scored once, after the last epoch, on the others. CamVid's val and test choose nothing. `clips` leaves out a fifth of
each training sequence, in one piece, without its neighbours; the name of a sequence leaves out that one. Writes
benchmarks/results/camvid_tries.json after every run; runs that are in it, or in the folder --runs, are not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.camvid_part import camvid_names
from benchmarks.losses import beside, over_seeds
from benchmarks.recording import RESULTS, need_camvid, record

PLAIN = 'loss.args={"losses":[{"name":"cross_entropy","weight":0.5},{"name":"lovasz","weight":0.5,"args":{"every":2}}]}'
WEIGHTS = PLAIN.replace('"weight":0.5}', '"weight":0.5,"args":{"class_weights":"log"}}', 1)
ADAMW = ("optimizer.name=adamw", "optimizer.lr=0.003")
LONG = ("training.epochs=72", "training.ema_decay=0.995", WEIGHTS)
TRIES: dict[str, tuple[str, ...]] = {
    "Muon, learning rate 0.01": (),
    "AdamW 0.003, 36 epochs": (*ADAMW, "training.epochs=36"),
    "Muon 0.003": ("optimizer.lr=0.003",),
    "Muon 0.003, 36 epochs": ("optimizer.lr=0.003", "training.epochs=36"),
    "Muon 0.02": ("optimizer.lr=0.02",),
    "log class weights": (WEIGHTS,),
    "batches of 4": ("training.batch=4",),
    "an auxiliary head": ('model.args={"auxiliary":true}',),
    "log class weights, 72 epochs": LONG,
    "the same, rare classes pasted in and cropped at": (
        *LONG,
        "augmentation.args.balanced_crops=0.5",
        "augmentation.args.copy_paste_p=0.3",
    ),
}
"""Title -> overrides; the first is what the others are compared with."""

OVERRIDES = (
    PLAIN,
    "optimizer.name=muon",
    "optimizer.lr=0.01",
    "augmentation.args.balanced_crops=0",
    "augmentation.args.copy_paste_p=0",
    "training.epochs=24",
    "training.ema_decay=0.99",
    "training.device=cpu",
    "training.precision=bf16",
    "training.memory_format=channels_last",
)


def train(title: str, seed: int, split: str, data: list[str], runs: Path) -> dict[str, Any]:
    """Train once, in a process of its own with one thread, unless `runs` has it; its score."""
    from segwright.evaluation.result import Evaluation

    folder = runs / f"{re.sub('[^a-z0-9]+', '-', title.lower())}-{seed}"
    scored = folder / "evaluation" / f"{split}.json"
    if not scored.is_file():
        changes = dict(change.split("=", 1) for change in (*OVERRIDES, *TRIES[title]))
        command = [sys.executable, "-m", "segwright.cli", "train", "camvid-60", *data, f"seed={seed}"]
        command += [f"{key}={value}" for key, value in changes.items()]
        command += [f"training.val_every={int(changes['training.epochs']) // 3}", "--name", folder.name]
        subprocess.run([*command, "--runs", str(runs)], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    evaluation = Evaluation.load(scored)
    return {
        "seed": seed,
        "miou": round(evaluation.miou, 4),
        "accuracy": round(evaluation.accuracy, 4),
        "iou": {name: None if iou is None else round(iou, 4) for name, iou in evaluation.iou.items()},
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
    parser.add_argument("--left-out", default="clips", choices=["clips", "0001TP", "0006R0", "0016E5"])
    parser.add_argument("--out", type=Path, default=RESULTS / "camvid_tries.json")
    parser.add_argument(
        "--runs", type=Path, help="where the runs are kept; a folder of the system's, then none is kept"
    )
    arguments = parser.parse_args()
    root = need_camvid(arguments.root)
    asked = {"left_out": arguments.left_out, "overrides": list(OVERRIDES)}
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
                made.append(train(title, seed, arguments.left_out, data, runs_folder))
                what = "CamVid, some training pictures to others, 11 classes, from scratch; protocol pooled"
                spread = "95 % Student interval over the seeds; differences to the first try seed by seed"
                record(arguments.out, what, {"interval": spread, **asked, "tries": table(runs)})
    for title, line in table(runs).items():
        print(f"{title:<44} mIoU {line['miou']}  {line.get('minus_first', '')} {line.get('verdict', '')}")


def left_out(root: Path, part: str, file: Path) -> list[str]:
    """Recipe keys that train on all training pictures but a part, and validate on that part."""
    import segwright

    if part == "clips":
        write_clips(root, file)
        return [f"data.root={root}", f"data.split_file={file}", "data.train=most", "data.val=clips"]
    segwright.split_data(root, preset="camvid-leave-one-sequence-out", out=file)
    return [f"data.root={root}", f"data.split_file={file}", f"data.train=not-{part}", f"data.val={part}"]


def write_clips(root: Path, file: Path) -> None:
    """A split file: a fifth of each training sequence in one piece, and the rest without two pictures on either side.

    The piece is the sequence's end, but lies after the middle of 0016E5, whose end is near val.
    """
    from segwright.data.splits import SplitFile, write_splits

    sequences: dict[str, list[str]] = {}
    for name in camvid_names(root, "train"):
        sequences.setdefault(name.split("_")[0], []).append(name)
    clips: list[str] = []
    most: list[str] = []
    unused = list(camvid_names(root, "val"))
    for sequence, names in sequences.items():
        count = len(names) // 5
        start = int(0.55 * len(names)) if sequence == "0016E5" else len(names) - count
        end = start + count
        clips += names[start:end]
        unused += names[start - 2 : start] + names[end : end + 2]
        most += names[: start - 2] + names[end + 2 :]
    parts = {"most": tuple(most), "clips": tuple(clips)}
    write_splits(file, SplitFile(
        seed=0, method="random", data="camvid", source_splits=("train", "val"), splits=parts, unused=tuple(unused),
    ))  # fmt: skip


if __name__ == "__main__":
    main()
