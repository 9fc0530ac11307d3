"""Training in two single-threaded processes beside one: what the exchange of gradients costs.

python -m benchmarks.ddp   starts both processes, lets one step alone, then both side by side without any exchange, then
both together, by turns, and writes benchmarks/results/ddp.json. Needs two idle cores; the wish is 0.85 of twice the rate
of one process. What two processes side by side reach is the machine's limit: they share memory and caches.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.rounds import ratio
from segwright.build import build_loss, build_segmenter, model_space
from segwright.contracts import Batch
from segwright.inference.running import FORMATS
from segwright.recipe import load_recipe
from segwright.runs.environment import environment
from segwright.training.averaging import AveragedModel
from segwright.training.distributed import AgreedStop, Team, team
from segwright.training.interrupt import StopRequest
from segwright.training.optimizer import build_optimizer
from segwright.training.probe import random_batch
from segwright.training.schedule import build_schedule
from segwright.training.shared_step import SharedNetwork, SharedStep
from segwright.training.state import Counters, Learner
from segwright.training.step import Step

RESULT = Path(__file__).parent / "results" / "ddp.json"
KEYS = ("data.root=unused", "training.device=cpu", "training.precision=fp32", "training.memory_format=channels_last")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pairs", type=int, default=15)
    options.add_argument("--steps", type=int, default=10, help="optimiser steps in each half of a pair")
    options.add_argument("--recipe", default="camvid-cpu")
    options.add_argument("--out", type=Path, default=RESULT)
    chosen = options.parse_args()
    if os.environ.get("WORLD_SIZE") is None:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        variables = os.environ | {"OMP_NUM_THREADS": "1"}
        raise SystemExit(subprocess.run([*command, "-m", "benchmarks.ddp", *sys.argv[1:]], env=variables).returncode)
    torch.set_num_threads(1)
    with team() as here:
        found = measured(here, chosen.recipe, chosen.pairs, chosen.steps)
        if here.first:
            chosen.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(json.dumps(found, indent=1))


def learner_of(recipe: Any) -> Learner:
    segmenter = build_segmenter(recipe, model_space(recipe)).to(memory_format=FORMATS[recipe.training.memory_format])
    return Learner(
        segmenter=segmenter,
        optimizer=build_optimizer(recipe.optimizer, segmenter),
        average=AveragedModel(segmenter, decay=0.99),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        counters=Counters(),
        schedule=build_schedule(recipe.schedule, 1000),
    )


def measured(here: Team, name: str, pairs: int, steps: int) -> dict[str, Any]:
    """The rates of one process alone and of both together, pair by pair."""
    recipe = load_recipe(name, [*KEYS, "loss.args={}", "training.accumulation=1"]).recipe
    torch.manual_seed(0)
    one, shared = learner_of(recipe), learner_of(recipe)
    space = model_space(recipe)
    batch: Batch = random_batch(
        recipe.training.batch_size, tuple(recipe.augmentation.size), space.num_classes, device="cpu"
    )
    batch = replace(batch, names=tuple(map(str, range(recipe.training.batch_size))))
    alone = Step(recipe, one, build_loss(recipe, space), lambda text: None)
    together = SharedStep(
        recipe,
        shared,
        build_loss(recipe, space),
        lambda text: None,
        network=SharedNetwork(shared.segmenter, here),
        team=here,
        request=AgreedStop(StopRequest(), here),
        batches=10**9,
    )

    def seconds(step: Step, takes_part: bool) -> float:
        here.meet()
        began = time.perf_counter()
        for _ in range(steps if takes_part else 0):
            step.begin()
            step.add(batch, share=1.0)
            step.end()
        spent = time.perf_counter() - began
        here.meet()
        return spent

    rates: dict[str, list[float]] = {"one process": [], "side by side": [], "two processes": []}
    for turn in range(pairs + 1):
        for which in list(rates)[:: 1 if turn % 2 else -1]:
            both = which != "one process"
            spent = seconds(together if which == "two processes" else alone, both or here.first)
            if turn:  # the first pair warms up
                rates[which].append((2 if both else 1) * steps * len(batch.names) / max(spent, 1e-9))
    return {
        "what": f"{name}: optimiser steps of {len(batch.names)} pictures a process, pictures a second",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "pairs": pairs,
        "rates": {which: [round(rate, 3) for rate in values] for which, values in rates.items()},
        "two processes over twice one": ratio(rates["two processes"], [2 * rate for rate in rates["one process"]]),
        "side by side over twice one": ratio(rates["side by side"], [2 * rate for rate in rates["one process"]]),
        "two processes over side by side": ratio(rates["two processes"], rates["side by side"]),
    }


if __name__ == "__main__":
    main()
