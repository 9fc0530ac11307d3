"""`segwright train DIR`: a recipe for a folder of images and masks, decided from the data and this machine.

Every decision comes with its reason, is shown before training, and stands as a comment in the run's recipe.yaml.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from segwright.build import build_segmenter, pick_device
from segwright.contracts import UserError
from segwright.data.inspect import FolderFacts, inspect_folder
from segwright.recipe import LoadedRecipe
from segwright.recipe.loading import apply_override, check, override_all
from segwright.training.progress import Counting

RARE = 20.0
"""From this ratio of the most to the least frequent class on, the loss is weighted."""


@dataclass(frozen=True)
class Budget:
    """What a device is given: the largest shorter side, optimiser steps, the model and its optimiser."""

    short_side: int
    long_side: int
    steps: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    why: str


CPU = Budget(
    *(256, 352, 1500, {"name": "slim_unet", "args": {}}),
    {"name": "muon", "lr": 0.01, "weight_decay": 0.05, "args": {}},
    "small, and quick to learn on processors",
)
GPU = Budget(
    *(512, 768, 8000, {"name": "smp", "args": {"architecture": "Unet", "encoder": "resnet34"}}),
    {"name": "adamw", "lr": 0.0005, "weight_decay": 0.02, "args": {}},
    "strong for its size; encoder_weights: imagenet starts better where the internet is reachable",
)


def plan_folder(root: Path, overrides: Sequence[str], *, console: Console) -> LoadedRecipe:
    """Look at the folder, decide a recipe, show it line by line. Overrides win over decisions.

    Raises DataError, naming every bad file, when a picture or mask is wrong.
    """
    wanted: dict[str, Any] = {}
    for override in overrides:
        apply_override(wanted, override)
    skip_bad = wanted.get("data", {}).get("skip_bad") is True
    with Counting(console, "looking at the pictures") as progress:
        facts = inspect_folder(root, skip_bad=skip_bad, progress=progress)
    show_facts(facts, console)
    content, reasons = decide(facts, pick_device("auto"))
    origins = override_all(content, reasons, overrides)
    if "data.args.val_fraction" in origins:
        del origins["data.val"]  # its reason told of the usual share
    recipe = check(content, origins)
    if origins.get("training.epochs") == "command line" != origins.get("training.val_every"):
        content["training"]["val_every"] = max(1, recipe.training.epochs // 20)
        recipe = check(content, origins)
    build_segmenter(recipe, facts.labels)  # refuses what cannot be built before the table promises it
    show_decisions(content, origins, console)
    return LoadedRecipe(recipe, origins)


def decide(facts: FolderFacts, device: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The recipe as plain data, and the reason of each decided key."""
    if facts.pictures < 2:
        raise UserError(f"{facts.root} holds one labelled picture; training and validation need at least two.")
    budget = CPU if device == "cpu" else GPU
    height, width = next(iter(facts.sizes))
    short_side, size, why_size = _sizes(height, width, len(facts.sizes), budget)
    train = facts.splits.get("train", facts.pictures)
    batch = max(2, min(8, train // 2))
    steps_per_epoch = max(1, train // batch)
    epochs = min(500, max(10, math.ceil(budget.steps / steps_per_epoch)))
    weights, why_weights = _class_weights(facts)
    cores = os.cpu_count() or 1
    workers = 0 if cores <= 4 else min(8, cores - 2)
    content: dict[str, Any] = {
        "name": _plain(facts.root.resolve().name),
        "seed": 0,
        "data": {
            **{"name": "paired_folders", "root": str(facts.root), "labels": facts.labels.to_dict()},
            **{"train": "train", "val": "val", "split_file": None, "also": [], "skip_bad": False},
            **{"cache": "auto", "args": {}},
        },
        "model": deepcopy(budget.model) | {"short_side": short_side},
        "loss": {"name": "cross_entropy", "args": {"class_weights": weights, "label_smoothing": 0.0}},
        "optimizer": deepcopy(budget.optimizer),
        "schedule": {"name": "cosine", "warmup": 0.05, "args": {"final": 0.01}},
        "augmentation": {
            "name": "standard",
            "size": size,
            "args": {"crop_p": 1.0, "scale_p": 1.0, "scale": [0.75, 1.5]},
        },
        "training": {
            **{"epochs": epochs, "batch": batch, "accumulation": 1, "device": device, "precision": "auto"},
            **{"memory_format": "auto", "clip_norm": 5.0, "ema_decay": 0.99, "val_every": max(1, epochs // 20)},
            **{"patience": None, "min_delta": 0.0, "workers": workers},
        },
        "protocol": "pooled",
    }
    reasons = {
        "data.labels": f"{facts.labels.num_classes} classes: "
        + (f"names from {facts.names_from.name}" if facts.names_from else "made from the mask values"),
        "data.val": f"{train} pictures to train on, {facts.splits.get('val', 0)} to validate: {facts.layout}",
        "model.name": f"{device}: {budget.why}",
        "model.short_side": why_size,
        "augmentation.size": "crop that the network trains on, a multiple of its stride",
        "augmentation.args.scale": "objects come at many sizes",
        "loss.args.class_weights": why_weights,
        "training.batch": f"{train} training pictures",
        "training.epochs": f"about {budget.steps} steps of {steps_per_epoch} an epoch",
        "training.precision": "measured before the first step",
        "training.memory_format": "measured before the first step",
        "training.workers": f"{cores} cores" + (": a background thread reads" if workers == 0 else ""),
        "training.val_every": "about twenty validations",
    }
    return content, reasons


def _sizes(height: int, width: int, different: int, budget: Budget) -> tuple[int | None, list[int], str]:
    """short_side, crop size, and the reason; from the most frequent picture size."""
    short = min(height, width)
    short_side = budget.short_side if short > budget.short_side else None
    factor = (short_side or short) / short
    size = [max(64, min(budget.long_side, int(side * factor)) // 32 * 32) for side in (height, width)]
    found = f"most pictures are {height}×{width}" + (f" (of {different} sizes)" if different > 1 else "")
    if short_side is None:
        return None, size, f"{found}: small enough as they are"
    return short_side, size, f"{found}: resized for speed; scores are still taken at the original size"


def _class_weights(facts: FolderFacts) -> tuple[str | None, str]:
    seen = [p for p in facts.class_pixels if p > 0]
    ratio = max(seen) / min(seen)
    if ratio < RARE:
        return None, f"the rarest class has {1 / ratio:.0%} of the pixels of the most frequent: balanced enough"
    rarest = facts.labels.class_names[facts.class_pixels.index(min(seen))]
    return "log", f"the most frequent class has {ratio:.0f} times the pixels of {rarest}: rare classes count more"


def _plain(name: str) -> str:
    """A folder name as the start of a run name."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:40] or "data"


def show_facts(facts: FolderFacts, console: Console) -> None:
    """What was found in the folder: sizes, notes, and a table of its classes."""
    sizes = ", ".join(f"{h}×{w} ({n})" for (h, w), n in list(facts.sizes.items())[:4])
    console.print(f"{facts.root}: {facts.pictures} pictures with masks, {facts.layout}; sizes {sizes}", highlight=False)
    for note in facts.notes:
        console.print(f"  · {note}", highlight=False, markup=False)
    total = sum(facts.class_pixels) + facts.ignored_pixels
    table = Table("class", "mask value", "pixels", "pictures", title="what the masks hold")
    for item, pixels, images in zip(facts.labels.classes, facts.class_pixels, facts.class_images, strict=True):
        values = ", ".join(f"#{v:06x}" if facts.encoding == "rgb" else str(v) for v in item.values)
        table.add_row(item.name, values, f"{pixels / total:.1%}", str(images))
    if facts.ignored_pixels:
        table.add_row("ignored", "", f"{facts.ignored_pixels / total:.1%}", "")
    console.print(table)


def show_decisions(content: dict[str, Any], origins: dict[str, str], console: Console) -> None:
    """A table of the keys in `origins`: value and reason of each."""
    table = Table("setting", "value", "why", title="recipe made for this data and machine")
    for key, why in origins.items():
        value: Any = content
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        shown = facts_of(value) if isinstance(value, dict) and "classes" in value else str(value)
        table.add_row(key, shown, why)
    console.print(table)


def facts_of(space: dict[str, Any]) -> str:
    """The class names of a label space, shortened."""
    names = [str(c["name"]) for c in space["classes"]]
    return ", ".join(names[:6]) + (f", … ({len(names)})" if len(names) > 6 else "")
