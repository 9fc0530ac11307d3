"""`segwright finetune SOURCE DATA`: a recipe that goes on from a trained model, decided from model, data and machine.

Every decision comes with its reason, is shown before training, and stands as a comment in the run's recipe.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from segwright.build import build_dataset, build_segmenter, build_space, model_space, pick_device
from segwright.contracts import UserError
from segwright.data.inspect import inspect_folder
from segwright.models import Segmenter
from segwright.models.convert import weights_path
from segwright.models.foreign import read_foreign
from segwright.models.freezing import MANY, STRONG
from segwright.models.hub import SCHEME
from segwright.models.registry import CARDS
from segwright.models.weights import read_saved
from segwright.recipe import LoadedRecipe, Recipe, load_recipe
from segwright.recipe.loading import apply_override, check, override_all
from segwright.runs import model_file
from segwright.training.plan import decide, show_decisions, show_facts
from segwright.training.progress import Counting

Freeze = list[str] | float | None

BACKBONES = ("backbone", "encoder", "net.backbone", "net.encoder", "net.model.encoder")
"""Where the architectures here keep the part that a classifier of whole pictures has, too."""
LOWER_RATE = 0.3
"""Share of the learning rate from scratch that a plan of ours gives a model that is trained already."""
EARLY_RATE = 0.1
"""Share of the rate that the first layer gets where early layers learn."""
FEW = 0.25
"""Share of the layers that counts as the first ones."""
MOST = 0.75
"""Share of the layers that is frozen where a net has no backbone by name."""


@dataclass(frozen=True, kw_only=True)
class SourceModel:
    """A trained model to go on from.

    weights: as `model.weights` takes it. model, mean, std: name and arguments of the architecture and how pictures are
    normalised; None for a file of another program, which does not say. miou: on its own validation split, 0..1, or None.
    """

    weights: str
    model: Mapping[str, Any] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    miou: float | None = None


def find_source(source: str | Path, *, runs: Path) -> SourceModel:
    """The model that `source` means: a run, its name, a weights file, or hf://owner/name[/file].

    Raises UserError where there is none, DataError for a damaged file.
    """
    text = str(source)
    is_file = text.startswith(SCHEME) or Path(text).expanduser().is_file()
    path = weights_path(text) if is_file else model_file(text, runs=runs)[0]
    weights = text if text.startswith(SCHEME) else str(path)
    if path.suffix != ".safetensors" or "segwright" not in read_foreign(path).metadata:
        return SourceModel(weights=weights)
    content, _ = read_saved(path)
    return SourceModel(
        weights=weights,
        model=content["model"],
        mean=content["mean"],
        std=content["std"],
        miou=content["provenance"].get("val_miou"),
    )


def plan_transfer(
    source: str | Path,
    data: str | Path,
    overrides: Sequence[str],
    *,
    freeze: str | None,
    runs: Path,
    console: Console,
) -> LoadedRecipe:
    """The recipe of a transfer, shown line by line. Overrides win over decisions.

    data: a folder of images and masks, a recipe, or a run whose data and settings are taken. freeze: `backbone`, a share
    such as `0.5`, `none`, `gradual`; None decides by the rule of thumb. Raises UserError for a source, a policy or a
    recipe that is wrong or does not fit, DataError for bad pictures.
    """
    found = find_source(source, runs=runs)
    content, origins, reasons = _of_data(data, overrides, runs, console)
    _go_on_from(found, content, reasons)
    origins = override_all(content, origins | reasons, overrides)
    before = dict(origins)
    _fit_size(content, origins)
    validations = origins.get("training.val_every")  # planned for the number of epochs that was planned
    if origins.get("training.epochs") == "command line" and validations == reasons.get("training.val_every", ""):
        content["training"]["val_every"] = max(1, check(content, origins).training.epochs // 20)
    recipe = check(content, origins)
    policy, why = _policy(freeze, recipe, found, origins)
    if policy is not None:
        _apply_policy(policy, why, recipe, content, origins)
        recipe = check(content, origins)
    chosen = {key: why for key, why in origins.items() if key in reasons or before.get(key) != why}
    typed = {key: why for key, why in origins.items() if why == "command line"}
    show_decisions(content, chosen | typed, console)
    return LoadedRecipe(recipe, origins)


def contenders(loaded: LoadedRecipe) -> dict[str, LoadedRecipe]:
    """The same recipe three times: most layers frozen, half of them frozen, and everything from random numbers.

    Raises UserError where the recipe has stages, which freeze in their own way, or starts from nothing.
    """
    recipe = loaded.recipe
    if recipe.stages or recipe.model.weights is None:
        raise UserError(
            "a comparison freezes the same model in three ways, for which the recipe must start from weights and have no "
            "stages: add stages=[], and leave --freeze gradual out."
        )
    most = backbone_patterns(_on_paper(recipe)) or MOST
    kept, early = recipe.model.model_dump(), recipe.optimizer.decay_by_depth
    scratch: dict[str, Any] = {"weights": None, "weights_labels": None, "allow": [], "reset": [], "freeze": None}
    changes: dict[str, tuple[dict[str, Any], float | None]] = {
        "frozen": (kept | {"freeze": most}, None),
        "half frozen": (kept | {"freeze": 0.5}, early),
        "from scratch": (kept | scratch, None),
    }
    return {
        title: LoadedRecipe(
            check(_replaced(recipe, model, decay)), dict(loaded.origins) | {"model.freeze": f"--compare: {title}"}
        )
        for title, (model, decay) in changes.items()
    }


def backbone_patterns(segmenter: Segmenter) -> list[str]:
    """The pattern of the backbone's parameters; empty for a net that has none by a name that is known here."""
    names = [name for name, _ in segmenter.architecture.named_parameters()]
    found = [f"{part}.*" for part in BACKBONES if any(fnmatchcase(name, f"{part}.*") for name in names)]
    return found[:1]


def gradual(recipe: Recipe, first: Freeze) -> list[dict[str, Any]]:
    """Stages that thaw from the head down: a quarter of the epochs each for the first two, at falling rates.

    first: what is frozen in the first stage. Raises UserError below three epochs, and for a recipe with stages.
    """
    epochs, lr = recipe.training.epochs, recipe.optimizer.lr
    if recipe.stages or epochs < 3:
        found = f"{len(recipe.stages)} stages of its own" if recipe.stages else f"{epochs} epochs"
        raise UserError(
            f"--freeze gradual makes three stages, and the recipe has {found}. Give it three epochs or more, and stages=[]."
        )
    part = max(1, epochs // 4)
    return [
        {"name": "head", "epochs": part, "freeze": first},
        {"name": "upper half", "epochs": part, "freeze": 0.5, "optimizer": {"lr": lr / 2}},
        {"name": "everything", "freeze": None, "optimizer": {"lr": lr / 5, "decay_by_depth": EARLY_RATE}},
    ]


def _of_data(
    data: str | Path, overrides: Sequence[str], runs: Path, console: Console
) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """The recipe of the data as plain data, the origins of its values, and the reasons of what was decided."""
    if not Path(data).is_dir() or (Path(data) / "recipe.yaml").is_file():
        of_run = [f for f in (Path(data) / "recipe.yaml", runs / data / "recipe.yaml") if f.is_file()]
        loaded = load_recipe(of_run[0] if of_run else data)
        return loaded.recipe.model_dump(), dict(loaded.origins), {}
    wanted: dict[str, Any] = {}
    for override in overrides:
        apply_override(wanted, override)
    with Counting(console, "looking at the pictures") as progress:
        facts = inspect_folder(Path(data), skip_bad=wanted.get("data", {}).get("skip_bad") is True, progress=progress)
    show_facts(facts, console)
    content, reasons = decide(facts, pick_device("auto"))
    if content["optimizer"]["name"] == "muon":  # its steps turn every direction of a kernel, what is known as well
        content["optimizer"] = {"name": "adamw", "lr": 0.003, "weight_decay": 0.02, "args": {}}
    content["optimizer"]["lr"] = round(content["optimizer"]["lr"] * LOWER_RATE, 6)
    reasons["optimizer.lr"] = f"{LOWER_RATE:g} of the rate from scratch: the model knows something already"
    return check(content).model_dump(), {}, reasons


def _go_on_from(found: SourceModel, content: dict[str, Any], reasons: dict[str, str]) -> None:
    """Put the source's weights and architecture in place of those of the recipe."""
    model = content["model"]
    model["weights"] = found.weights
    reasons["model.weights"] = "where training starts"
    if found.model is None:
        return
    name, args = found.model["name"], dict(found.model.get("args", {}))
    args |= {
        key: None for key in CARDS[name].initial_weights if key in args
    }  # the source's numbers come in their place
    model |= {"name": name, "args": args}
    model |= {"weights_labels": None, "allow": [], "reset": []}
    reasons["model.name"] = reasons["model.args"] = "the source's"
    for key, values in (("mean", found.mean), ("std", found.std)):
        if model[key] is None and values is not None:
            model[key] = [float(str(np.float32(value))) for value in values]  # the shortest number that it is
            reasons[f"model.{key}"] = "with which the source was trained"


def _fit_size(content: dict[str, Any], origins: dict[str, str]) -> None:
    """Bring a crop that was made for another architecture to the nearest multiple of this one's stride."""
    if origins.get("augmentation.size") == "command line":
        return  # a wrong one is refused with the nearest right one
    recipe = check(content, origins)
    stride = _on_paper(recipe).stride
    size = [max(stride, round(side / stride) * stride) for side in recipe.augmentation.size]
    if size != recipe.augmentation.size:
        content["augmentation"]["size"] = size
        origins["augmentation.size"] = f"nearest multiples of {stride}, which {recipe.model.name} needs"


def _policy(
    freeze: str | None, recipe: Recipe, found: SourceModel, origins: Mapping[str, str]
) -> tuple[str | None, str]:
    """What to freeze and why; None where the recipe or an override has said it."""
    said = recipe.model.freeze is not None or bool(recipe.stages) or origins.get("model.freeze") == "command line"
    if freeze is not None:
        if origins.get("model.freeze") == "command line":
            raise UserError("--freeze and model.freeze=… say the same: keep one.")
        return freeze, "--freeze"
    if said:
        return None, ""
    data = f"{(pictures := _pictures(recipe)):,} training pictures"
    if found.miou is None:
        return f"{FEW}", f"how good the source is, is not known: the first layers alone ({data})"
    source = f"a source of mIoU {found.miou:.2f}"
    if found.miou >= STRONG and pictures >= MANY:
        policy = "backbone" if backbone_patterns(_on_paper(recipe)) else f"{MOST}"
        return policy, f"{source} and {data}: strong and good, so freeze more"
    return f"{FEW}", f"{source} and {data}: weak or few, so freeze less"


def _apply_policy(policy: str, why: str, recipe: Recipe, content: dict[str, Any], origins: dict[str, str]) -> None:
    """Write a policy into the recipe: `model.freeze` or `stages`, and lower rates for early layers that learn."""
    if policy == "gradual":
        content["stages"] = gradual(recipe, backbone_patterns(_on_paper(recipe)) or MOST)
        content["model"]["freeze"], origins["stages"] = None, f"{why}: the head first, everything in the end"
        return
    content["model"]["freeze"], origins["model.freeze"] = _frozen(policy, recipe), why
    key = "optimizer.decay_by_depth"
    if policy != "backbone" and recipe.optimizer.decay_by_depth is None and origins.get(key) != "command line":
        content["optimizer"]["decay_by_depth"], origins[key] = EARLY_RATE, "early layers are general: they change least"


def _frozen(policy: str, recipe: Recipe) -> Freeze:
    if policy == "none":
        return None
    if policy == "backbone":
        if patterns := backbone_patterns(_on_paper(recipe)):
            return list(patterns)
        raise UserError(
            f"--freeze backbone: {recipe.model.name} has no part that is called backbone or encoder. Freeze a share of "
            f"its layers instead, such as --freeze {MOST}, or name them: 'model.freeze=[stem.*]'."
        )
    try:
        share = float(policy)
    except ValueError:
        share = -1.0
    if 0 < share < 1:
        return share
    raise UserError(
        f"--freeze is '{policy}'; allowed are backbone, none, gradual, and a share of the layers between 0 and 1, such as "
        "0.5. Name patterns are given as 'model.freeze=[backbone.*]'."
    )


def _pictures(recipe: Recipe) -> int:
    data = recipe.data
    return len(build_dataset(data, data.train, build_space(data.labels)))


def _on_paper(recipe: Recipe) -> Segmenter:
    """The recipe's model without memory or arithmetic: names, shapes, stride."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return build_segmenter(recipe, model_space(recipe), fresh=False)


def _replaced(recipe: Recipe, model: Mapping[str, Any], decay: float | None) -> dict[str, Any]:
    content = recipe.model_dump()
    return content | {"model": dict(model), "optimizer": content["optimizer"] | {"decay_by_depth": decay}}
