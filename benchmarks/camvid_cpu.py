"""CamVid from scratch on this processor: the shipped recipe `camvid-cpu`, one process a seed, mIoU against minutes.

python -m benchmarks.camvid_cpu [--recipe camvid-cpu] [--root DIR] [--seeds 0 1 2] [--keep DIR] [key=value ...]
python -m benchmarks.camvid_cpu --recipe camvid-60 --seeds 0
python -m benchmarks.camvid_cpu --recipe camvid-5
python -m benchmarks.camvid_cpu --recipe camvid-60 --out benchmarks/results/camvid_20.json training.epochs=98 training.ema_decay=0.998

Writes benchmarks/results/camvid_cpu.json (camvid_60.json for the recipe camvid-60, and so on): for each seed the curve
[minutes, epoch, val mIoU], where minutes is the wall time of the whole command so far: start-up, reading, probing, training
and validating. Its peer is a plain loop with a net of the same family (see docs/performance.md).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.recording import RESULTS, need_camvid


def train(recipe: str, root: Path, seed: int, overrides: list[str], runs: Path) -> dict[str, object]:
    """Train once in a process of its own; the curve by wall time since the process began."""
    name = f"seed{seed}"
    command = [sys.executable, "-m", "segwright.cli", "train", recipe, f"data.root={root}", f"seed={seed}"]
    began = time.time()
    subprocess.run([*command, "--name", name, "--runs", str(runs), *overrides], check=True)
    whole = time.time() - began
    rows = [json.loads(line) for line in (runs / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    train_rows = [r for r in rows if r["kind"] == "train"]
    val_rows = [r for r in rows if r["kind"] == "val"]
    spent, at_epoch = 0.0, {}
    for row in rows:  # training and validation alternate; start-up is what is left of the whole
        spent += row["seconds"]
        at_epoch[row["epoch"], row["kind"]] = spent
    start_up = (runs / name / "recipe.yaml").stat().st_mtime - began
    curve = [
        [round((start_up + at_epoch[r["epoch"], "val"]) / 60, 2), r["epoch"], round(r["miou"], 4)] for r in val_rows
    ]
    last = json.loads((runs / name / "evaluation" / "val.json").read_text(encoding="utf-8"))
    return {
        "seed": seed,
        "whole_command_minutes": round(whole / 60, 2),
        "epochs": train_rows[-1]["epoch"],
        "best_val_miou": round(last["miou"], 4),
        "last_val_miou": round(val_rows[-1]["miou"], 4),
        "curve_minutes_epoch_miou": curve,
        "images_per_s_median": sorted(r["images_per_s"] for r in train_rows)[len(train_rows) // 2],
        "data_wait_share": round(
            sum(r["data_wait"] * r["seconds"] for r in train_rows) / sum(r["seconds"] for r in train_rows), 5
        ),
        "peak_memory_mb": train_rows[-1]["peak_memory_mb"],
        "iou": last["iou"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="camvid-cpu", help="a shipped recipe, or a file")
    parser.add_argument("--root", type=Path, help="folder of CamVid")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, help="by default benchmarks/results/RECIPE.json")
    parser.add_argument("--keep", type=Path, help="folder in which the runs stay; without it none is kept")
    parser.add_argument("overrides", nargs="*", help="recipe keys, such as training.epochs=5")
    arguments = parser.parse_args()
    arguments.root = need_camvid(arguments.root)
    out = arguments.out or RESULTS / f"{Path(arguments.recipe).stem.replace('-', '_')}.json"
    from segwright.files import write_json
    from segwright.runs.environment import environment

    with tempfile.TemporaryDirectory() as folder:
        runs = arguments.keep or Path(folder)
        results = []
        for seed in arguments.seeds:
            results.append(train(arguments.recipe, arguments.root, seed, arguments.overrides, runs))
            write_json(
                out,
                {
                    "what": "CamVid, 11 classes, from scratch; val mIoU pooled at 480×360, void ignored",
                    "command": f"segwright train {arguments.recipe} data.root=DIR seed=N",
                    "overrides": arguments.overrides,
                    "date": datetime.now(UTC).isoformat(timespec="seconds"),
                    "environment": environment(),
                    "seeds": results,
                },
            )
    print(
        json.dumps(
            [{k: r[k] for k in ("seed", "best_val_miou", "whole_command_minutes", "data_wait_share")} for r in results]
        )
    )


if __name__ == "__main__":
    main()
