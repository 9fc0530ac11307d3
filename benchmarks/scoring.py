"""Scoring a folder of Cityscapes-size predictions, iIoU included: Segwright beside cityscapesScripts (its pip form).

Generated scenes at 1024×2048 with instance maps, and perturbed predictions as label-id PNGs. Both read the same files and
must give the same numbers to the last bit; then they alternate, with decoding these files by Pillow and nothing else as
the limit of one core. Also: the memory peak of evaluating 1024×2048 pictures in 19 classes, beyond the model, and the time
of 2000 bootstrap resamples of 500 pictures × 19 classes.

python -m benchmarks.scoring [--pictures 40] [--rounds 3] [--folder DIR]   writes benchmarks/results/scoring.json
"""

from __future__ import annotations

import argparse
import importlib.metadata
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling as official  # noqa: N813
import numpy as np
from PIL import Image

from benchmarks.rounds import alternate, ratio
from segwright.data.cityscapes import Cityscapes
from segwright.data.streets.writing import scene_files, write_streets
from segwright.evaluation.predictions import evaluate_predictions
from segwright.evaluation.result import Evaluation
from segwright.files import write_json
from segwright.labels import load_label_space
from segwright.metrics.intervals import Resampled
from segwright.runs.environment import environment

RESULTS = Path(__file__).resolve().parent / "results" / "scoring.json"
SIZE = (1024, 2048)
SPACE = "cityscapes19"


def write_folder(root: Path, pictures: int) -> tuple[Path, list[Path], list[Path]]:
    """Scenes and predictions: the truth moved by a few pixels, one in fifty 32×32 blocks of another label."""
    write_streets(root, counts={"train": 0, "val": pictures}, size=SIZE)
    folder = root / "predictions"
    folder.mkdir(exist_ok=True)
    truths = sorted((scene_files(root, "val", index)["labelIds"] for index in range(pictures)), key=lambda p: p.name)
    files = []
    for number, truth in enumerate(truths):
        files.append(folder / truth.name.replace("_gtFine_labelIds", ""))
        rng = np.random.default_rng(number)
        labels = np.roll(np.array(Image.open(truth)), (2, 3), (0, 1))
        blocks = (rng.random((SIZE[0] // 32, SIZE[1] // 32)) < 0.02).repeat(32, 0).repeat(32, 1)
        others = rng.integers(0, 34, (SIZE[0] // 32, SIZE[1] // 32)).repeat(32, 0).repeat(32, 1)
        Image.fromarray(np.where(blocks, others, labels).astype(np.uint8)).save(files[-1])
    return folder, files, truths


def score_ours(root: Path, folder: Path) -> Evaluation:
    space = load_label_space(SPACE)
    dataset = Cityscapes(root, "val", space, instances=True)
    return evaluate_predictions(folder, dataset, space, split="val", protocol="cityscapes")


def score_officially(files: list[Path], truths: list[Path]) -> dict[str, Any]:
    return official.evaluateImgLists([str(p) for p in files], [str(p) for p in truths], official.args)


def check_equal(ours: Evaluation, theirs: dict[str, Any]) -> None:
    """Stop unless every score of both is the same number."""

    def value(number: float) -> float | None:
        return None if np.isnan(number) else number

    found = ours.official
    pairs = [
        (found["averages"][own], theirs[key])
        for own, key in (
            ("iou", "averageScoreClasses"),
            ("iiou", "averageScoreInstClasses"),
            ("category_iou", "averageScoreCategories"),
            ("category_iiou", "averageScoreInstCategories"),
        )
    ]
    for own, iou, iiou in (
        ("classes", "classScores", "classInstScores"),
        ("categories", "categoryScores", "categoryInstScores"),
    ):
        for name, scores in found[own].items():
            pairs += [(scores["iou"], theirs[iou][name]), (scores["iiou"], theirs[iiou][name])]
    if wrong := [(one, value(other)) for one, other in pairs if one != value(other)]:
        raise SystemExit(f"{len(wrong)} of {len(pairs)} numbers differ, such as {wrong[0]}: nothing to compare")


MEMORY = """
import resource, sys, torch
from segwright.evaluation.evaluate import evaluate
from segwright.data.streets.dataset import Streets
from segwright.labels import load_label_space
from segwright.models import Segmenter, build_architecture

torch.set_num_threads(2)
space = load_label_space("cityscapes19")
model = {"name": "fast_scnn", "args": {}}
segmenter = Segmenter(build_architecture("fast_scnn", 19, {}, where="model.args"), labels=space, model=model).eval()
pictures = Streets("val", count=2, size=(1024, 2048))
with torch.inference_mode():
    segmenter.ids(torch.from_numpy(pictures[0].rgb.copy()).permute(2, 0, 1)[None])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
evaluate(segmenter, pictures, run="x", checkpoint="x", split="val", protocol="cityscapes", measures=("all",))
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def memory_peak() -> dict[str, float]:
    """MiB of a process of its own: after one bare prediction, and after evaluating with every measure."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    before, after = (int(number) / 1024 for number in done.stdout.split()[-2:])
    return {"after_one_prediction": round(before), "after_evaluation": round(after), "beyond": round(after - before)}


def bootstrap_seconds() -> float:
    rng = np.random.default_rng(0)
    counts_NKK = rng.integers(0, 10**5, (500, 19, 19))
    start = time.perf_counter()
    resampled = Resampled(counts_NKK, [str(i) for i in range(500)], resamples=2000)
    resampled.interval(resampled.miou_R())
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where scenes are kept between runs")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    official.args.quiet, official.args.JSONOutput = True, False
    if not hasattr(np, "in1d"):
        np.in1d = np.isin  # type: ignore[attr-defined]  # the script's name for it, gone since NumPy 2.4
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary)
        folder, files, truths = write_folder(root, options.pictures)
        check_equal(score_ours(root, folder), score_officially(files, truths))
        instances = sorted(root.rglob("*_instanceIds.png"))
        calls = {
            "segwright": lambda: score_ours(root, folder),
            "official": lambda: score_officially(files, truths),
            "decoding alone": lambda: [np.array(Image.open(file)) for file in (*files, *truths, *instances)],
        }
        seconds = alternate(calls, options.rounds)
    results = {
        "seconds": {name: [round(s, 3) for s in found] for name, found in seconds.items()},
        "segwright / official": ratio(seconds["segwright"], seconds["official"]),
        "memory_MiB": memory_peak(),
        "bootstrap_2000_of_500x19_seconds": round(bootstrap_seconds(), 3),
        "peak_of_scoring_MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    write_json(
        options.out,
        {
            "what": f"{options.pictures} predictions of {SIZE[0]}×{SIZE[1]}, class and category IoU and iIoU, equal to the bit",
            "rounds": options.rounds,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "environment": environment(),
            "peers": {"cityscapesscripts": importlib.metadata.version("cityscapesscripts")},
            "targets": {"ratio_to_official": 0.25, "memory_beyond_model_MiB": 1536, "bootstrap_seconds": 2},
            "results": results,
        },
    )
    print(results)


if __name__ == "__main__":
    main()
