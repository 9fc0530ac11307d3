"""Can this model learn one batch by heart? If not, no training will help, and something below is wrong.

Letters: B batch, K classes, H W pixels, h w reduced sizes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from segwright.contracts import IGNORE, Batch, UserError
from segwright.data.augment import AUGMENTATIONS
from segwright.data.loading import TrainLoader
from segwright.losses.total import at_label_size
from segwright.models import Segmenter
from segwright.recipe import LoadedRecipe
from segwright.training.prepare import Prepared, new_learner, prepare
from segwright.training.progress import Counting
from segwright.training.schedule import set_learning_rate
from segwright.training.state import Learner
from segwright.training.step import Step, autocast

PASSED = 0.95
"""Pixel accuracy on the batch, 0..1, above which it is learnt."""
STEPS = 300
LOOK_EVERY = 10
FELL = 0.7
"""Share of the first loss below which the loss is said to have fallen."""


@dataclass(frozen=True, kw_only=True)
class OverfitCheck:
    """passed: whether the accuracy (0..1, of the labelled pixels, as deployed) rose above 0.95. steps: taken.

    training_accuracy: with batch statistics, as the network sees the batch while it trains. reachable: the accuracy of the
    truth itself brought to the network's output size and back. losses: first and last. causes: likely ones when it failed.
    pictures: names of the batch.
    """

    passed: bool
    steps: int
    accuracy: float
    training_accuracy: float
    reachable: float
    losses: tuple[float, float]
    causes: Sequence[str]
    pictures: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        return {key: list(v) if isinstance(v, tuple) else v for key, v in vars(self).items()}


def overfit_one_batch(loaded: LoadedRecipe, *, steps: int = STEPS, console: Console) -> OverfitCheck:
    """Train on one batch, without augmentation, at the recipe's full learning rate, until it is learnt; nothing is kept.

    steps: at most. Raises UserError when no picture of the first epoch has a labelled pixel, and as a training does.
    """
    if steps < 1:
        raise UserError(f"--steps {steps}: at least one is needed.")
    found = prepare(loaded, console=console)
    stage, loader = found.stages[0], found.data.loader
    recipe = stage.recipe
    loader.change(
        AUGMENTATIONS["none"](tuple(recipe.augmentation.size), short_side=recipe.model.short_side), loader.batch
    )
    learner = new_learner(recipe, found.segmenter, found.stages, found.frozen)
    learner.average = None
    segmenter = learner.segmenter
    with loader:
        batch = _first_labelled(loader).to(recipe.training.device)
    step = Step(recipe, learner, stage.loss, lambda text: None)
    losses: list[float] = []
    accuracy, refused = 0.0, None
    with Counting(console, "learning one batch") as progress:
        while len(losses) < steps and accuracy <= PASSED and refused is None:
            segmenter.train()
            set_learning_rate(learner.optimizer, recipe.optimizer.lr)
            step.begin()
            step.add(batch, share=1.0)
            refused = step.end()
            losses.append(step.loss_value)
            progress(len(losses), steps)
            if len(losses) % LOOK_EVERY == 0 or len(losses) == steps:
                accuracy = _accuracy(learner, batch, recipe.training.precision, training=False)
    in_training = _accuracy(learner, batch, recipe.training.precision, training=True)
    check = OverfitCheck(
        passed=accuracy > PASSED and refused is None,
        steps=len(losses),
        accuracy=accuracy,
        training_accuracy=in_training,
        reachable=reachable_accuracy(segmenter, batch),
        losses=(losses[0], losses[-1]),
        causes=(),
        pictures=batch.names,
    )
    return check if check.passed else _explained(check, found, losses)


def _first_labelled(loader: TrainLoader) -> Batch:
    for batch in loader.epoch(0):
        if bool((batch.labels != IGNORE).any()):
            return batch
    raise UserError(
        "no picture of the first epoch has a labelled pixel: nothing can be learnt from them. Does the label space fit the "
        "masks? Look: segwright data show"
    )


@torch.no_grad()
def _accuracy(learner: Learner, batch: Batch, precision: str, *, training: bool) -> float:
    """Share of the labelled pixels that are right; labels that stand for several classes are left out."""
    segmenter = learner.segmenter
    buffers = [(b, b.clone()) for b in segmenter.buffers()] if training else []
    segmenter.train(training)
    with autocast(str(batch.image.device), precision):
        outputs = segmenter.outputs(batch.image)
    for live, kept in buffers:
        live.copy_(kept)
    return _share_right(at_label_size(outputs.logits_BKhw, batch.labels).argmax(1), batch.labels, segmenter.num_classes)


def _share_right(predicted_BHW: Tensor, labels_BHW: Tensor, classes: int) -> float:
    known = labels_BHW < classes
    return float((predicted_BHW[known] == labels_BHW[known]).float().mean()) if bool(known.any()) else math.nan


@torch.no_grad()
def reachable_accuracy(segmenter: Segmenter, batch: Batch) -> float:
    """Accuracy, 0..1, of the true masks averaged down to the size of the network's output and brought back up."""
    segmenter.eval()
    size = segmenter.outputs(batch.image).logits_BKhw.shape[2:]
    known = batch.labels < segmenter.num_classes
    truth_BKHW = F.one_hot(batch.labels.where(known, 0), segmenter.num_classes).movedim(-1, 1).float()
    truth_BKhw = F.adaptive_avg_pool2d(truth_BKHW * known.unsqueeze(1), (size[0], size[1]))
    return _share_right(at_label_size(truth_BKhw, batch.labels).argmax(1), batch.labels, segmenter.num_classes)


def _explained(check: OverfitCheck, found: Prepared, losses: Sequence[float]) -> OverfitCheck:
    return OverfitCheck(**vars(check) | {"causes": tuple(_causes(check, found, losses))})


def _causes(check: OverfitCheck, found: Prepared, losses: Sequence[float]) -> Iterator[str]:
    recipe = found.stages[0].recipe
    rate, (first, last) = recipe.optimizer.lr, check.losses
    if not math.isfinite(last):
        yield f"the loss became {last}: optimizer.lr={rate:g} is too high, or training.precision={recipe.training.precision}"
    elif last > first:
        yield f"the loss rose from {first:.3f} to {last:.3f}: optimizer.lr={rate:g} is too high (`segwright lr-find`)"
    if check.training_accuracy > PASSED >= check.accuracy:
        yield "batch normalisation: it is learnt with the batch's own statistics, not with the running ones; take more steps"
    if check.reachable < PASSED:
        yield (
            f"the network's output is coarse: the truth itself, brought to its size and back, is right in only "
            f"{check.reachable:.0%} of the pixels. Use larger pictures (augmentation.size) or a net with a finer output"
        )
    if found.frozen is not None:
        yield "model.freeze leaves too little that can learn"
    if math.isfinite(last) and last <= first:
        if min(losses) > FELL * first:
            yield f"the loss hardly fell ({first:.3f} to {last:.3f}): optimizer.lr={rate:g} is too low, or a part gets no gradient"
        else:
            yield f"the loss still falls ({first:.3f} to {last:.3f}): take more steps, or raise optimizer.lr={rate:g}"
    if recipe.optimizer.weight_decay > 0.1:
        yield f"optimizer.weight_decay={recipe.optimizer.weight_decay:g} is very large"
    yield "masks that do not belong to their pictures, or a label space whose values are mixed up: segwright data show"
