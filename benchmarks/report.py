"""A report over 500 pictures of 480×360: seconds and megabytes, the predictions being there already.

Timed is all that writing the report does but predict: choosing pictures, embedding them within the budget, the charts,
the page. The pictures are drawn street scenes, each used several times, mirrored or shifted and with noise of its own;
the predictions are the truth, shifted, with wrong patches.

python -m benchmarks.report [--pictures 500] [--budget-mb 15]   writes benchmarks/results/report.json
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segwright.contracts import IGNORE
from segwright.data.streets import Streets
from segwright.evaluation.hardest import largest_region, showcase, worst_mistakes
from segwright.evaluation.result import Evaluation
from segwright.files import write_json
from segwright.labels import load_label_space
from segwright.metrics.confusion import confusion
from segwright.report.content import MistakePicture, ReportPicture, Role, RunReport
from segwright.report.html import write_report
from segwright.report.shelf import fill_shelf
from segwright.runs.environment import environment

RESULTS = Path(__file__).resolve().parent / "results" / "report.json"
SIZE, SCENES = (360, 480), 25
Pixels = NDArray[np.uint8]


class Pictures:
    """`count` pictures with truth and prediction, each made when asked for."""

    def __init__(self, count: int) -> None:
        self.scenes = Streets("val", count=min(SCENES, count), size=SIZE)
        self.drawn = [self.scenes[i] for i in range(len(self.scenes))]
        self.count = count

    def __call__(self, index: int) -> tuple[Pixels, Pixels, Pixels]:
        rng = np.random.default_rng(index)
        sample = self.drawn[index % len(self.drawn)]
        assert sample.labels is not None
        shift, turn = int(rng.integers(SIZE[1])), 1 - 2 * int(rng.integers(2))
        image = np.roll(sample.rgb[:, ::turn], shift, 1).astype(int) + rng.integers(-6, 7, (*SIZE, 3))
        truth = np.ascontiguousarray(np.roll(sample.labels[:, ::turn], shift, 1))
        prediction = np.where(truth == IGNORE, 2, np.roll(truth, (2, 3), (0, 1)))
        prediction[prediction == IGNORE] = 2
        for _ in range(12):
            top, left = int(rng.integers(SIZE[0] - 40)), int(rng.integers(SIZE[1] - 60))
            prediction[top : top + int(rng.integers(8, 40)), left : left + int(rng.integers(8, 60))] = rng.integers(19)
        return image.clip(0, 255).astype(np.uint8), truth, prediction.astype(np.uint8)


def evaluate(pictures: Pictures) -> Evaluation:
    counts, ignored = [], []
    for index in range(pictures.count):
        _, truth, prediction = pictures(index)
        counts.append(confusion(torch.from_numpy(truth), torch.from_numpy(prediction), 19).numpy())
        ignored.append(int((truth == IGNORE).sum()))
    return Evaluation(
        run="benchmark",
        checkpoint="best",
        split="val",
        protocol="pooled",
        space=load_label_space("cityscapes19"),
        names=tuple(f"scene_{i:04d}.png" for i in range(pictures.count)),
        groups=tuple(f"city {i % 4}" for i in range(pictures.count)),
        counts_NKK=np.stack(counts),
        ignored_N=np.array(ignored),
        seconds=1.0,
    )


def measure(count: int, budget: int) -> dict[str, Any]:
    """Seconds, bytes and pictures of one report."""
    pictures = Pictures(count)
    evaluation = evaluate(pictures)
    start = time.perf_counter()
    shown: list[ReportPicture] = []
    roles: tuple[Role, ...] = ("best", "median", "worst")
    for role, scores in zip(roles, showcase(evaluation), strict=True):
        for score in scores:
            image, truth, found = pictures(score.index)
            shown.append(
                ReportPicture(name=score.name, role=role, image=image, truth=truth, prediction=found, miou=score.miou)
            )
    mistakes = []
    for mistake in worst_mistakes(evaluation):
        image, truth, found = pictures(mistake.pictures[0].index)
        box = largest_region(truth, found, mistake.truth, mistake.predicted)
        assert box is not None
        name = mistake.pictures[0].name
        mistakes.append(MistakePicture(mistake=mistake, name=name, image=image, truth=truth, prediction=found, box=box))
    in_rows = [evaluation.names.index(picture.name) for picture in shown]
    shelf = fill_shelf(evaluation, pictures, budget=budget, leave_out=in_rows)
    report = RunReport(
        title="Benchmark", run="benchmark", evaluation=evaluation, pictures=shown, mistakes=mistakes, shelf=shelf,
        budget=budget,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        size = write_report(report, Path(folder) / "report.html").stat().st_size
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "megabytes": round(size / 1e6, 2),
        "pictures": count,
        "pictures_in_page": len(shown) + len(shelf),
        "width": max((one.image.width for one in shelf), default=0),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--budget-mb", type=float, default=15)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    results = measure(options.pictures, round(options.budget_mb * 1e6))
    write_json(
        options.out,
        {
            "what": f"a report over {options.pictures} pictures of {SIZE[1]}×{SIZE[0]}, predictions excluded",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": environment(),
            "targets": {"seconds": 60, "megabytes": 15},
            "results": results,
        },
    )
    print(results)


if __name__ == "__main__":
    main()
