"""Before the first step: data read and fingerprinted, model built, what `auto` leaves open decided, all of it written down."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
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
from segwright.contracts import Dataset, UserError
from segwright.data.augment import load_pipeline
from segwright.data.loading import TrainLoader
from segwright.data.splits import read_splits, write_splits
from segwright.data.statistics import class_weights, fingerprint, names_hash
from segwright.inference.running import FORMATS
from segwright.labels import LabelSpace
from segwright.losses import SegmentationLoss, total_loss
from segwright.metrics.protocols import validation_protocol
from segwright.models import Segmenter
from segwright.models.converted import in_space
from segwright.models.freezing import Frozen
from segwright.recipe import LoadedRecipe, Recipe, load_recipe
from segwright.recipe.loading import annotated
from segwright.recipe.stages import in_every_stage, stage_recipes
from segwright.runs import Run, create_run
from segwright.runs.environment import environment
from segwright.runs.folder import check_place
from segwright.runs.launch import launch_name
from segwright.training.averaging import AveragedModel, EpochMean, averages
from segwright.training.batch_size import PROVISIONAL, best_batch, largest_crop
from segwright.training.changes import plain
from segwright.training.compiling import check_compiler
from segwright.training.distributed import ALONE, Team, check_shared
from segwright.training.memory import keep_freed, peak_memory_mb
from segwright.training.optimizer import build_optimizer
from segwright.training.probe import candidates, doubtful_layers, measure_modes, random_batch
from segwright.training.progress import Counting, TrainingProgress
from segwright.training.reading import Reading
from segwright.training.resuming import Resumption
from segwright.training.stages import Stage, build_stages, check_stages
from segwright.training.starting import freeze_layers, say_advice, start_weights
from segwright.training.state import Counters, Learner, disk_need
from segwright.training.step import autocast
from segwright.training.synced_norm import synced
from segwright.training.tracking import Tracking, check_trackers
from segwright.training.trainer import Trainer
from segwright.training.weighting import rules, with_numbers


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A training that has everything but its folder: checked, built and measured.

    recipe: resolved, no `auto` is left. origins: where its values come from. space: of the model; scored: of validation.
    started: where the weights come from, empty for random ones. facts: the fingerprint of both splits.
    """

    recipe: Recipe
    origins: Mapping[str, str]
    space: LabelSpace
    scored: LabelSpace
    segmenter: Segmenter
    started: Mapping[str, Any]
    frozen: Frozen | None
    stages: tuple[Stage, ...]
    data: Reading
    facts: Mapping[str, Any]


def start(loaded: LoadedRecipe, *, runs: Path, name: str | None, console: Console, team: Team = ALONE) -> Trainer:
    """A new run: everything checked and built, its folder written, ready to `fit`.

    team: where several processes train together, this is the first; the others `join`.
    Raises UserError or DataError before any folder is made when the recipe or the data is wrong.
    """

    def place(recipe: Recipe, segmenter: Segmenter) -> None:
        need = disk_need(segmenter, averaged=averages(recipe.training))
        check_place(runs, need=need, names=[name or f"{recipe.name}_adjective-animal-00"])

    found = prepare(loaded, console=console, place=place, team=team)
    recipe, data = found.recipe, found.data
    text = annotated(LoadedRecipe(recipe, found.origins))
    run = create_run(runs, name=name, label=recipe.name, recipe_text=text)
    run.write_json("environment.json", environment() | {"processes": team.count, "launch": launch_name()})
    spaces = {"label_space": found.space.to_dict(), "score_space": found.scored.to_dict()}
    if found.started:
        run.write_json("weights.json", dict(found.started))
    run.write_json("data.json", spaces | {"splits": dict(found.facts)} | data.facts())
    if recipe.data.split_file is not None:
        write_splits(run.path / "splits.json", read_splits(Path(recipe.data.split_file)))
    console.print(f"run [bold]{run.path}[/]", highlight=False)
    team.invite(plain(recipe), run.path, [data.loader.dataset, data.validation], resumes=False)
    parts = (found.segmenter, found.stages, found.frozen, data.loader, data.validation, console)
    trainer = assemble(recipe, run, *parts, team=team)
    team.other_random_numbers(recipe.seed)
    return trainer


def prepare(
    loaded: LoadedRecipe,
    *,
    console: Console,
    place: Callable[[Recipe, Segmenter], None] | None = None,
    team: Team = ALONE,
) -> Prepared:
    """Everything checked, built, read and measured, and nothing written.

    place: called before any picture is read, to check where the run shall be.
    Raises UserError or DataError when the recipe or the data is wrong.
    """
    wanted = settled(loaded.recipe)
    origins = dict(loaded.origins) | _decided(wanted)
    recipe = _with(wanted, "training", batch=PROVISIONAL) if wanted.training.batch == "auto" else wanted
    check_trackers(recipe.training.track)
    check_shared(wanted, team)
    torch.manual_seed(recipe.seed)
    space, scored = model_space(recipe), score_space(recipe)
    validation_protocol(recipe.protocol, scored)
    device = pick_device(recipe.training.device)
    keep_freed(device)
    segmenter = build_segmenter(recipe, space)
    recipe = _with(recipe, "model", args=dict(recipe.model.args) | dict(segmenter.model["args"]))
    started = start_weights(segmenter, recipe.model, console)
    parts = stage_recipes(recipe)
    check_stages(parts, segmenter)
    frozen = freeze_layers(segmenter, parts[0].recipe.model, console)
    in_space(segmenter, prediction_map(space, scored))  # refuses what cannot be told in the scored space
    if place is not None:
        place(recipe, segmenter)
    data = Reading(parts[0].recipe, space, scored, stride=segmenter.stride, device=device, console=console, shard=team)
    facts = {
        "train": _fingerprint(data.loader.dataset, space, "train", console, sets=data.loader.sets),
        "val": _fingerprint(data.validation, scored, "val", console),
    }
    say_advice(started, facts["train"]["pictures"], console)
    recipe = _with(recipe, "training", device=device)
    recipe = in_every_stage(recipe, lambda one: _with_class_weights(one, facts["train"], space, console))
    loss = build_loss(stage_recipes(recipe)[0].recipe, space, sets=data.loader.sets).to(device)
    segmenter = segmenter.to(device)
    recipe = _with_fastest_mode(recipe, segmenter, loss, console, processes=team.count)
    if wanted.training.batch == "auto":
        pictures = max(1, len(data.loader.dataset) // team.count)
        batch = best_batch(recipe, segmenter, loss, size=largest_crop(recipe), pictures=pictures, console=console)
        recipe = _with(recipe, "training", batch=batch * team.count)
        check_shared(recipe, team)
    stages = build_stages(recipe, space, segmenter.stride, data.loader)
    if (batch := stages[0].recipe.training.batch_size) != data.loader.batch:
        data.loader.change(stages[0].augmentation, batch)
    return Prepared(
        recipe=recipe,
        origins=origins,
        space=space,
        scored=scored,
        segmenter=segmenter.to(memory_format=FORMATS[recipe.training.memory_format]),
        started=started,
        frozen=frozen,
        stages=stages,
        data=data,
        facts=facts,
    )


def resume(
    run: Run, *, console: Console, overrides: Sequence[str] = (), force: bool = False, team: Team = ALONE
) -> Trainer:
    """A run as it stood at its last checkpoint. The resolved recipe is used as it is: nothing is probed again.

    overrides: recipe keys to change from here on, which needs `force`, as does a recipe.yaml that was edited.
    team: as in `start`; it may be of another size than before.
    Raises UserError for a change without `force`, for other pictures, and for a folder that cannot be written; DataError
    when no checkpoint is whole.
    """
    loaded = load_recipe(run.recipe_file, overrides)
    recipe = settled(loaded.recipe) if overrides else loaded.recipe
    loaded = LoadedRecipe(recipe, loaded.origins)
    resumption = Resumption(run, loaded, overrides, force=force, console=console)
    check_trackers(recipe.training.track)
    check_shared(recipe, team)
    torch.manual_seed(recipe.seed)
    space = model_space(recipe)
    device = pick_device(recipe.training.device)
    keep_freed(device)
    segmenter = build_segmenter(recipe, space, fresh=False)
    first = stage_recipes(recipe)[0].recipe
    frozen = freeze_layers(segmenter, first.model, console)
    scored = score_space(recipe)
    data = Reading(first, space, scored, stride=segmenter.stride, device=device, console=console, shard=team)
    _refuse_other_data(run, data.loader.dataset, data.validation)
    stages = build_stages(recipe, space, segmenter.stride, data.loader)
    segmenter = segmenter.to(device)
    team.invite(plain(recipe), run.path, [data.loader.dataset, data.validation], resumes=True)
    trainer = assemble(recipe, run, segmenter, stages, frozen, data.loader, data.validation, console, team=team)
    trainer.resume(team.checkpoint(resumption.checkpoint))
    resumption.done(trainer)
    counters = trainer.learner.counters
    team.told(asdict(counters))
    team.say_change(resumption.checkpoint, console)
    best = "none yet" if counters.best_miou is None else f"{counters.best_miou:.4f} in epoch {counters.best_epoch}"
    console.print(
        f"resuming {run.path}: epoch {counters.epoch + 1}/{recipe.training.epochs}, step {counters.step}, best mIoU {best}",
        highlight=False,
    )
    return trainer


def settled(recipe: Recipe) -> Recipe:
    """The recipe without anything that depends on the current folder or on files that may change: a run keeps it."""
    return in_every_stage(recipe, _settled)


def _settled(recipe: Recipe) -> Recipe:
    check_compiler(recipe)
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
        for k in ("precision", "memory_format", "batch")
        if getattr(recipe.training, k) == "auto"
    }
    for key, rule in rules(recipe.loss.args):
        found[key if "[" not in key else "loss.args.losses"] = f"{rule}, from the training pictures"
    return found


def new_learner(recipe: Recipe, segmenter: Segmenter, stages: Sequence[Stage], frozen: Frozen | None) -> Learner:
    """What learns, before its first step. recipe: resolved; frozen: what the first stage froze."""
    training = recipe.training
    segmenter = segmenter.to(memory_format=FORMATS[training.memory_format])
    decay = training.ema_decay
    return Learner(
        segmenter=segmenter,
        schedule=stages[0].schedule,
        frozen=frozen,
        optimizer=build_optimizer(stages[0].recipe.optimizer, segmenter),
        average=None if decay is None else AveragedModel(segmenter, decay=decay),
        epoch_mean=None if training.swa_from is None else EpochMean(training.swa_from),
        scaler=torch.amp.GradScaler(torch.device(training.device).type, enabled=training.precision == "fp16"),
        counters=Counters(),
    )


def assemble(
    recipe: Recipe,
    run: Run,
    segmenter: Segmenter,
    stages: Sequence[Stage],
    frozen: Frozen | None,
    loader: TrainLoader,
    validation: Dataset,
    console: Console,
    *,
    team: Team = ALONE,
) -> Trainer:
    """The trainer of a resolved recipe. team: all of its processes call this, and get the first one's weights."""
    training = recipe.training
    if not team.alone and training.sync_batchnorm:
        synced(segmenter)
    team.align(segmenter)
    memory = partial(peak_memory_mb, training.device)
    progress = TrainingProgress(console, total=stages[-1].end_step, epochs=training.epochs, memory_mb=memory)
    return Trainer(
        stages=stages,
        run=run,
        learner=new_learner(recipe, segmenter, stages, frozen),
        loader=loader,
        validation=validation,
        score_map=prediction_map(model_space(recipe), score_space(recipe)),
        progress=progress,
        tracking=Tracking(run, recipe if team.first else _with(recipe, "training", track=[]), progress.say),
        settings=plain(recipe),
        team=team,
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
    """Turn class weights given as a rule's name into numbers, from the training pictures."""
    found: dict[str, list[float]] = {}

    def numbers(rule: str) -> list[float]:
        if rule not in found:
            weights = class_weights(
                np.array(facts["class_pixels"], np.int64),
                np.array(facts["class_image_pixels"], np.int64),
                method=rule,
                ignored_pixels=facts["ignored_pixels"],
                ignored_image_pixels=facts["ignored_image_pixels"],
            )
            found[rule] = [round(float(w), 4) for w in weights]
            shown = ", ".join(f"{n} {w:g}" for n, w in zip(space.class_names, found[rule], strict=True))
            console.print(f"class weights ({rule}): {shown}", highlight=False)
        return found[rule]

    return _with(recipe, "loss", args=with_numbers(recipe.loss.args, numbers))


def _with_fastest_mode(
    recipe: Recipe, segmenter: Segmenter, loss: SegmentationLoss, console: Console, *, processes: int
) -> Recipe:
    """Decide `precision: auto` and `memory_format: auto` by measuring a few training steps."""
    training = recipe.training
    modes = candidates(training.precision, training.memory_format, training.device)
    if len(modes) == 1 and (training.precision == "fp32" or not doubtful_layers(segmenter)):
        return recipe
    pictures = max(1, training.batch_size // processes)
    batch = random_batch(pictures, recipe.augmentation.size, segmenter.num_classes, device=training.device)
    trial_loss = copy.deepcopy(loss).eval()  # what an adaptive loss remembers stays as it is

    def step(model: nn.Module, image: Tensor, precision: str, memory_format: str) -> None:
        assert isinstance(model, Segmenter)
        with autocast(training.device, precision):
            outputs = model.train().outputs(image)
        weight = recipe.loss.auxiliary_weight
        total_loss(trial_loss, outputs, batch, auxiliary_weight=weight).backward()

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
