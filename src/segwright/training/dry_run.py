"""`--dry-run`: what a training would do, read from its recipe and measured in a few real steps. Nothing is kept."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from torch import Tensor

from segwright.build import model_space, prediction_map, score_space
from segwright.contracts import Batch, Dataset, SegwrightError, UserError
from segwright.data.loading import batches_in
from segwright.data.splits import Subset
from segwright.inference.measure import measure
from segwright.labels import LabelSpace
from segwright.losses import total_loss
from segwright.models.converted import in_space
from segwright.recipe import LoadedRecipe
from segwright.training.memory import Estimate, OutOfMemory, advice, estimate, peak_memory_mb
from segwright.training.prepare import Prepared, new_learner, prepare
from segwright.training.schedule import set_learning_rate
from segwright.training.stages import Stage, change_stage
from segwright.training.state import Learner
from segwright.training.step import Step, autocast

PROBE_BATCHES = 4  # of each kind of stage; the first warms up
PROBE_PICTURES = 4  # of the validation; the first warms up
POINTS = 256  # of the learning-rate curve of a stage


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """One split. ignored: share of its pixels that count nowhere, 0..1. classes: name -> share of the others."""

    pictures: int
    ignored: float
    classes: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage, or all of a training that has none (name None).

    epochs: first and last, from 1. batches, steps: in one epoch (forward passes, optimiser steps). rates: (step, rate) pairs.
    batch_s: seconds of one forward and backward pass with its share of waiting for pictures. needed_bytes: estimate of what
    a step needs beyond the model; None where nothing could be measured. validations: how many.
    """

    name: str | None
    epochs: tuple[int, int]
    crop: tuple[int, int]
    batch: int
    accumulation: int
    batches: int
    steps: int
    rates: Sequence[tuple[int, float]]
    batch_s: float
    needed_bytes: float | None
    validations: int

    @property
    def total_steps(self) -> int:
        return self.steps * (self.epochs[1] - self.epochs[0] + 1)

    @property
    def training_s(self) -> float:
        return self.batch_s * self.batches * (self.epochs[1] - self.epochs[0] + 1)


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """A planned training.

    validation_s: of one validation. first_loss: of the first batch. ln_k: what an uninformed model has, auxiliary heads
    included, None where the loss starts elsewhere. peak_mb: most memory that the probe used: of the GPU, else of the
    process. sample: the first batch. space: its classes. recipe: resolved, as plain data.
    """

    name: str
    device: str
    precision: str
    memory_format: str
    splits: Mapping[str, SplitPlan]
    stages: Sequence[StagePlan]
    validation_s: float
    first_loss: float
    ln_k: float | None
    peak_mb: int
    free_bytes: int | None
    sample: Batch
    space: LabelSpace
    recipe: Mapping[str, Any]

    @property
    def total_steps(self) -> int:
        return sum(stage.total_steps for stage in self.stages)

    @property
    def total_s(self) -> float:
        """Seconds of all epochs and validations."""
        return math.fsum(s.training_s + s.validations * self.validation_s for s in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures, as plain data."""
        found = {key: value for key, value in vars(self).items() if key not in ("sample", "space", "splits", "stages")}
        stages = [
            asdict(stage) | {"total_steps": stage.total_steps, "training_s": stage.training_s} for stage in self.stages
        ]
        splits = {name: asdict(split) for name, split in self.splits.items()}
        return found | {
            "splits": splits,
            "stages": stages,
            "total_steps": self.total_steps,
            "total_s": self.total_s,
            "pictures": list(self.sample.names),
        }


def dry_run(loaded: LoadedRecipe, *, console: Console) -> DryRun:
    """Prepare a training, take a few steps of each of its stages and validate a few pictures; write nothing.

    Raises UserError for a recipe that is wrong or needs more memory than there is, saying what would fit, and for a first
    loss that is not finite; DataError for bad pictures.
    """
    found = prepare(loaded, console=console)
    recipe, loader = found.recipe, found.data.loader
    training = recipe.training
    learner = new_learner(recipe, found.segmenter, found.stages, found.frozen)
    stages: list[StagePlan] = []
    measured: dict[str, tuple[float, Estimate | None, float]] = {}
    with loader:
        sample = next(iter(loader.epoch(0)))
        first: float | None = None
        for before, stage in zip((None, *found.stages), found.stages, strict=False):
            if before is not None:
                change_stage(before, stage, learner, loader)
            key = repr((stage.recipe.augmentation, stage.recipe.training.batch, stage.recipe.model.freeze))
            if key not in measured:
                measured[key] = _probe(found, stage, learner)
                first = learner.counters.first_loss if first is None else first
            stages.append(_stage_plan(stage, len(loader.dataset), *measured[key][:2]))
        validation_s = _validation_seconds(found, learner)
    heads = next(iter(measured.values()))[2]
    ln_k = heads * math.log(found.space.num_classes) if found.stages[0].loss.starts_at_ln_k else None
    free = next((e.free_bytes for _, e, _ in measured.values() if e is not None), None)
    return DryRun(
        name=recipe.name,
        device=training.device,
        precision=training.precision,
        memory_format=training.memory_format,
        splits={
            recipe.data.train: _split_plan(found.facts["train"], found.space),
            recipe.data.val: _split_plan(found.facts["val"], found.scored),
        },
        stages=tuple(stages),
        validation_s=validation_s,
        first_loss=math.nan if first is None else first,
        ln_k=ln_k,
        peak_mb=peak_memory_mb(training.device),
        free_bytes=free,
        sample=sample.to("cpu"),
        space=found.space,
        recipe=recipe.model_dump(mode="json"),
    )


def _probe(found: Prepared, stage: Stage, learner: Learner) -> tuple[float, Estimate | None, float]:
    """Seconds of a batch at the stage's crop and batch, the estimate of its memory, and what the heads count together."""
    recipe, loader = stage.recipe, found.data.loader
    training, said = recipe.training, list[str]()
    step, seconds, need = Step(recipe, learner, stage.loss, said.append), list[float](), None
    learner.segmenter.train()
    batches = loader.epoch(stage.start)
    try:
        for index, batch in enumerate(batches):
            if index == 0:
                need = _refuse_too_large(found, stage, batch.to(training.device))
            started = time.perf_counter()
            set_learning_rate(learner.optimizer, stage.rate(stage.first_step))
            step.begin()
            step.add(batch.to(training.device), share=1.0)
            refused = step.end()
            seconds.append(time.perf_counter() - started)
            if refused is not None:
                raise UserError(
                    f"a trial step cannot train: {refused.why}. Samples: {', '.join(refused.names)}. Likely causes: "
                    f"optimizer.lr={recipe.optimizer.lr:g} is too high, training.precision={training.precision}, or damaged "
                    "pictures (`segwright data check`)."
                )
            if index + 1 == PROBE_BATCHES:
                break
    except OutOfMemory as error:
        raise UserError(f"{_called(stage)}{error}. Nothing was started.") from None
    finally:
        loader.close()
    return statistics.fmean(seconds[1:] or seconds), need, step.heads


def _refuse_too_large(found: Prepared, stage: Stage, batch: Batch) -> Estimate | None:
    """What a step of the stage needs. Raises UserError where memory is too small and no error would tell in time."""
    recipe, segmenter = stage.recipe, found.segmenter
    device, trial_loss = recipe.training.device, copy.deepcopy(stage.loss).eval()

    def loss_of(part: Batch) -> Tensor:
        with autocast(device, recipe.training.precision):
            outputs = segmenter.outputs(part.image)
        return total_loss(trial_loss, outputs, part, auxiliary_weight=recipe.loss.auxiliary_weight)

    trained = [p for p in segmenter.parameters() if p.requires_grad]
    fixed = 3 * sum(p.numel() * p.element_size() for p in trained)  # gradients and two moments
    need = estimate(batch, loss_of, fixed_bytes=fixed, stride=segmenter.stride, device=device)
    if device.startswith("cuda"):
        return need  # a step that does not fit fails there, and says so
    pictures, (height, width) = len(batch.names), batch.image.shape[-2:]
    smallest = min(2, pictures) if recipe.training.halve_on_oom else pictures
    if need is None or need.need(smallest, height, width) > need.free_bytes:
        told = advice(need, batch, stride=segmenter.stride, device=device)
        raise UserError(f"{_called(stage)}this training does not fit into memory: {told}. Nothing was started.")
    return need


def _called(stage: Stage) -> str:
    return "" if stage.name is None else f"stage '{stage.name}': "


def _stage_plan(stage: Stage, pictures: int, batch_s: float, need: Estimate | None) -> StagePlan:
    training, (height, width) = stage.recipe.training, stage.recipe.augmentation.size
    batches = batches_in(pictures, training.batch_size)
    every = max(1, (stage.end_step - stage.first_step) // POINTS)
    steps = [*range(stage.first_step, stage.end_step, every)]
    if steps[-1] != stage.end_step - 1:
        steps.append(stage.end_step - 1)
    epochs = range(stage.start + 1, stage.end + 1)
    return StagePlan(
        name=stage.name,
        epochs=(stage.start + 1, stage.end),
        crop=(height, width),
        batch=training.batch_size,
        accumulation=training.accumulation,
        batches=batches,
        steps=-(-batches // training.accumulation),
        rates=tuple((step, stage.rate(step)) for step in steps),
        batch_s=batch_s,
        needed_bytes=None if need is None else need.need(min(pictures, training.batch_size), height, width),
        validations=sum(epoch % training.val_every == 0 or epoch == stage.end for epoch in epochs),
    )


def _validation_seconds(found: Prepared, learner: Learner) -> float:
    """Of one whole validation, from a few of its pictures."""
    recipe, validation = found.recipe, found.data.validation
    told = prediction_map(model_space(recipe), score_space(recipe))
    loss = copy.deepcopy(found.stages[0].loss).eval() if told is None else None

    def seconds(pictures: Dataset) -> float:
        try:
            return measure(
                in_space(learner.deployed, told),
                pictures,
                device=recipe.training.device,
                precision=recipe.training.precision,
                memory_format=recipe.training.memory_format,
                loss=loss,
            ).seconds
        except SegwrightError as error:
            raise type(error)(f"validation: {error}") from None

    count = min(PROBE_PICTURES, len(validation))
    seconds(Subset(validation, range(1)))
    return seconds(Subset(validation, range(count))) / count * len(validation)


def _split_plan(facts: Mapping[str, Any], space: LabelSpace) -> SplitPlan:
    pixels, ignored = facts["class_pixels"], int(facts["ignored_pixels"])
    labelled = sum(pixels)
    shares = (count / max(1, labelled) for count in pixels)
    return SplitPlan(
        pictures=int(facts["pictures"]),
        ignored=ignored / max(1, labelled + ignored),
        classes=dict(zip(space.class_names, shares, strict=True)),
    )
