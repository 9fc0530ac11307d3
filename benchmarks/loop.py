"""The training loop with its loading, saving and bookkeeping beside a bare PyTorch step on tensors that are at hand.

python -m benchmarks.loop [--root DIR] [--recipe camvid-cpu] [--pairs 15] [overrides ...]

One real training runs in this process. After each of its epochs the bare loop does as many steps with a copy of the same
network on one batch of random tensors: forward, loss, backward, optimiser, and nothing else. Both rates come from the
clock around the steps; that of the training is its own row of metrics.jsonl, data wait and averaged weights included.
Writes benchmarks/results/loop.json. The wish is 0.95 of the bare rate.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.camvid_cpu import RESULTS, default_root
from benchmarks.rounds import ratio


def measure(root: Path, recipe: str, pairs: int, runs: Path, overrides: list[str]) -> dict[str, Any]:
    """Train for `pairs` epochs and a first one that warms up; a bare loop of the same length after each."""
    import torch

    from segwright.api.showing import new_console
    from segwright.build import build_loss, model_space
    from segwright.inference.running import FORMATS
    from segwright.losses.total import total_loss
    from segwright.recipe import load_recipe
    from segwright.training.optimizer import build_optimizer
    from segwright.training.prepare import start
    from segwright.training.probe import random_batch
    from segwright.training.step import autocast

    epochs = pairs + 1
    keys = [f"data.root={root}", f"training.epochs={epochs}", f"training.val_every={epochs}", *overrides]
    trainer = start(load_recipe(recipe, keys), runs=runs, name="loop", console=new_console())
    chosen = trainer.recipe
    training, space = chosen.training, model_space(chosen)
    network = deepcopy(trainer.learner.segmenter).to(memory_format=FORMATS[training.memory_format]).train()
    optimizer, loss = build_optimizer(chosen.optimizer, network), build_loss(chosen, space)
    size = (chosen.augmentation.size[0], chosen.augmentation.size[1])
    batch = random_batch(training.batch_size, size, space.num_classes, device=training.device)
    rates: dict[str, list[float]] = {"loop": [], "bare": []}
    waits: list[float] = []
    saving: list[float] = []

    def bare(row: Mapping[str, Any]) -> None:
        if row["kind"] != "train":
            return
        steps = trainer.loader.batches_per_epoch
        began = time.perf_counter()
        for _ in range(steps):
            with autocast(training.device, training.precision):
                outputs = network.outputs(batch.image)
            total_loss(loss, outputs, batch, auxiliary_weight=chosen.loss.auxiliary_weight).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if batch.image.is_cuda:
            torch.cuda.synchronize()
        rate = steps * training.batch_size / (time.perf_counter() - began)
        print(f"epoch {row['epoch']}: loop {row['images_per_s']} img/s, bare {rate:.2f} img/s", flush=True)
        if row["epoch"] > 1:
            rates["loop"].append(row["images_per_s"])
            rates["bare"].append(round(rate, 2))
            waits.append(row["data_wait"])
            saving.append(row["checkpoint_share"])

    trainer.watch = bare
    trainer.fit()
    return {
        "what": "training loop with loading beside a bare step on synthetic tensors, pictures a second",
        "recipe": recipe,
        "overrides": overrides,
        "precision": f"{training.precision} {training.memory_format}",
        "batch": [training.batch_size, 3, *size],
        "pairs": pairs,
        "rates": rates,
        "loop over bare": ratio(rates["loop"], rates["bare"]),
        "data_wait": {"median": sorted(waits)[len(waits) // 2], "most": max(waits)},
        "checkpoint_share": {"median": sorted(saving)[len(saving) // 2], "most": max(saving)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=default_root())
    parser.add_argument("--recipe", default="camvid-cpu")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--out", type=Path, default=RESULTS / "loop.json")
    parser.add_argument("overrides", nargs="*", help="key=value settings of the recipe")
    arguments = parser.parse_args()
    if not (arguments.root / "train").is_dir():
        sys.exit(f"CamVid is not in {arguments.root}: give its folder with --root (it holds train/ and trainannot/)")
    from segwright.files import write_json
    from segwright.runs.environment import environment

    with tempfile.TemporaryDirectory() as runs:
        found = measure(arguments.root, arguments.recipe, arguments.pairs, Path(runs), arguments.overrides)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(arguments.out, found | {"date": date, "environment": environment()})
    print({key: found[key] for key in ("loop over bare", "data_wait", "checkpoint_share")})


if __name__ == "__main__":
    main()
