"""The stages of one training as objects, and going from one to the next. A training without stages is one stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from segwright.build import build_augmentation, build_loss
from segwright.contracts import DataError, UserError
from segwright.data.augment import Augment
from segwright.data.device import for_device
from segwright.data.loading import TrainLoader, batches_in
from segwright.labels import LabelSpace
from segwright.losses import SegmentationLoss
from segwright.models import Segmenter
from segwright.models.freezing import freeze, unfreeze
from segwright.recipe import Recipe
from segwright.recipe.stages import StageRecipe, stage_recipes
from segwright.runs.checkpoint import Checkpoint
from segwright.training.changes import differences, plain
from segwright.training.optimizer import build_optimizer
from segwright.training.schedule import RateSchedule, build_schedule
from segwright.training.state import Counters, Learner

LONGEST_VALUE = 40  # characters of a changed value that is shown


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a training computes with in epochs `start` up to, not including, `end`, optimiser steps likewise.

    name: None in a training without stages. recipe: complete and resolved, with the stage's changes.
    loss: one object for neighbouring stages whose losses are equal, so that what it remembers goes on.
    """

    index: int
    name: str | None
    start: int
    end: int
    first_step: int
    end_step: int
    recipe: Recipe
    fresh_optimizer: bool
    loss: SegmentationLoss
    augmentation: Augment
    schedule: RateSchedule

    def rate(self, step: int) -> float:
        """The learning rate of optimiser step `step`, counted over the whole training."""
        return self.recipe.optimizer.lr * self.schedule(step - self.first_step)


def check_stages(stages: Sequence[StageRecipe], segmenter: Segmenter) -> None:
    """Build what each stage needs and that needs no data, to refuse a wrong one before any picture is read.

    Raises UserError naming the stage. The segmenter is left as it was.
    """
    for stage in stages:
        recipe = stage.recipe
        try:
            what = recipe.model.freeze
            frozen = None if what is None else freeze(segmenter.architecture, what)
            build_optimizer(recipe.optimizer, segmenter)
            if frozen is not None:
                unfreeze(segmenter.architecture, frozen)
            build_schedule(recipe.schedule, stage.end - stage.start, epochs=stage.end - stage.start)
            augmentation = build_augmentation(recipe, segmenter.stride)
            if recipe.data.cache == "device":
                for_device(augmentation)
        except UserError as error:
            raise UserError(_in_stage(stage, error)) from None


def build_stages(recipe: Recipe, space: LabelSpace, stride: int, loader: TrainLoader) -> tuple[Stage, ...]:
    """The stages of a resolved recipe. stride: of the model; loader: of what is trained on.

    Raises UserError naming the stage whose loss, augmentation or schedule is wrong.
    """
    found: list[Stage] = []
    for index, stage in enumerate(stage_recipes(recipe)):
        own = stage.recipe
        epochs, first_step = stage.end - stage.start, found[-1].end_step if found else 0
        try:
            steps = -(-batches_in(len(loader.dataset), own.training.batch_size) // own.training.accumulation) * epochs
            same_loss = bool(found) and found[-1].recipe.loss == own.loss
            found.append(
                Stage(
                    index=index,
                    name=stage.name,
                    start=stage.start,
                    end=stage.end,
                    first_step=first_step,
                    end_step=first_step + steps,
                    recipe=own,
                    fresh_optimizer=stage.fresh_optimizer,
                    loss=found[-1].loss if same_loss else _loss(own, space, loader),
                    augmentation=build_augmentation(own, stride),
                    schedule=build_schedule(own.schedule, steps, epochs=epochs),
                )
            )
        except UserError as error:
            raise UserError(_in_stage(stage, error)) from None
    return tuple(found)


def _loss(recipe: Recipe, space: LabelSpace, loader: TrainLoader) -> SegmentationLoss:
    return build_loss(recipe, space, sets=loader.sets).to(recipe.training.device)


def _in_stage(stage: StageRecipe, error: UserError) -> str:
    return str(error) if stage.name is None else f"stage '{stage.name}': {error}"


def stage_at(stages: Sequence[Stage], epoch: int) -> Stage:
    """The stage that an epoch (0 for the first) belongs to."""
    return next(stage for stage in stages if epoch < stage.end)


def saved_stage(stages: Sequence[Stage], checkpoint: Checkpoint) -> Stage:
    """The stage whose parts a checkpoint holds. Raises DataError when the recipe does not have it."""
    index = int(checkpoint.state["counters"]["stage"])
    if index >= len(stages):
        raise DataError(
            f"the checkpoint stands in stage {index + 1}, and the recipe has {len(stages)}: it belongs to another recipe."
        )
    return stages[index]


def change_stage(before: Stage, stage: Stage, learner: Learner, loader: TrainLoader) -> None:
    """Let the learner and the loader go on as `stage` says; what is equal in both stays as it is.

    Without `fresh_optimizer`, parameters that learned before keep their moments.
    """
    old, new = before.recipe, stage.recipe
    if (old.augmentation, old.training.batch) != (new.augmentation, new.training.batch):
        loader.change(stage.augmentation, new.training.batch_size)
    other_layers = old.model.freeze != new.model.freeze
    if other_layers:
        architecture = learner.segmenter.architecture
        if learner.frozen is not None:
            unfreeze(architecture, learner.frozen)
        learner.frozen = None if new.model.freeze is None else freeze(architecture, new.model.freeze)
    if other_layers or stage.fresh_optimizer or old.optimizer != new.optimizer:
        optimizer = build_optimizer(new.optimizer, learner.segmenter)
        if not stage.fresh_optimizer:
            _keep_moments(learner.optimizer, optimizer)
        learner.optimizer = optimizer
    learner.schedule = stage.schedule
    learner.counters.begin_stage(stage.index)


def _keep_moments(before: torch.optim.Optimizer, optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter in before.state:
                optimizer.state[parameter] = before.state[parameter]


def skip_rest(stage: Stage, counters: Counters) -> None:
    """Leave out the epochs that a stage still has, and count them and their steps as done."""
    counters.epoch, counters.step, counters.stopped_early = stage.end, stage.end_step, False


def announcement(before: Stage, stage: Stage, count: int) -> str:
    """`stage 2 of 5, smoothed: epochs 11 to 30, 400 steps; loss.args.label_smoothing=0.1`."""
    changes = differences(plain(before.recipe), plain(stage.recipe))
    told = [f"{key}={_shown(value)}" for key, (_, value) in changes.items()]
    if stage.fresh_optimizer:
        told.append("fresh optimiser")
    called = "" if stage.name == f"stage {stage.index + 1}" else f", {stage.name}"
    what = f"; {'; '.join(told)}" if told else "; nothing else changes"
    steps = stage.end_step - stage.first_step
    first, last = stage.start + 1, stage.end
    when = f"epoch {last}" if first == last else f"epochs {first} to {last}"
    return f"stage {stage.index + 1} of {count}{called}: {when}, {steps} steps{what}"


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
