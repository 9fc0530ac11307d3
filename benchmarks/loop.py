"""The training loop with its loading, saving and bookkeeping beside a bare PyTorch step on tensors that are at hand.

python -m benchmarks.loop [--root DIR] [--recipe camvid-cpu] [--pairs 15] [--pictures 120] [overrides ...]

One real training runs in this process. After each of its epochs, copies of the same network do as many steps on one
batch of random tensors that are at hand, by turns first and second: the bare one with forward, loss, backward, optimiser
and nothing else; ours with all that a training step does beyond that (checks, averaged weights, the state to return to).
The rate of the training itself, with loading and augmentation on the same cores, is its own row of metrics.jsonl.
Writes benchmarks/results/loop.json. The wish is 0.95 of the bare rate.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.camvid_part import few_pictures
from benchmarks.recording import RESULTS, need_camvid
from benchmarks.rounds import ratio

if TYPE_CHECKING:
    from segwright.labels import LabelSpace
    from segwright.recipe import Recipe
    from segwright.training.state import Learner


def measure(root: Path, recipe: str, pairs: int, runs: Path, overrides: list[str]) -> dict[str, Any]:
    """Train for `pairs` epochs and a first one that warms up; a bare loop of the same length after each."""
    import torch

    from segwright.api.showing import new_console
    from segwright.build import build_loss, model_space
    from segwright.losses.total import total_loss
    from segwright.recipe import load_recipe
    from segwright.training.prepare import start
    from segwright.training.probe import random_batch
    from segwright.training.step import Step, autocast

    epochs = pairs + 1
    keys = [f"data.root={root}", f"training.epochs={epochs}", f"training.val_every={epochs}", *overrides]
    trainer = start(load_recipe(recipe, keys), runs=runs, name="loop", console=new_console())
    chosen = trainer.recipe
    training, space = chosen.training, model_space(chosen)
    bare, ours = (_learner(chosen, space, training.memory_format) for _ in range(2))
    loss = build_loss(chosen, space)
    step = Step(chosen, ours, build_loss(chosen, space), lambda text: None)
    size = (chosen.augmentation.size[0], chosen.augmentation.size[1])
    batch = random_batch(training.batch_size, size, space.num_classes, device=training.device)
    batch = replace(batch, names=tuple(map(str, range(training.batch_size))))
    rates: dict[str, list[float]] = {"training": [], "step": [], "bare": []}
    waits: list[float] = []
    saving: list[float] = []

    def bare_step() -> None:
        with autocast(training.device, training.precision):
            outputs = bare.segmenter.outputs(batch.image)
        total_loss(loss, outputs, batch, auxiliary_weight=chosen.loss.auxiliary_weight).backward()
        bare.optimizer.step()
        bare.optimizer.zero_grad(set_to_none=True)

    def our_step() -> None:
        step.begin()
        step.add(batch, share=1.0)
        step.end()
        ours.counters.step += 1

    def rate(call: Callable[[], None]) -> float:
        steps = trainer.loader.batches_per_epoch
        began = time.perf_counter()
        for _ in range(steps):
            call()
        if batch.image.is_cuda:
            torch.cuda.synchronize()
        return round(steps * training.batch_size / (time.perf_counter() - began), 2)

    def after(row: Mapping[str, Any]) -> None:
        if row["kind"] != "train":
            return
        calls = {"step": our_step, "bare": bare_step}
        found = {name: rate(calls[name]) for name in list(calls)[:: 1 if row["epoch"] % 2 else -1]}
        found["training"] = row["images_per_s"]
        print(f"epoch {row['epoch']}: {found} img/s", flush=True)
        if row["epoch"] > 1:
            for name, value in found.items():
                rates[name].append(value)
            waits.append(row["data_wait"])
            saving.append(row["checkpoint_share"])

    trainer.watch = after
    trainer.fit()
    return {
        "what": "training loop with loading beside a bare step on synthetic tensors, pictures a second",
        "recipe": recipe,
        "overrides": overrides,
        "precision": f"{training.precision} {training.memory_format}",
        "batch": [training.batch_size, 3, *size],
        "pairs": pairs,
        "rates": rates,
        "step over bare": ratio(rates["step"], rates["bare"]),
        "training over bare": ratio(rates["training"], rates["bare"]),
        "data_wait": {"median": sorted(waits)[len(waits) // 2], "most": max(waits)},
        "checkpoint_share": {"median": sorted(saving)[len(saving) // 2], "most": max(saving)},
    }


def _learner(recipe: Recipe, space: LabelSpace, memory_format: str) -> Learner:
    import torch

    from segwright.build import build_segmenter
    from segwright.inference.running import FORMATS
    from segwright.training.averaging import AveragedModel
    from segwright.training.optimizer import build_optimizer
    from segwright.training.schedule import build_schedule
    from segwright.training.state import Counters, Learner

    torch.manual_seed(0)
    segmenter = build_segmenter(recipe, space).to(memory_format=FORMATS[memory_format]).train()
    decay = recipe.training.ema_decay
    return Learner(
        segmenter=segmenter,
        optimizer=build_optimizer(recipe.optimizer, segmenter),
        average=None if decay is None else AveragedModel(segmenter, decay=decay),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        counters=Counters(),
        schedule=build_schedule(recipe.schedule, 1000),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of CamVid")
    parser.add_argument("--recipe", default="camvid-cpu")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--pictures", type=int, default=0, help="of train that an epoch has; 0 for all")
    parser.add_argument("--out", type=Path, default=RESULTS / "loop.json")
    parser.add_argument("overrides", nargs="*", help="key=value settings of the recipe")
    arguments = parser.parse_args()
    arguments.root = need_camvid(arguments.root)
    from segwright.files import write_json
    from segwright.runs.environment import environment

    with tempfile.TemporaryDirectory() as runs:
        few = few_pictures(arguments.root, arguments.pictures, Path(runs)) if arguments.pictures else []
        overrides = [*few, *arguments.overrides]
        found = measure(arguments.root, arguments.recipe, arguments.pairs, Path(runs) / "runs", overrides)
    found["pictures"] = arguments.pictures or "all of train"
    found["overrides"] = arguments.overrides
    date = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(arguments.out, found | {"date": date, "environment": environment()})
    print({key: found[key] for key in ("step over bare", "training over bare", "data_wait", "checkpoint_share")})


if __name__ == "__main__":
    main()
