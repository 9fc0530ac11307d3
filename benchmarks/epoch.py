"""A whole training epoch beside the usual stack: the same network, batch, size and pictures, by turns in one run.

The usual stack: segmentation_models_pytorch in fp32, cv2 and Albumentations in a DataLoader (Fast-SCNN also with two
workers; the faster one counts), cross entropy, AdamW, in a process of its own (`benchmarks.plain_stack`), which waits while
ours works. Ours is the real trainer: its loader, its choice of precision and memory format, all that it checks and writes.
Both have the same crops and jitter. After each epoch of ours the peer has one over the same pictures, and then both do a
step on one batch that is at hand: the training step without loading.

python -m benchmarks.epoch [--pairs 15] [--pictures 32] [--nets NAME ...] [--device cpu] [--root DIR]
writes benchmarks/results/epoch.json
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # as the command line does, before torch loads; the peer has its own

from benchmarks.camvid_part import camvid_names, few_pictures
from benchmarks.plain_stack import CLASSES, PlainStack
from benchmarks.recording import need_camvid, options_of, record, skip
from benchmarks.rounds import ratio

if TYPE_CHECKING:
    from segwright.training.trainer import Trainer

BATCH, SIZE = 4, (352, 480)
AUGMENTATION = {
    "crop_p": 1.0, "scale_p": 1.0, "scale": [1.0, 1.414], "aspect": [0.9, 1.125], "flip_p": 0.5, "blur_p": 0.0,
    "gamma_p": 0.0, "jitter_p": 1.0, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05,
}  # fmt: skip
NETS: dict[str, tuple[str, dict[str, Any], float, int]] = {
    "U-Net, ResNet-18": ("smp", {"architecture": "Unet", "encoder": "resnet18"}, 2.5, 1),
    "U-Net, MobileNetV2": ("smp", {"architecture": "Unet", "encoder": "mobilenet_v2"}, 2.5, 1),
    "DeepLabV3+, MobileNetV2": ("smp", {"architecture": "DeepLabV3Plus", "encoder": "mobilenet_v2"}, 2.5, 1),
    "Fast-SCNN": ("fast_scnn", {}, 1.4, 3),
}
"""Title -> model, its arguments, the wish, and how many times the pictures an epoch has."""


def our_trainer(root: Path, pictures: int, net: str, epochs: int, work: Path, device: str) -> Trainer:
    """The real trainer on a few pictures, validated once on one picture, at the end."""
    from segwright.api.showing import new_console
    from segwright.recipe import load_recipe
    from segwright.training.prepare import start

    name, args, _, _ = NETS[net]
    keys = {
        "model.name": name, "model.args": json.dumps(args), "loss.args": "{}", "loss.auxiliary_weight": 0,
        "optimizer.lr": 0.001, "augmentation.size": list(SIZE), "augmentation.args": json.dumps(AUGMENTATION),
        "training.batch": BATCH, "training.epochs": epochs, "training.val_every": epochs, "training.ema_decay": "null",
        "training.workers": 0, "training.device": device,
    }  # fmt: skip
    overrides = [*few_pictures(root, pictures, work), *(f"{key}={value}" for key, value in keys.items())]
    return start(load_recipe("camvid-cpu", overrides), runs=work, name="ours", console=new_console())


def our_step(trainer: Trainer) -> Callable[[], None]:
    """One optimiser step of the trainer's network, in its mode, with all its checks, on a batch that is at hand."""
    from segwright.training.probe import random_batch
    from segwright.training.step import Step

    training = trainer.recipe.training
    step = Step(trainer.recipe, trainer.learner, trainer.loss, lambda text: None)
    batch = random_batch(BATCH, SIZE, CLASSES, device=training.device)

    def call() -> None:
        trainer.learner.segmenter.train()
        step.begin()
        step.add(batch, share=1.0)
        step.end()  # reads the loss, so the device is done

    return call


def compare(root: Path, net: str, pairs: int, pictures: int, device: str) -> dict[str, Any]:
    """Seconds of epochs and of steps of both, pair by pair."""
    name, args, wish, times = NETS[net]
    count = max(BATCH, pictures * times // BATCH * BATCH)
    names = camvid_names(root, "train")[:count]
    files = [root / "train" / Path(name).with_suffix(".png").name for name in names]
    seconds: dict[str, list[float]] = {"ours": []}
    steps: dict[str, list[float]] = {"ours": [], "peer": []}
    peers = {f"peer, {n} workers": n for n in ((0,) if name == "smp" else (0, 2))}
    with (
        tempfile.TemporaryDirectory(prefix="segwright-epoch-") as work,
        PlainStack(name, args, files, size=SIZE, batch=BATCH, device=device) as peer,
    ):
        trainer = our_trainer(root, count, net, pairs + 1, Path(work), device)
        our_call = our_step(trainer)

        def ours() -> float:
            began = time.perf_counter()
            our_call()
            return time.perf_counter() - began

        def after(row: Mapping[str, Any]) -> None:
            if row["kind"] != "train":
                return
            found = {title: peer.epoch(workers) for title, workers in peers.items()} | {"ours": row["seconds"]}
            each = {"ours": ours, "peer": peer.step}
            both = {who: each[who]() for who in list(each)[:: 1 if row["epoch"] % 2 else -1]}
            print(f"{net} {row['epoch']}/{pairs + 1}: {found}", flush=True)
            if row["epoch"] == 1:  # warms both up
                return
            for title, value in found.items():
                seconds.setdefault(title, []).append(value)
            for title, value in both.items():
                steps[title].append(value)

        trainer.watch = after
        trainer.fit()
        mode = f"{trainer.recipe.training.precision} {trainer.recipe.training.memory_format}"
        parameters = peer.parameters()
    best = min(peers, key=lambda title: statistics.median(seconds[title]))
    return {
        "pictures": count,
        "parameters": parameters,
        "our_mode": mode,
        "best_peer": best,
        "pictures_per_second": {t: round(count / statistics.median(s), 2) for t, s in seconds.items()},
        "times_faster_epoch": ratio(seconds[best], seconds["ours"]),
        "times_faster_step": ratio(steps["peer"], steps["ours"]),
        "target": wish,
    }


def main() -> None:
    parser = options_of(__doc__, "epoch", pairs=15, pictures=32)
    parser.add_argument("--root", type=Path, default=None, help="folder of CamVid")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--device", default="cpu", help="cpu or cuda; both sides run there")
    options = parser.parse_args()
    try:
        import albumentations  # noqa: F401
    except ModuleNotFoundError:
        skip("the peer needs Albumentations: install the extra, segwright[albumentations]")
    root = need_camvid(options.root)
    found: dict[str, Any] = {}
    for net in options.nets:
        found[net] = compare(root, net, options.pairs, options.pictures, options.device)
        print(f"{net}: {found[net]}", file=sys.stderr)
    what = f"one training epoch, batch {BATCH} of {SIZE[0]}×{SIZE[1]}, CamVid, beside smp + Albumentations + fp32"
    record(options.out, what, {"rounds": options.pairs, "nets": found})


if __name__ == "__main__":
    main()
