"""The training loop, top to bottom: batches, optimiser steps, validation, checkpoints.

A batch whose loss is not finite changes no weight and no statistic; its samples are named. Everything that decides
what comes next is in one checkpoint, written atomically after every epoch and on Ctrl-C.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil
import torch
from rich.markup import escape
from torch import nn

from segwright.contracts import Batch, Dataset, SegwrightError
from segwright.data.loading import TrainLoader
from segwright.inference.measure import Measured, measure
from segwright.inference.running import DTYPES
from segwright.labels.mapping import LabelMap
from segwright.losses import total_loss
from segwright.metrics.protocols import find_protocol
from segwright.metrics.scores import Scores, scores
from segwright.models.converted import in_space
from segwright.models.weights import save_segmenter
from segwright.recipe import Recipe
from segwright.runs import Run
from segwright.runs.checkpoint import load_checkpoint, save_checkpoint
from segwright.training.interrupt import Interrupted, StopRequest, stop_requests
from segwright.training.progress import TrainingProgress
from segwright.training.schedule import set_learning_rate
from segwright.training.state import Learner, collect, restore

MAX_BAD_BATCHES = 3  # in a row


@dataclass
class Trainer:
    """One training run. `recipe` is resolved: no `auto` is left in it."""

    recipe: Recipe
    run: Run
    learner: Learner
    loss: nn.Module
    loader: TrainLoader
    validation: Dataset
    score_map: LabelMap | None
    """How predictions are told in the label space of the validation; None where it is the model's."""
    factor: Callable[[int], float]
    progress: TrainingProgress
    started: Mapping[str, Any] = field(default_factory=dict)
    """Where the weights come from that training started with; empty for random ones."""
    bad_in_a_row: int = 0
    """Steps without a finite loss and gradient since the last good one."""

    def resume(self) -> None:
        """Continue from the run's last checkpoint, exactly."""
        self.run.clean()
        self.run.truncate_metrics(restore(self.learner, load_checkpoint(self.run.last)))

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        counters = self.learner.counters
        return counters.stopped_early or counters.epoch >= self.recipe.training.epochs

    def fit(self) -> None:
        """Train to the end. Raises Interrupted after saving when a signal asks to stop."""
        counters = self.learner.counters
        with self.loader, self.progress.live(counters.step), stop_requests(self.progress.say) as request:
            if not self.run.last.exists():
                self._save()  # so that a run stopped in its first epoch can be resumed
            while not self.finished:
                self._finish_epoch(self._train_epoch(request))

    def _train_epoch(self, request: StopRequest) -> dict[str, Any]:
        """The batches of the epoch that are left; returns its row of metrics.jsonl."""
        training, counters = self.recipe.training, self.learner.counters
        started, waited, steps = time.perf_counter(), self.loader.waited_s, 0
        group, culprit = training.accumulation, None
        buffers = _Snapshot(self.learner.segmenter)
        self.learner.segmenter.train()
        total = self.loader.batches_per_epoch
        for batch in self.loader.epoch(counters.epoch, start_batch=counters.batch):
            group_size = min(group, total - batch.index // group * group)
            rate = self.recipe.optimizer.lr * self.factor(counters.step)
            set_learning_rate(self.learner.optimizer, rate)
            if batch.index % group == 0:
                buffers.take()
            loss = self._backward(batch.to(training.device), share=1 / group_size)
            if loss is None:
                buffers.restore()
                culprit = batch
            else:
                self._count(loss)
            counters.batch = batch.index + 1
            steps += 1
            if counters.batch % group and counters.batch < total:
                continue  # more batches belong to this step
            if culprit is None and self._step():
                self.bad_in_a_row = 0
            else:
                buffers.restore()
                self._refuse(culprit or batch)
            culprit = None
            counters.step += 1
            elapsed = time.perf_counter() - started
            self.progress.update(
                counters.step,
                epoch=counters.epoch,
                loss=counters.mean_loss() or math.nan,
                rate=rate,
                wait=(self.loader.waited_s - waited) / elapsed,
                images_per_s=steps * training.batch / elapsed,
            )
            if request.number is not None:
                self._stop(request.number)
        seconds = time.perf_counter() - started
        return {
            "kind": "train",
            "epoch": counters.epoch + 1,
            "step": counters.step,
            "loss": counters.mean_loss(),
            "lr": self.recipe.optimizer.lr * self.factor(max(0, counters.step - 1)),
            "images_per_s": round(steps * training.batch / seconds, 2) if steps else None,
            "data_wait": round((self.loader.waited_s - waited) / seconds, 4),
            "seconds": round(seconds, 2),
            "peak_memory_mb": peak_memory_mb(training.device),
        }

    def _backward(self, batch: Batch, *, share: float) -> float | None:
        """Forward and backward of one batch; the loss, or None (and no gradient) when it is not finite."""
        training = self.recipe.training
        with autocast(training.device, training.precision):
            outputs = self.learner.segmenter.outputs(batch.image)
        loss = total_loss(self.loss, outputs, batch)
        value = loss.item()
        if not math.isfinite(value):
            return None
        self.learner.scaler.scale(loss * share).backward()
        return value

    def _count(self, loss: float) -> None:
        counters = self.learner.counters
        if counters.first_loss is None:
            counters.first_loss = loss
            self.progress.say(explain_first_loss(loss, self.learner.segmenter.num_classes))
        counters.loss_sum += loss
        counters.loss_count += 1

    def _refuse(self, batch: Batch) -> None:
        """Drop the gradients of this step, name the samples, and stop after MAX_BAD_BATCHES in a row."""
        self.learner.optimizer.zero_grad(set_to_none=True)
        self.learner.counters.skipped += 1
        names = ", ".join(batch.names)
        self.progress.say(
            f"[yellow]loss or gradient of a batch is not finite; no weight was changed. Samples: {escape(names)}[/]"
        )
        self.bad_in_a_row += 1
        if self.bad_in_a_row < MAX_BAD_BATCHES:
            return
        raise SegwrightError(
            f"{MAX_BAD_BATCHES} steps in a row have a loss or gradient that is not finite; the last held {names}. The last good "
            f"checkpoint is {self.run.last}. Likely causes: optimizer.lr is too high ({self.recipe.optimizer.lr:g}), "
            "training.precision is fp16 (try bf16 or fp32), or these pictures are damaged. "
            "training.clip_norm=1.0 often helps."
        )

    def _step(self) -> bool:
        """Change the weights by the gradients at hand; False, and nothing changed, when these are not finite."""
        optimizer, scaler = self.learner.optimizer, self.learner.scaler
        clip, parameters = self.recipe.training.clip_norm, list(self.learner.segmenter.parameters())
        scaler.unscale_(optimizer)
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not scaler.is_enabled() and not norm.isfinite():  # an enabled scaler skips the step itself and scales less
            return False
        if clip is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, clip, norm)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if self.learner.average is not None:
            self.learner.average.update(self.learner.counters.step + 1)
        return True

    def _finish_epoch(self, row: dict[str, Any]) -> None:
        """Validate when it is time, write the epoch's rows, and save."""
        training, counters = self.recipe.training, self.learner.counters
        counters.epoch += 1
        counters.batch, counters.loss_sum, counters.loss_count = 0, 0.0, 0
        rows = [row]
        if counters.epoch % training.val_every == 0 or counters.epoch == training.epochs:
            rows.append(self._validate(row))
        length = self.run.append_metrics(*rows)
        self._save(length)

    def _validate(self, row: dict[str, Any]) -> dict[str, Any]:
        training, counters = self.recipe.training, self.learner.counters
        result = measure(
            in_space(self.learner.deployed, self.score_map),
            self.validation,
            device=training.device,
            precision=training.precision,
            memory_format=training.memory_format,
            loss=self.loss if self.score_map is None else None,  # it compares in the model's own space
        )
        found = scores(result.counts_NKK.sum(0))
        miou = find_protocol(self.recipe.protocol).mean_iou(found)
        better = counters.best_miou is None or miou > counters.best_miou + training.min_delta
        if better:
            counters.best_miou, counters.best_epoch, counters.bad_validations = miou, counters.epoch, 0
            segmenter = self.learner.deployed
            segmenter.provenance = self._provenance()
            save_segmenter(segmenter, self.run.best)
        else:
            counters.bad_validations += 1
            counters.stopped_early = training.patience is not None and counters.bad_validations >= training.patience
        self.progress.say(self._describe(row, miou, found, better))
        return self._validation_row(result, miou, found, better)

    def _validation_row(self, result: Measured, miou: float, found: Scores, better: bool) -> dict[str, Any]:
        space = self.learner.segmenter.labels if self.score_map is None else self.score_map.target
        names = space.class_names
        iou = {n: None if math.isnan(v) else round(float(v), 6) for n, v in zip(names, found.iou, strict=True)}
        return {
            "kind": "val",
            "epoch": self.learner.counters.epoch,
            "step": self.learner.counters.step,
            "miou": _finite(miou),
            "accuracy": _finite(found.accuracy),
            "loss": _finite(result.loss),
            "iou": iou,
            "best": better,
            "seconds": round(result.seconds, 2),
        }

    def _describe(self, row: dict[str, Any], miou: float, found: Scores, better: bool) -> str:
        counters = self.learner.counters
        mark = "  best so far" if better else f"  (best {counters.best_miou:.4f} in epoch {counters.best_epoch})"
        text = (
            f"epoch {counters.epoch}/{self.recipe.training.epochs}  loss {row['loss'] or math.nan:.4f}  "
            f"mIoU {miou:.4f}  accuracy {found.accuracy:.4f}  {row['images_per_s'] or math.nan:.1f} img/s  "
            f"data wait {row['data_wait']:.1%}{mark}"
        )
        if counters.stopped_early:
            text += (
                f"\nno better mIoU in {counters.bad_validations} validations: stopping early, as training.patience says"
            )
        return text

    def _provenance(self) -> dict[str, Any]:
        counters = self.learner.counters
        return {
            "run": self.run.name,
            "data": self.recipe.data.name,
            "epoch": counters.epoch,
            "step": counters.step,
            "val_miou": counters.best_miou,
            "protocol": self.recipe.protocol,
            **({"started_from": dict(self.started)} if self.started else {}),
        }

    def _save(self, metrics_length: int = 0) -> None:
        if metrics_length == 0 and self.run.metrics_file.exists():
            metrics_length = self.run.metrics_file.stat().st_size
        save_checkpoint(collect(self.learner, metrics_length=metrics_length), self.run.last)

    def _stop(self, number: int) -> None:
        self._save()
        counters = self.learner.counters
        raise Interrupted(
            f"stopped in epoch {min(counters.epoch + 1, self.recipe.training.epochs)} after step {counters.step}; everything is saved. "
            f"Continue with:\n  segwright train --resume {self.run.path}",
            number,
        )


class _Snapshot:
    """A copy of the model's buffers (BatchNorm statistics), to undo a batch that spoiled them."""

    def __init__(self, model: nn.Module) -> None:
        self.live = list(model.buffers())
        self.kept = [b.clone() for b in self.live]

    @torch.no_grad()
    def take(self) -> None:
        for kept, live in zip(self.kept, self.live, strict=True):
            kept.copy_(live)

    @torch.no_grad()
    def restore(self) -> None:
        for kept, live in zip(self.kept, self.live, strict=True):
            live.copy_(kept)


def autocast(device: str, precision: str) -> torch.autocast:
    """The autocast context of a precision; off for fp32."""
    return torch.autocast(torch.device(device).type, DTYPES[precision], enabled=precision != "fp32")


def explain_first_loss(loss: float, num_classes: int) -> str:
    """What the first loss says: an untrained net with K classes that knows nothing has cross entropy ln K."""
    expected = math.log(num_classes)
    if 0.6 * expected <= loss <= 1.7 * expected:
        return f"first loss {loss:.2f}; an uninformed model has ln {num_classes} = {expected:.2f}: as it should be"
    if loss < 0.6 * expected:
        cause = "the weights are already trained, or one class fills the first batch"
    else:
        cause = (
            "the last layer starts with large weights, the input is not normalised, or the class weights are extreme"
        )
    return f"[yellow]first loss {loss:.2f} is far from ln {num_classes} = {expected:.2f}: {cause}[/]"


def peak_memory_mb(device: str) -> int:
    """Most memory used so far, MB: of the GPU where there is one, else of this process."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated() / 1e6)
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset / 1e6)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
