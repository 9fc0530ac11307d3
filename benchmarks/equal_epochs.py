"""The same score for fewer minutes? Fast-SCNN on CamVid, as many epochs by Segwright as by the usual stack, seed by seed.

Both train from random numbers at 256×352 with batches of 8, AdamW at the same rates and cross entropy. The usual stack is a
plain loop in fp32 with cv2 and Albumentations, in a process of its own; ours is the real trainer in the precision that it
chooses. Both models are scored on val by the same evaluation, at 480×360. The difference has Student's interval over the
seeds.

python -m benchmarks.equal_epochs [--epochs 20] [--seeds 3] [--root DIR]   writes benchmarks/results/equal_epochs.json
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("GOMP_SPINCOUNT", "5000")

from benchmarks.camvid_part import camvid_names
from benchmarks.epoch import AUGMENTATION
from benchmarks.losses import over_seeds, verdict
from benchmarks.plain_stack import CLASSES, PlainStack, peer_network
from benchmarks.recording import need_camvid, options_of, record

if TYPE_CHECKING:
    from segwright.models import Segmenter

SIZE, BATCH, RATE, DECAY = (256, 352), 8, 0.003, 0.01
SCALE = [round(SIZE[1] / 480, 4), round(SIZE[1] / 480 * 2**0.5, 4)]
"""From the whole picture down to half of its area, as the usual stack's crops."""


def train_ours(root: Path, seed: int, epochs: int, work: Path) -> tuple[Segmenter, float, str]:
    """The trained model, the seconds of its epochs, and its mode."""
    import json

    from segwright.api.showing import new_console
    from segwright.recipe import load_recipe
    from segwright.training.prepare import start

    keys = {
        "data.root": root, "seed": seed, "model.name": "fast_scnn", "model.args": "{}", "loss.args": "{}",
        "loss.auxiliary_weight": 0, "optimizer.lr": RATE, "optimizer.weight_decay": DECAY, "schedule.warmup": 0,
        "schedule.args": "{final: 0}", "augmentation.size": list(SIZE), "augmentation.args": json.dumps(AUGMENTATION | {"scale": SCALE}),
        "training.batch": BATCH, "training.epochs": epochs, "training.val_every": epochs, "training.ema_decay": "null",
        "training.workers": 0,
    }  # fmt: skip
    loaded = load_recipe("camvid-cpu", [f"{key}={value}" for key, value in keys.items()])
    trainer = start(loaded, runs=work, name=f"ours-{seed}", console=new_console())
    trainer.fit()
    seconds = sum(row["seconds"] for row in trainer.run.metrics() if row["kind"] == "train")
    training = trainer.recipe.training
    return trainer.learner.segmenter, seconds, f"{training.precision} {training.memory_format}"


def train_theirs(root: Path, seed: int, epochs: int, work: Path) -> tuple[Segmenter, float]:
    """The same of the plain loop, in its own process."""
    import torch

    from segwright.labels import load_label_space
    from segwright.models import Segmenter

    files = [root / "train" / Path(name).with_suffix(".png").name for name in camvid_names(root, "train")]
    stack = PlainStack("fast_scnn", {}, files, size=SIZE, batch=BATCH, lr=RATE, weight_decay=DECAY, seed=seed)
    with stack as peer:
        seconds = peer.train(epochs, work / "theirs.pt")
    net, _ = peer_network("fast_scnn", {})
    net.load_state_dict(torch.load(work / "theirs.pt", weights_only=True))
    return Segmenter(net, labels=load_label_space("camvid11"), model={"name": "fast_scnn", "args": {}}), seconds


def score(segmenter: Segmenter, root: Path) -> float:
    from segwright.data import CamVid
    from segwright.evaluation.evaluate import evaluate
    from segwright.labels import load_label_space

    val = CamVid(root, "val", load_label_space("camvid11"))
    found = evaluate(segmenter, val, run="bench", checkpoint="last", split="val", protocol="camvid")
    return round(found.miou, 4)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds with their intervals, and the difference seed by seed."""
    differences = over_seeds([row["ours"] - row["theirs"] for row in rows])
    return {
        "ours_miou": over_seeds([row["ours"] for row in rows]),
        "theirs_miou": over_seeds([row["theirs"] for row in rows]),
        "ours_minus_theirs": differences,
        "verdict": verdict(*differences[1:]),
    }


def main() -> None:
    parser = options_of(__doc__, "equal_epochs", epochs=20, seeds=3)
    parser.add_argument("--root", type=Path, default=None, help="folder of CamVid")
    options = parser.parse_args()
    root, rows = need_camvid(options.root), list[dict[str, Any]]()
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory(prefix="segwright-equal-") as work:
            ours, our_seconds, mode = train_ours(root, seed, options.epochs, Path(work))
            theirs, their_seconds = train_theirs(root, seed, options.epochs, Path(work))
        rows.append(
            {
                "seed": seed,
                "mode": mode,
                "ours": score(ours, root),
                "theirs": score(theirs, root),
                "our_seconds": round(our_seconds, 1),
                "their_seconds": round(their_seconds, 1),
            }
        )
        print(rows[-1], flush=True)
        what = f"Fast-SCNN on CamVid, {options.epochs} epochs of {CLASSES} classes at {SIZE[0]}×{SIZE[1]}, val mIoU"
        record(options.out, what, {"epochs": options.epochs, "rounds": len(rows), "runs": rows, **summary(rows)})


if __name__ == "__main__":
    main()
