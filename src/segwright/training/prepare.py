"""Before the first step: data read and fingerprinted, model built, what `auto` leaves open decided, all of it written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from segwright.build import (
    build_loss,
    build_segmenter,
    build_space,
    model_space,
    pick_device,
    prediction_map,
    score_space,
)
from segwright.contracts import Batch, Dataset, UserError
from segwright.data.augment import load_pipeline
from segwright.data.loading import TrainLoader
from segwright.data.splits import read_splits, write_splits
from segwright.data.statistics import class_weights, fingerprint, names_hash
from segwright.inference.running import FORMATS
from segwright.labels import LabelSpace
from segwright.losses import total_loss
from segwright.metrics.protocols import find_protocol
from segwright.models import Segmenter
from segwright.models.converted import in_space
from segwright.recipe import LoadedRecipe, Recipe, load_recipe
from segwright.recipe.loading import annotated
from segwright.runs import Run, create_run
from segwright.runs.environment import environment
from segwright.training.averaging import AveragedModel
from segwright.training.optimizer import build_optimizer
from segwright.training.probe import candidates, doubtful_layers, measure_modes
from segwright.training.progress import Counting, TrainingProgress
from segwright.training.reading import Reading
from segwright.training.schedule import build_schedule
from segwright.training.starting import freeze_layers, say_advice, start_weights
from segwright.training.state import Counters, Learner
from segwright.training.trainer import Trainer, autocast


def start(loaded: LoadedRecipe, *, runs: Path, name: str | None, console: Console) -> Trainer:
    """A new run: everything checked and built, its folder written, ready to `fit`.

    Raises UserError or DataError before any folder is made when the recipe or the data is wrong.
    """
    recipe = _settled(loaded.recipe)
    torch.manual_seed(recipe.seed)
    space, scored = model_space(recipe), score_space(recipe)
    find_protocol(recipe.protocol)
    device = pick_device(recipe.training.device)
    segmenter = build_segmenter(recipe, space)
    started = start_weights(segmenter, recipe.model, console)
    freeze_layers(segmenter, recipe.model, console)
    build_schedule(recipe.schedule, 1)  # only to refuse wrong arguments before any picture is read
    build_optimizer(recipe.optimizer, segmenter)
    in_space(segmenter, prediction_map(space, scored))  # refuses what cannot be told in the scored space
    data = Reading(recipe, space, scored, stride=segmenter.stride, device=device, console=console)
    facts = {
        "train": _fingerprint(data.loader.dataset, space, "train", console, sets=data.loader.sets),
        "val": _fingerprint(data.validation, scored, "val", console),
    }
    say_advice(started, facts["train"]["pictures"], console)
    recipe = _with(recipe, "training", device=device)
    origins = dict(loaded.origins) | _decided(recipe)
    recipe = _with_class_weights(recipe, facts["train"], space, console)
    loss = build_loss(recipe, space).to(device)
    segmenter = segmenter.to(device)
    recipe = _with_fastest_mode(recipe, segmenter, loss, console)
    run = create_run(runs, name=name, label=recipe.name, recipe_text=annotated(LoadedRecipe(recipe, origins)))
    run.write_json("environment.json", environment())
    spaces = {"label_space": space.to_dict(), "score_space": scored.to_dict()}
    if started:
        run.write_json("weights.json", dict(started))
    run.write_json("data.json", spaces | {"splits": facts} | data.facts())
    if recipe.data.split_file is not None:
        write_splits(run.path / "splits.json", read_splits(Path(recipe.data.split_file)))
    console.print(f"run [bold]{run.path}[/]", highlight=False)
    return _assemble(recipe, run, segmenter, loss, data.loader, data.validation, console)


def resume(run: Run, *, console: Console) -> Trainer:
    """A run as it stood at its last checkpoint. The resolved recipe is used as it is: nothing is probed again."""
    recipe = load_recipe(run.recipe_file).recipe
    torch.manual_seed(recipe.seed)
    space = model_space(recipe)
    device = pick_device(recipe.training.device)
    segmenter = build_segmenter(recipe, space, fresh=False)
    freeze_layers(segmenter, recipe.model, console)
    scored = score_space(recipe)
    data = Reading(recipe, space, scored, stride=segmenter.stride, device=device, console=console)
    _refuse_other_data(run, data.loader.dataset, data.validation)
    loss = build_loss(recipe, space).to(device)
    trainer = _assemble(recipe, run, segmenter.to(device), loss, data.loader, data.validation, console)
    trainer.resume()
    counters = trainer.learner.counters
    best = "none yet" if counters.best_miou is None else f"{counters.best_miou:.4f} in epoch {counters.best_epoch}"
    console.print(
        f"resuming {run.path}: epoch {counters.epoch + 1}/{recipe.training.epochs}, step {counters.step}, best mIoU {best}",
        highlight=False,
    )
    return trainer


def _settled(recipe: Recipe) -> Recipe:
    """The recipe without anything that depends on the current folder or on files that may change: a run keeps it."""
    data, augmentation = recipe.data, recipe.augmentation
    also = [s.model_copy(update={"root": _absolute(s.root), "labels": _space_of(s.labels)}) for s in data.also]
    places = {"root": _absolute(data.root), "split_file": _absolute(data.split_file)}
    recipe = _with(recipe, "data", **places, also=also, labels=_space_of(data.labels))
    model = recipe.model
    weights = (
        model.weights
        if model.weights in (None, "imagenet") or "://" in str(model.weights)
        else _absolute(model.weights)
    )
    spaces = {"labels": _space_of(model.labels), "weights_labels": _space_of(model.weights_labels)}
    recipe = _with(recipe, "model", weights=weights, **spaces)
    recipe = recipe.model_copy(update={"score_labels": _space_of(recipe.score_labels)})
    if augmentation.name == "albumentations" and "file" in augmentation.args:
        args = {k: v for k, v in augmentation.args.items() if k != "file"}
        recipe = _with(recipe, "augmentation", args=args | {"pipeline": load_pipeline(augmentation.args["file"])})
    return recipe


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().resolve())


Labels = str | dict[str, Any] | None


def _space_of(labels: Labels) -> Labels:
    """The space itself where `labels` is a file; shipped names stay."""
    is_file = isinstance(labels, str) and labels.endswith((".yaml", ".yml"))
    return build_space(labels).to_dict() if is_file and labels is not None else labels


def _decided(recipe: Recipe) -> dict[str, str]:
    """Origins of the values that this run decides itself: `auto`, and class weights given as a rule."""
    found = {
        f"training.{k}": "measured here"
        for k in ("precision", "memory_format")
        if getattr(recipe.training, k) == "auto"
    }
    if isinstance(rule := recipe.loss.args.get("class_weights"), str):
        found["loss.args.class_weights"] = f"{rule}, from the training pictures"
    return found


def _assemble(
    recipe: Recipe,
    run: Run,
    segmenter: Segmenter,
    loss: nn.Module,
    loader: TrainLoader,
    validation: Dataset,
    console: Console,
) -> Trainer:
    training = recipe.training
    segmenter = segmenter.to(memory_format=FORMATS[training.memory_format])
    steps = -(-loader.batches_per_epoch // training.accumulation) * training.epochs
    decay = training.ema_decay
    learner = Learner(
        segmenter=segmenter,
        optimizer=build_optimizer(recipe.optimizer, segmenter),
        average=None if decay is None else AveragedModel(segmenter, decay=decay),
        scaler=torch.amp.GradScaler(torch.device(training.device).type, enabled=training.precision == "fp16"),
        counters=Counters(),
    )
    return Trainer(
        recipe=recipe,
        run=run,
        learner=learner,
        loss=loss,
        loader=loader,
        validation=validation,
        score_map=prediction_map(model_space(recipe), score_space(recipe)),
        factor=build_schedule(recipe.schedule, steps),
        progress=TrainingProgress(console, total=steps, epochs=training.epochs),
        started=run.read_json("weights.json") if (run.path / "weights.json").is_file() else {},
    )


def _fingerprint(dataset: Dataset, space: LabelSpace, split: str, console: Console, *, sets: int = 0) -> dict[str, Any]:
    with Counting(console, f"fingerprint of {split}") as progress:
        return fingerprint(dataset, space, progress, sets=sets)


def _refuse_other_data(run: Run, train_set: Dataset, validation: Dataset) -> None:
    splits = run.read_json("data.json").get("splits", {})
    for split, dataset in (("train", train_set), ("val", validation)):
        before = splits.get(split, {}).get("names_sha256")
        if before and before != names_hash(dataset):
            raise UserError(
                f"the {split} pictures are not those that run {run.path} was started with (names or order differ). "
                f"Resuming would mix two data sets: start a new run with `segwright train {run.recipe_file}`."
            )


def _with(recipe: Recipe, section: str, **values: Any) -> Recipe:
    part = getattr(recipe, section)
    return recipe.model_copy(update={section: part.model_copy(update=values)})


def _with_class_weights(recipe: Recipe, facts: dict[str, Any], space: LabelSpace, console: Console) -> Recipe:
    """Turn a named rule of `loss.args.class_weights` into numbers, from the training pictures."""
    rule = recipe.loss.args.get("class_weights")
    if not isinstance(rule, str):
        return recipe
    pixels = np.array(facts["class_pixels"], np.int64)
    weights = class_weights(
        pixels,
        np.array(facts["class_image_pixels"], np.int64),
        method=rule,
        ignored_pixels=facts["ignored_pixels"],
        ignored_image_pixels=facts["ignored_image_pixels"],
    )
    numbers = [round(float(w), 4) for w in weights]
    shown = ", ".join(f"{n} {w:g}" for n, w in zip(space.class_names, numbers, strict=True))
    console.print(f"class weights ({rule}): {shown}", highlight=False)
    return _with(recipe, "loss", args=recipe.loss.args | {"class_weights": numbers})


def _with_fastest_mode(recipe: Recipe, segmenter: Segmenter, loss: nn.Module, console: Console) -> Recipe:
    """Decide `precision: auto` and `memory_format: auto` by measuring a few training steps."""
    training = recipe.training
    modes = candidates(training.precision, training.memory_format, training.device)
    if len(modes) == 1 and (training.precision == "fp32" or not doubtful_layers(segmenter)):
        return recipe
    height, width = recipe.augmentation.size
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (training.batch, 3, height, width), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, segmenter.num_classes, (training.batch, height, width), generator=generator)
    batch = Batch(image=image, labels=labels, names=(), weights=torch.ones(training.batch)).to(training.device)

    def step(model: nn.Module, image: Tensor, precision: str, memory_format: str) -> None:
        assert isinstance(model, Segmenter)
        with autocast(training.device, precision):
            outputs = model.train().outputs(image)
        total_loss(loss, outputs, batch).backward()

    measured = measure_modes(segmenter, step, batch.image, modes, device=training.device)
    best = measured[0]
    if not best.sound:
        raise UserError(
            f"training.precision={best.precision} with training.memory_format={best.memory_format} computes wrong gradients "
            f"for {recipe.model.name} on this device (a known fault of dilated depthwise convolutions in torch). "
            "Use training.precision=fp32, or leave both on auto."
        )
    console.print(
        f"precision and memory format, measured on this machine: {'; '.join(map(str, measured))} a step. "
        f"Using {best.precision} {best.memory_format}.",
        highlight=False,
    )
    return _with(recipe, "training", precision=best.precision, memory_format=best.memory_format)
