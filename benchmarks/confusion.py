"""The confusion count beside a bare bincount, torchmetrics' default and scikit-learn: 1024×2048 pixels, 19 classes, 10 % void.

All alternate in one process; figures are medians with 95 % bootstrap intervals of the paired ratios. Two inputs:
`regions`, connected areas with ragged borders as real label maps have them, and `noise`, where no pixel resembles its
neighbour: the kindest case for a bare bincount, which then never waits for its own last addition. Real label maps are
like the first.

python -m benchmarks.confusion [--rounds 25] [--threads 1]   writes benchmarks/results/confusion.json
"""

from __future__ import annotations

import argparse
import importlib.metadata
import statistics
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import confusion_matrix
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from benchmarks.rounds import alternate, ratio
from segwright.contracts import IGNORE
from segwright.files import write_json
from segwright.metrics.confusion import confusion
from segwright.runs.environment import environment

RESULTS = Path(__file__).resolve().parent / "results" / "confusion.json"
SIZE, CLASSES = (1024, 2048), 19


def regions(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Areas of about 60 pixels across; the prediction is the truth shifted by a few pixels, with 10 % of its areas wrong."""
    cells = rng.integers(0, CLASSES, (SIZE[0] // 64, SIZE[1] // 64)).astype(np.uint8)
    wrong = np.where(rng.random(cells.shape) < 0.1, rng.integers(0, CLASSES, cells.shape), cells).astype(np.uint8)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32) / 64
    bend = [cv2.GaussianBlur(rng.normal(size=SIZE).astype(np.float32), (0, 0), 9) * 8 for _ in "yx"]

    def grown(cells: NDArray[np.uint8], shift: float) -> NDArray[np.uint8]:
        rows = np.clip(y + bend[0] + shift, 0, cells.shape[0] - 1).astype(int)
        columns = np.clip(x + bend[1] + shift, 0, cells.shape[1] - 1).astype(int)
        return cells[rows, columns]

    labels = grown(cells, 0.0)
    labels[: SIZE[0] // 10] = IGNORE
    return torch.from_numpy(labels), torch.from_numpy(grown(wrong, 0.05))


def noise(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    labels = rng.integers(0, CLASSES, SIZE).astype(np.uint8)
    labels[rng.random(SIZE) < 0.1] = IGNORE
    return torch.from_numpy(labels), torch.from_numpy(rng.integers(0, CLASSES, SIZE).astype(np.uint8))


def contenders(labels: Tensor, predictions: Tensor) -> dict[str, Callable[[], NDArray[np.int64]]]:
    """Each way to count, as a call that gives the K×K counts. The bare bincount gets its index for free."""
    index = (labels.clamp(max=CLASSES).to(torch.int16) * CLASSES + predictions).flatten()

    def bare() -> NDArray[np.int64]:
        counts = torch.bincount(index, minlength=(CLASSES + 1) * CLASSES)
        return counts.numpy()[: CLASSES**2].reshape(CLASSES, CLASSES)

    def torchmetrics_default() -> NDArray[np.int64]:
        metric = MulticlassConfusionMatrix(CLASSES, ignore_index=IGNORE)
        metric.update(predictions, labels)
        return metric.compute().numpy()

    def scikit_learn() -> NDArray[np.int64]:
        valid = labels.numpy() != IGNORE
        return confusion_matrix(labels.numpy()[valid], predictions.numpy()[valid], labels=range(CLASSES))

    return {
        "segwright": lambda: confusion(labels, predictions, CLASSES).numpy(),
        "bare torch.bincount, int16": bare,
        "torchmetrics, default": torchmetrics_default,
        "scikit-learn": scikit_learn,
    }


def measure(calls: dict[str, Callable[[], NDArray[np.int64]]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each call in each round, after one round that only checks equal results."""
    expected = calls["segwright"]()
    for name, call in calls.items():
        if not np.array_equal(call(), expected):
            raise SystemExit(f"{name} counts something else: nothing to compare")
    return {name: [1000 * s for s in seconds] for name, seconds in alternate(calls, rounds).items()}


def summarise(times: dict[str, list[float]]) -> dict[str, Any]:
    others = [name for name in times if name != "segwright"]
    return {
        "median_ms": {name: round(statistics.median(found), 3) for name, found in times.items()},
        "segwright / bare torch.bincount, int16": ratio(times["segwright"], times[others[0]]),
        **{f"{name} / segwright": ratio(times[name], times["segwright"]) for name in others[1:]},
    }


def show(results: dict[str, dict[str, Any]], console: Console) -> None:
    table = Table(title=f"Confusion count, {SIZE[0]}×{SIZE[1]}, {CLASSES} classes, 10 % void: median ms")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    for name in next(iter(results.values()))["median_ms"]:
        table.add_row(name, *(f"{found['median_ms'][name]:.2f}" for found in results.values()))
    table.add_section()
    for key in next(iter(results.values())):
        if key != "median_ms":
            cells = (f"{f[key]['median']:.2f} [{f[key]['low']:.2f}..{f[key]['high']:.2f}]" for f in results.values())
            table.add_row(key, *cells)
    console.print(table)
    console.print("targets: at most 1.5 × a bare bincount, at least 15 × faster than torchmetrics' default (regions)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, help="at least 15 for ratios that mean something")
    parser.add_argument("--threads", type=int, default=1, help="of torch; a bincount uses one, whatever this says")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rounds = options.rounds
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    results = {make.__name__: summarise(measure(contenders(*make(rng)), rounds)) for make in (regions, noise)}
    write_json(
        options.out,
        {
            "what": f"confusion count of one {SIZE[0]}×{SIZE[1]} picture, {CLASSES} classes, 10 % void",
            "rounds": rounds,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": environment(),
            "peers": {name: importlib.metadata.version(name) for name in ("torchmetrics", "scikit-learn")},
            "targets": {"ratio_to_bare_bincount": 1.5, "times_faster_than_torchmetrics": 15},
            "results": results,
        },
    )
    show(results, Console())


if __name__ == "__main__":
    main()
