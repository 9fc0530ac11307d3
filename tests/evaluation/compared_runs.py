"""Run folders for comparisons, as a training leaves them, without the training: networks with settled random weights."""

from __future__ import annotations

from pathlib import Path

import torch

from segwright.build import build_scored_set, build_segmenter, model_space, score_space
from segwright.data.statistics import fingerprint
from segwright.models.weights import save_segmenter
from segwright.recipe import dump, load_recipe
from segwright.runs import Run

SCENES = ("data.args.count={train: 2, val: 4}", "data.args.size=[96, 128]", "augmentation.size=[64, 64]")


def make_run(folder: Path, name: str, *overrides: str, weights: int = 0) -> Run:
    """A run on four generated scenes with a recipe, a model, an environment and a fingerprint, not yet scored."""
    recipe = load_recipe("streets-demo", [*SCENES, *overrides]).recipe
    run = Run(folder / name)
    (run.path / "checkpoints").mkdir(parents=True)
    run.recipe_file.write_text(dump(recipe), encoding="utf-8")
    torch.manual_seed(weights)
    segmenter = build_segmenter(recipe, model_space(recipe))
    for module in segmenter.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # average: settles at once
    with torch.no_grad():
        for _ in range(4):
            segmenter.train().outputs(torch.randint(0, 256, (2, 3, 96, 128), dtype=torch.uint8))
    save_segmenter(segmenter.eval(), run.best)
    space = score_space(recipe)
    val = fingerprint(build_scored_set(recipe.data, recipe.data.val, space), space)
    run.write_json("data.json", {"splits": {"train": {"sha256": "the same"}, "val": val}})
    run.write_json("environment.json", {"python": "3.13", "date": name, "packages": {"torch": "2.15"}})
    return run
