"""A street model ported to SUIM's eight pictures: most layers frozen, half of them, and from scratch, one budget for all.

python -m benchmarks.transfer [--root DIR] [--epochs 60] [--street-epochs 24] [--rate 0.001]

The source is Fast-SCNN, trained on generated street scenes (recipe streets-demo). The eight pictures are divided into
four folds of two: each is predicted by models that have not seen it, and the counts of all are scored together, so an
interval resamples eight pictures. Models are validated once, after the last epoch: no epoch is chosen by its score.
Writes benchmarks/results/transfer.json.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.recording import RESULTS, shared_data, skip

if TYPE_CHECKING:
    from segwright.api.finetune import TransferComparison

FOLDS = 4


def measure(
    root: Path,
    work: Path,
    *,
    epochs: int,
    street_epochs: int,
    rate: float = 0.001,
    folds: int = FOLDS,
    settings: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The table as plain data. root: the folder with SUIM's images/ and masks/; work: an empty folder to train in.

    folds: how many of the four are trained. settings: further overrides of both recipes.
    """
    from segwright import compare_transfers, split_data, train
    from segwright.data.splits import Plan

    shared = ("training.precision=fp32", "training.workers=0", *settings)
    validated = f"training.val_every={street_epochs}"
    street = train(
        "streets-demo", [f"training.epochs={street_epochs}", validated, *shared], name="streets", runs=work / "runs"
    )
    splits = work / "folds.json"
    split_data(root, plan=Plan(method="folds", folds=FOLDS), data="suim", labels="suim8", out=splits)
    scored: list[TransferComparison] = []
    for fold in range(1, folds + 1):
        changes = [
            *(f"data.root={root}", f"data.split_file={splits}", f"data.train=not-fold{fold}", f"data.val=fold{fold}"),
            *(f"training.epochs={epochs}", f"training.val_every={epochs}", "training.batch=3", f"optimizer.lr={rate}"),
        ]
        scored.append(
            compare_transfers(street.path, "a-suim", [*changes, *shared], name=f"fold{fold}", runs=work / "runs")
        )
    return {
        "source": {"model": "fast_scnn", "recipe": "streets-demo", "epochs": street_epochs, "miou": street.miou},
        "target": {"data": "SUIM, 8 pictures", "recipe": "a-suim", "epochs": epochs, "lr": rate, "folds": folds},
        "transfers": together(scored),
    }


def together(scored: list[TransferComparison]) -> Mapping[str, Any]:
    """The pictures of all folds as one set: scores and paired differences, with intervals over pictures."""
    from segwright.metrics.intervals import Resampled, paired_difference

    found: dict[str, Any] = {}
    rows = list(zip(*(one.rows for one in scored), strict=True))
    counts = [np.concatenate([row.result.evaluation.counts_NKK for row in group]) for group in rows]
    drawn = [Resampled(counts_NKK) for counts_NKK in counts]
    for group, one in zip(rows, drawn, strict=True):
        miou, accuracy = one.interval(one.miou_R()), one.interval(one.accuracy_R)
        entry: dict[str, Any] = {
            "learning": group[0].learning,
            "parameters": group[0].total,
            **{"miou": round(miou.value, 4), "miou_low": round(miou.low, 4), "miou_high": round(miou.high, 4)},
            **{"accuracy": round(accuracy.value, 4), "accuracy_low": round(accuracy.low, 4)},
            **{"accuracy_high": round(accuracy.high, 4), "interval": miou.conditions},
        }
        if one is not drawn[-1]:
            difference = paired_difference(one, drawn[-1], lambda resampled: resampled.miou_R())
            entry["minus_scratch"] = [round(v, 4) for v in (difference.value, difference.low, difference.high)]
            entry["verdict"] = difference.verdict
        found[group[0].title] = entry
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=shared_data() / "suim")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--street-epochs", type=int, default=24)
    parser.add_argument("--rate", type=float, default=0.001)
    parser.add_argument("--out", type=Path, default=RESULTS / "transfer.json")
    arguments = parser.parse_args()
    if not (arguments.root / "images").is_dir():
        skip(f"SUIM is not in {arguments.root}: give its folder with --root (it holds images/ and masks/)")
    from segwright.files import write_json
    from segwright.runs.environment import environment

    with tempfile.TemporaryDirectory() as work:
        found = measure(
            arguments.root,
            Path(work),
            epochs=arguments.epochs,
            street_epochs=arguments.street_epochs,
            rate=arguments.rate,
        )
    date = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(
        arguments.out, {"what": str(__doc__).splitlines()[0], "date": date, "environment": environment()} | found
    )
    for title, entry in found["transfers"].items():
        print(f"{title:<14} mIoU {entry['miou']:.4f} [{entry['miou_low']:.4f}, {entry['miou_high']:.4f}]", end="  ")
        print(f"minus from scratch {entry['minus_scratch']} {entry['verdict']}" if "verdict" in entry else "")


if __name__ == "__main__":
    main()
