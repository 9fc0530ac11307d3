"""How time and memory grow with pictures, size and classes: each point in a process of its own, on generated data.

Jobs: opening a data set, checking, statistics, packing, one epoch of loading, evaluation (with its file and bootstrap
interval; the network is one 1×1 convolution, so that all else shows), and the report (its pictures are predicted already).

- pictures: 100, 1000, 10 000 of 32×32, 11 classes
- size: 8 pictures of 64×64, 256×256, 1024×1024, 11 classes
- classes: 64 pictures of 64×64 with 2, 20, 200 classes

Time is what the job takes once everything is imported, by the clock and of the processor; exponents are of the latter,
which other programs disturb less. Memory is the peak of the process beyond what it held before the job. An axis is linear
or better where the last step grows by no more than the axis does: exponent at most 1.15, of which 0.15 is for noise. Memory
is flat in the number of pictures where each picture more adds at most 20 kB: names, hashes and counts have to be kept,
decoded pictures have not (480×360 are 690 kB).

python -m benchmarks.growth [--most 10000] [--rounds 1] [--axes pictures size classes] [--jobs ...]
Writes benchmarks/results/growth.json.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.recording import options_of, record

if TYPE_CHECKING:
    from segwright.evaluation.result import Evaluation
    from segwright.labels import LabelSpace

Point = tuple[int, int, int]
"""Pictures, side in pixels, classes."""
AXES: dict[str, tuple[Point, ...]] = {
    "pictures": ((100, 32, 11), (1000, 32, 11), (10_000, 32, 11)),
    "size": ((8, 64, 11), (8, 256, 11), (8, 1024, 11)),
    "classes": ((64, 64, 2), (64, 64, 20), (64, 64, 200)),
}
LINEAR, FLAT_KB = 1.15, 20.0


def along(axis: str, point: Point) -> int:
    """The quantity that an axis is about; for sizes the pixels."""
    return {"pictures": point[0], "size": point[1] ** 2, "classes": point[2]}[axis]


def space_of(classes: int) -> LabelSpace:
    from segwright.labels import LabelSpace

    colors = [[37 * k % 256, 91 * k % 256, 151 * k % 256] for k in range(1, classes + 1)]
    entries = [{"name": f"class {k}", "values": [k], "color": colors[k]} for k in range(classes)]
    return LabelSpace.from_dict({"name": f"grown{classes}", "title": "Generated", "classes": entries})


def write_data(root: Path, point: Point) -> None:
    """Pictures and masks of blocks with noise, in `images/` and `masks/`, and the label space as labels.yaml."""
    import cv2
    import numpy as np
    import yaml

    count, side, classes = point
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    block = max(1, side // 8)
    for index in range(count):
        mask = rng.integers(0, classes, (8, 8)).astype(np.uint8).repeat(block, 0).repeat(block, 1)
        image = 20 * (mask[..., None] % 8) + rng.integers(0, 96, (side, side, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "images" / f"{index:06d}.png"), image.astype(np.uint8))
        cv2.imwrite(str(root / "masks" / f"{index:06d}.png"), mask)
    text = yaml.safe_dump(space_of(classes).to_dict(), allow_unicode=True)
    (root / "labels.yaml").write_text(text, encoding="utf-8")


def opened(root: Path, point: Point) -> Any:
    from segwright.data import PairedFolders

    return PairedFolders(root, "all", space_of(point[2]))


def check(root: Path, point: Point, work: Path) -> None:
    from segwright.data.check import check_data

    check_data(root, name="paired_folders", labels=str(root / "labels.yaml"))


def statistics_of(root: Path, point: Point, work: Path) -> None:
    from segwright.data.statistics import count_dataset

    count_dataset(opened(root, point), point[2])


def pack(root: Path, point: Point, work: Path) -> None:
    from segwright.data.pack import open_pack

    open_pack(opened(root, point), of="growth", folder=work, say=lambda text: None)


def epoch(root: Path, point: Point, work: Path) -> None:
    from segwright.data.augment import standard
    from segwright.data.loading import TrainLoader

    level = standard((point[1], point[1]), crop_p=1.0)
    with TrainLoader(opened(root, point), level, batch=8, seed=0, cache="none") as loader:
        for batch in loader.epoch(0):
            if batch.image.dtype.itemsize != 1:
                raise SystemExit("batches are uint8")


def evaluate(root: Path, point: Point, work: Path) -> None:
    import torch
    from torch import nn

    from segwright.contracts import Outputs
    from segwright.evaluation.evaluate import evaluate as score
    from segwright.metrics.intervals import Resampled
    from segwright.models import Segmenter

    class Tiny(nn.Module):
        stride = 4

        def __init__(self) -> None:
            super().__init__()
            self.classify = nn.Conv2d(3, point[2], 1)

        def forward(self, image_BCHW: torch.Tensor) -> Outputs:
            return Outputs(self.classify(nn.functional.avg_pool2d(image_BCHW, 4)))

    torch.manual_seed(0)
    segmenter = Segmenter(Tiny(), labels=space_of(point[2]), model={"name": "tiny", "args": {}})
    found = score(segmenter, opened(root, point), run="growth", checkpoint="none", split="all")
    drawn = Resampled(found.counts_NKK, found.groups)
    drawn.interval(drawn.miou_R())
    found.save(work / "evaluation.json")


def report(root: Path, point: Point, work: Path) -> None:
    import numpy as np

    from segwright.evaluation.hardest import showcase, worst_mistakes
    from segwright.report.content import ReportPicture, RunReport
    from segwright.report.html import write_report
    from segwright.report.shelf import fill_shelf

    evaluation, data = made_up(root, point), opened(root, point)

    def look(index: int) -> tuple[Any, Any, Any]:
        sample = data[index]
        return sample.rgb, sample.labels, np.roll(sample.labels, 3, 1)

    shown = []
    for role, scores in zip(("best", "median", "worst"), showcase(evaluation), strict=True):
        for one in scores:
            image, truth, found = look(one.index)
            shown.append(
                ReportPicture(name=one.name, role=role, image=image, truth=truth, prediction=found, miou=one.miou)  # type: ignore[arg-type]
            )
    page = RunReport(
        title="Growth", run="growth", evaluation=evaluation, pictures=shown, mistakes=list(worst_mistakes(evaluation)),
        shelf=fill_shelf(evaluation, look), budget=15_000_000,
    )  # fmt: skip
    write_report(page, work / "report.html")


def made_up(root: Path, point: Point) -> Evaluation:
    """Counts as a middling model gives them."""
    import numpy as np

    from segwright.evaluation.result import Evaluation

    data, (count, side, classes) = opened(root, point), point
    rng = np.random.default_rng(0)
    wrong_KK = np.full((classes, classes), 0.3 / classes) + 0.7 * np.eye(classes)
    counts = rng.multinomial(side * side, (wrong_KK / wrong_KK.sum()).ravel(), count).reshape(count, classes, classes)
    return Evaluation(
        run="growth", checkpoint="none", split="all", protocol="pooled", space=space_of(classes), names=data.names,
        groups=data.groups, counts_NKK=counts.astype(np.int64), ignored_N=np.zeros(count, np.int64), seconds=1.0,
    )  # fmt: skip


JOBS: dict[str, Callable[[Path, Point, Path], object]] = {
    "open": lambda root, point, work: opened(root, point),
    "check": check,
    "statistics": statistics_of,
    "pack": pack,
    "epoch": epoch,
    "evaluate": evaluate,
    "report": report,
}


def memory_mb(key: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process; only the peak, of the process so far, where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = re.search(rf"{key}:\s+(\d+)", status.read_text(encoding="utf-8"))
    return int(found[1]) / 1024 if found else math.nan


def forget_peak() -> None:
    """Let the peak of this process start again from what it holds now, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def one(job: str, root: Path, point: Point) -> dict[str, float]:
    """What one job takes in this process, after doing it once on four of the smallest pictures, which imports all."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        small = (4, 32, point[2])
        write_data(Path(work) / "small", small)
        for name in ("warm", "real"):
            (Path(work) / name).mkdir()
        JOBS[job](Path(work) / "small", small, Path(work) / "warm")
        forget_peak()
        before, began, worked = memory_mb("VmRSS"), time.perf_counter(), time.process_time()
        JOBS[job](root, point, Path(work) / "real")
        return {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - worked,
            "mb": max(0.0, memory_mb("VmHWM") - before),
        }


def growth(axis: str, points: Sequence[Point], rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Exponents of processor time over the axis (the last step, and a fit over all points) and what memory does."""
    sizes = [along(axis, point) for point in points]
    seconds = [max(row["cpu_seconds"], 1e-4) for row in rows]
    last = math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2])
    logs = [[math.log(v) for v in values] for values in (sizes, seconds)]
    kb = 1024 * (rows[-1]["mb"] - rows[-2]["mb"]) / (sizes[-1] - sizes[-2])
    return {
        "at": sizes,
        "seconds": [round(row["seconds"], 4) for row in rows],
        "cpu_seconds": [round(row["cpu_seconds"], 4) for row in rows],
        "mb": [round(row["mb"], 1) for row in rows],
        "exponent": round(last, 2),
        "exponent_of_fit": round(statistics.linear_regression(*logs).slope, 2),
        "linear_or_better": last <= LINEAR,
        **({"kb_each": round(kb, 1), "flat": kb <= FLAT_KB} if axis == "pictures" else {}),
    }


def measured(job: str, root: Path, point: Point, rounds: int) -> dict[str, float]:
    """The medians of a few processes."""
    text = ",".join(map(str, point))
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.growth", "--one", job, str(root), text]
    rows = []
    for _ in range(rounds):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{job} of {text} failed:\n{done.stderr[-2000:]}")
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def main() -> None:
    parser = options_of(__doc__, "growth", most=10_000, rounds=1)
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--one", nargs=3, metavar=("JOB", "ROOT", "POINT"), help="in this process alone")
    options = parser.parse_args()
    if options.one:
        count, side, classes = map(int, options.one[2].split(","))
        print(json.dumps(one(options.one[0], Path(options.one[1]), (count, side, classes))))
        return
    axes: dict[str, dict[str, Any]] = {}
    for axis in options.axes:
        points = [point for point in AXES[axis] if point[0] <= options.most]
        rows: dict[str, list[dict[str, float]]] = {job: [] for job in options.jobs}
        for point in points:
            with tempfile.TemporaryDirectory(prefix="segwright-growth-") as folder:
                write_data(Path(folder) / "data", point)
                for job in options.jobs:
                    rows[job].append(measured(job, Path(folder) / "data", point, options.rounds))
                    print(axis, point, job, rows[job][-1], flush=True)
        axes[axis] = {job: growth(axis, points, rows[job]) for job in options.jobs}
    what = "seconds and megabytes over pictures, pixels and classes; each point in a process of its own, one thread of torch"
    record(options.out, what, {"rounds": options.rounds, "limits": {"exponent": LINEAR, "kb": FLAT_KB}, "axes": axes})


if __name__ == "__main__":
    main()
