"""Refining 512×1024 with 19 classes by a fully connected CRF: seconds, memory, and the error against exact sums.

Drawn streets with scores such as a network of stride 8 gives. On crops of 64×96 the fast method meets the exact sums, and
a naive peer that a reader would write first: mean field in NumPy over all pairs of pixels. They alternate in one process.

OMP_NUM_THREADS=2 python -m benchmarks.crf [--rounds 3] [--pictures 4]   writes benchmarks/results/crf.json
"""

from __future__ import annotations

import argparse
import resource
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.rounds import alternate, ratio
from segwright.data.streets import TRAIN_ID, render_scene
from segwright.files import write_json
from segwright.models.crf import CrfSettings, bilateral_kernel, refine
from segwright.runs.environment import environment

RESULTS = Path(__file__).resolve().parent / "results" / "crf.json"
SIZE, CROP, CLASSES = (512, 1024), (64, 96), 19
VARIANTS = {"usual": {}, "sigma_rgb 3": {"sigma_rgb": 3.0}, "sigma 20, 20": {"sigma_xy": 20.0, "sigma_rgb": 20.0}}


def street(seed: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A picture, uint8 [3, H, W], and noisy scores of its truth seen at stride 8, float32 [K, H, W]."""
    scene = render_scene(seed, *size)
    truth = torch.from_numpy(np.asarray(TRAIN_ID)[scene.label_ids]).long()
    truth = truth.where(truth < CLASSES, 0)
    seeded = torch.Generator().manual_seed(seed)
    coarse = F.avg_pool2d(F.one_hot(truth, CLASSES).permute(2, 0, 1)[None].float(), 8) * 5
    coarse += torch.randn(coarse.shape, generator=seeded)
    logits = F.interpolate(coarse, size=size, mode="bilinear")[0]
    logits += 0.5 * torch.randn(logits.shape, generator=seeded)
    return torch.from_numpy(scene.image).permute(2, 0, 1).contiguous(), logits.contiguous()


def naive(logits: Tensor, image: Tensor, settings: CrfSettings) -> NDArray[np.float32]:
    """Mean field over all pairs of pixels, as one would write it first."""
    classes, height, width = logits.shape
    place = np.indices((height, width)).transpose(1, 2, 0).reshape(-1, 2).astype(np.float32)
    color = image.reshape(3, -1).T.numpy().astype(np.float32)

    def kernel(features: NDArray[np.float32]) -> NDArray[np.float32]:
        squares = (features**2).sum(1)
        found = np.exp(-0.5 * np.maximum(0, squares[:, None] + squares - 2 * features @ features.T))
        roots = np.sqrt(found.sum(1))
        return np.asarray(found / (roots[:, None] * roots), np.float32)

    def softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
        exps = np.exp(scores - scores.max(1, keepdims=True))
        return np.asarray(exps / exps.sum(1, keepdims=True))

    near = kernel(place / settings.sigma_gaussian)
    alike = kernel(np.concatenate([place / settings.sigma_xy, color / settings.sigma_rgb], 1))
    unary = logits.reshape(classes, -1).T.numpy()
    probs = softmax(unary)
    for _ in range(settings.iterations):
        probs = softmax(unary + settings.w_bilateral * (alike @ probs) + settings.w_gaussian * (near @ probs))
    return probs.T.reshape(logits.shape)


def errors(pictures: int) -> dict[str, dict[str, float]]:
    """The fast method against exact sums, on pictures drawn small, by settings: worst picture of each."""
    found = {}
    for name, change in VARIANTS.items():
        settings = CrfSettings(**change)  # type: ignore[arg-type]
        rows = []
        for seed in range(pictures):
            image, logits = street(seed, CROP)
            fast, exact = (refine(logits, image, replace(settings, method=method)) for method in ("fast", "exact"))
            agree = (fast.argmax(0) == exact.argmax(0)).float().mean()
            moved = (exact.argmax(0) != logits.argmax(0)).float().mean()
            rows.append((float(agree), float(moved), float((fast - exact).abs().mean())))
        worst = np.array(rows)
        found[name] = {
            "same_class_least": round(float(worst[:, 0].min()), 4),
            "moved_by_exact_mean": round(float(worst[:, 1].mean()), 4),
            "probability_error_mean": round(float(worst[:, 2].mean()), 5),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=4, help="crops that the error is measured on")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    image, logits = street(0, SIZE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    full = {name: CrfSettings(**change) for name, change in VARIANTS.items()}  # type: ignore[arg-type]
    seconds = alternate({name: partial(refine, logits, image, s) for name, s in full.items()}, args.rounds)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    crop, scores = street(0, CROP)
    usual, exact = CrfSettings(), CrfSettings(method="exact")
    calls = {
        "fast": lambda: refine(scores, crop, usual),
        "exact": lambda: refine(scores, crop, exact),
        "naive NumPy": lambda: naive(scores, crop, usual),
    }
    against = alternate(calls, args.rounds)
    same = float((naive(scores, crop, usual).argmax(0) == refine(scores, crop, exact).argmax(0).numpy()).mean())
    found: dict[str, Any] = {
        "rounds": args.rounds,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "threads": torch.get_num_threads(),
        "size": SIZE,
        "classes": CLASSES,
        "iterations": usual.iterations,
        "seconds": {name: round(float(np.median(values)), 3) for name, values in seconds.items()},
        "corners": {name: bilateral_kernel(image, s).corners for name, s in full.items()},  # type: ignore[attr-defined]
        "peak_mb_beyond_scores_and_picture": round(peak),
        "crop": CROP,
        "crop_seconds": {name: round(float(np.median(values)), 3) for name, values in against.items()},
        "crop_naive_over_fast": ratio(against["naive NumPy"], against["fast"]),
        "naive_and_exact_same_class": round(same, 5),
        "error": errors(args.pictures),
    }
    write_json(args.out, found)
    for key in (
        "seconds",
        "corners",
        "peak_mb_beyond_scores_and_picture",
        "crop_seconds",
        "crop_naive_over_fast",
        "error",
    ):
        print(f"{key}: {found[key]}")


if __name__ == "__main__":
    main()
