"""`training.batch: auto`: trial steps of a copy of the model say which batch fits here and is fast.

On a GPU larger batches are used because they are there; on a processor, where the time a picture hardly changes, the
fastest one is.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from rich.console import Console
from torch import Tensor

from segwright.contracts import Batch, UserError
from segwright.data.device import free_on
from segwright.inference.running import FORMATS
from segwright.losses import SegmentationLoss, total_loss
from segwright.models import Segmenter
from segwright.recipe import Recipe
from segwright.recipe.stages import stage_recipes
from segwright.training.memory import Estimate, advice, estimate, is_out_of_memory, release
from segwright.training.optimizer import build_optimizer
from segwright.training.probe import random_batch
from segwright.training.step import autocast

PROVISIONAL = 2
"""The batch until one is measured: numerical modes are compared with it."""
SHARE = {"cuda": 0.8}
OTHER_SHARE = 0.4  # of the free memory of a processor, which the pictures and other programs need too
LARGEST_ELSEWHERE = 16
"""Above this, a processor gains no speed from a larger batch."""
STEPS_PER_EPOCH = 8
"""An epoch keeps at least as many batches."""
REPEATS = 2
WORTH_IT = 0.97
"""A larger batch has to need at most this share of the time a picture."""


def sizes(limit: int) -> Iterator[int]:
    """2, 3, 4, 6, 8, 12, 16, … up to the limit; the limit itself where it is below 2."""
    power = 2
    if limit < 2:
        yield max(1, limit)
    while power <= limit:
        yield power
        if power * 3 // 2 <= limit:
            yield power * 3 // 2
        power *= 2


def largest_crop(recipe: Recipe) -> tuple[int, int]:
    """Height and width of the largest crop of all stages that use `training.batch`."""
    parts = stage_recipes(recipe)
    own = ["batch" in (stage.training or {}) for stage in recipe.stages] or [False]
    found = [part.recipe.augmentation.size for part, has_own in zip(parts, own, strict=True) if not has_own]
    height, width = max(found or [parts[0].recipe.augmentation.size], key=lambda size: size[0] * size[1])
    return height, width


@dataclass(frozen=True)
class Trial:
    """A measured batch. memory: bytes that its step needs beyond the model; seconds: of a step."""

    batch: int
    memory: float
    seconds: float


class _Trials:
    """Training steps on noise, with a copy of the model."""

    def __init__(self, recipe: Recipe, segmenter: Segmenter, loss: SegmentationLoss, size: tuple[int, int]) -> None:
        self.recipe, self.size, self.device = recipe, size, recipe.training.device
        self.free = free_on(self.device)
        self.segmenter = copy.deepcopy(segmenter).to(memory_format=FORMATS[recipe.training.memory_format]).train()
        self.loss = copy.deepcopy(loss).eval()
        self.optimizer = build_optimizer(recipe.optimizer, self.segmenter)
        trained = [p for p in self.segmenter.parameters() if p.requires_grad]
        self.fixed = 3 * sum(p.numel() * p.element_size() for p in trained)  # gradients and two moments

    def batch(self, pictures: int) -> Batch:
        return random_batch(pictures, self.size, self.segmenter.num_classes, device=self.device)

    def loss_of(self, batch: Batch) -> Tensor:
        with autocast(self.device, self.recipe.training.precision):
            outputs = self.segmenter.outputs(batch.image)
        return total_loss(self.loss, outputs, batch, auxiliary_weight=self.recipe.loss.auxiliary_weight)

    def estimate(self) -> Estimate | None:
        """What two crops need, without a backward pass."""
        batch = self.batch(PROVISIONAL)
        return estimate(batch, self.loss_of, fixed_bytes=self.fixed, stride=self.segmenter.stride, device=self.device)

    def seconds(self, pictures: int) -> float:
        """The fastest of REPEATS steps after one to warm up."""
        batch, best = self.batch(pictures), float("inf")
        for attempt in range(REPEATS + 1):
            started = time.perf_counter()
            self.loss_of(batch).backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            if self.device.startswith("cuda"):
                torch.cuda.synchronize()
            if attempt:
                best = min(best, time.perf_counter() - started)
        return best


def best_batch(
    recipe: Recipe,
    segmenter: Segmenter,
    loss: SegmentationLoss,
    *,
    size: tuple[int, int],
    pictures: int,
    console: Console,
) -> int:
    """The batch for this model, crop and machine; says what was measured. The model stays as it is.

    size: (height, width) of the crop. pictures: of the training split. On a GPU the largest of `sizes` whose step stays
    below 80 % of the free memory; elsewhere the fastest a picture up to 16 within 40 % of it.
    Raises UserError saying which crop would fit when no batch does.
    """
    limit = max(2, pictures // STEPS_PER_EPOCH) if pictures > 1 else 1
    device = torch.device(recipe.training.device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        trials = _Trials(recipe, segmenter, loss, size)
        measure = _largest_on_gpu if device.type == "cuda" else _fastest
        measured = measure(trials, limit)
    if not measured:
        found, batch = trials.estimate(), trials.batch(PROVISIONAL)
        told = advice(found, batch, stride=segmenter.stride, device=str(device))
        raise UserError(f"training.batch=auto: no batch fits. {told}")
    best = _chosen(measured, gpu=device.type == "cuda")
    told = ", ".join(f"{t.batch}: {t.seconds / t.batch * 1e3:.0f} ms, {t.memory / 1e9:.2f} GB" for t in measured)
    console.print(
        f"batch, measured here with crops of {size[0]}×{size[1]} (time a picture, memory of a step): {told}. "
        f"Using training.batch={best}.",
        highlight=False,
    )
    return best


def _chosen(measured: list[Trial], *, gpu: bool) -> int:
    """The largest on a GPU; elsewhere the smallest that no larger one beats by much."""
    best = measured[-1] if gpu else measured[0]
    for trial in measured if not gpu else ():
        if trial.seconds / trial.batch < WORTH_IT * best.seconds / best.batch:
            best = trial
    return best.batch


def _largest_on_gpu(trials: _Trials, limit: int) -> list[Trial]:
    """Trials of rising size until the next would need too much, by its peak or by the growth so far."""
    room, measured = SHARE["cuda"] * trials.free, list[Trial]()
    for pictures in sizes(limit):
        if measured and measured[-1].memory * pictures / measured[-1].batch > room:
            break
        release(trials.device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        try:
            seconds = trials.seconds(pictures)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            break
        memory = torch.cuda.max_memory_allocated() - before
        if memory > room:
            break
        measured.append(Trial(pictures, memory, seconds))
    release(trials.device)
    return measured


def _fastest(trials: _Trials, limit: int) -> list[Trial]:
    """Trials of rising size that are estimated to fit, until two in a row are not worth it."""
    found = trials.estimate()
    if found is None:
        return []
    room, measured, best, worse = OTHER_SHARE * found.free_bytes, list[Trial](), float("inf"), 0
    for pictures in sizes(min(limit, LARGEST_ELSEWHERE)):
        memory = found.need(pictures, *trials.size)
        if memory > room:
            break
        measured.append(Trial(pictures, memory, trials.seconds(pictures)))
        each = measured[-1].seconds / pictures
        worse = 0 if each < WORTH_IT * best else worse + 1
        best = min(best, each)
        if worse == 2:
            break
    return measured
