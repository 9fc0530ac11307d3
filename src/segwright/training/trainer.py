"""The training loop, top to bottom: batches, optimiser steps, validation, checkpoints.

A step whose loss is not finite changes no weight and no statistic; its samples are named. Everything that decides
what comes next is in one checkpoint, copied after every epoch and written in the background, and on Ctrl-C.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

import torch
from rich.markup import escape

from segwright.contracts import Dataset, SegwrightError
from segwright.data.loading import TrainLoader
from segwright.inference.measure import Measured, measure
from segwright.labels import LabelSpace
from segwright.labels.mapping import LabelMap
from segwright.metrics.protocols import find_protocol
from segwright.metrics.scores import Scores, scores
from segwright.models import Segmenter
from segwright.models.converted import in_space
from segwright.runs import Run
from segwright.runs.checkpoint import Checkpoint
from segwright.runs.saving import CheckpointWriter
from segwright.training.distributed import ALONE, AgreedStop, IdleWriter, Team
from segwright.training.interrupt import Interrupted, StopHere, StopRequest, stop_requests
from segwright.training.memory import OutOfMemory, is_out_of_memory, peak_memory_mb, release
from segwright.training.optimizer import build_optimizer
from segwright.training.progress import TrainingProgress
from segwright.training.schedule import set_learning_rate
from segwright.training.shared_step import SharedNetwork, SharedStep
from segwright.training.stages import Stage, announcement, change_stage, saved_stage, skip_rest, stage_at
from segwright.training.state import Learner, collect, restore, restore_loss, whole
from segwright.training.step import Refused, Step
from segwright.training.tracking import Tracking
from segwright.training.watchdog import Watchdog

MAX_BAD_STEPS = 3  # in a row


@dataclass
class Trainer:
    """One training run. Its stages are resolved: no `auto` is left in their recipes. It starts in the first one."""

    stages: Sequence[Stage]
    run: Run
    learner: Learner
    loader: TrainLoader
    validation: Dataset
    score_map: LabelMap | None
    """How predictions are told in the label space of the validation; None where it is the model's."""
    progress: TrainingProgress
    tracking: Tracking
    started: Mapping[str, Any] = field(default_factory=dict)
    """Where the weights come from that training started with; empty for random ones."""
    watch: Callable[[Mapping[str, Any]], None] | None = None
    """Called with each row of metrics.jsonl once its epoch is saved; what it raises ends the training there."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The whole recipe as plain data: in every checkpoint, so that resuming with another one is noticed."""

    team: Team = ALONE
    """The processes that train together."""

    def __post_init__(self) -> None:
        self.writer = CheckpointWriter(self.run) if self.team.first else IdleWriter(self.run)
        self._accounted = (0.0, time.perf_counter())
        self._use(self.stages[0])

    def _use(self, stage: Stage) -> None:
        self.stage, self.recipe, self.loss = stage, stage.recipe, stage.loss
        self.network: SharedNetwork | None = None  # of other layers that learn

    def _enter(self, stage: Stage) -> None:
        """Go on as `stage` says: other loss, schedule, pictures, layers that learn."""
        change_stage(self.stage, stage, self.learner, self.loader)
        self._use(stage)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint of the run, exactly."""
        self._enter(saved_stage(self.stages, checkpoint))
        length = restore(self.learner, checkpoint)
        restore_loss(self.loss, checkpoint)
        self.team.take_own(checkpoint, self.loss, self.recipe.seed)
        self.run.truncate_metrics(length)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        counters = self.learner.counters
        return counters.stopped_early or counters.epoch >= self.recipe.training.epochs

    def fit(self) -> None:
        """Train to the end. Raises Interrupted, OutOfMemory or another SegwrightError with everything saved that is good."""
        counters = self.learner.counters
        before = [row["miou"] for row in self.run.metrics() if row["kind"] == "val" and row["miou"] is not None]
        progress = self.progress.live(counters.step, before, best=self._best())
        with self.loader, self.tracking.open(), progress, stop_requests(self.progress.say) as own, self.writer:
            request = own if self.team.alone else AgreedStop(own, self.team)
            if self.team.told(not self.run.last.exists()):
                self._save()  # so that a run stopped in its first epoch can be resumed
                self.writer.wait()
            while not self.finished:
                if (stage := stage_at(self.stages, counters.epoch)) is not self.stage:
                    self.progress.say(escape(announcement(self.stage, stage, len(self.stages))))
                    self.writer.wait()  # loader processes may start now, and a fork must not find a thread at work
                    self._enter(stage)
                try:
                    self._finish_epoch(self._train_epoch(request), request)
                except OutOfMemory as error:
                    raise self._out_of_memory(str(error)) from None
                request.agree()
                if request.number is not None:
                    self._stop(request.number)

    def _train_epoch(self, request: StopRequest) -> dict[str, Any]:
        """The batches of the epoch that are left; returns its row of metrics.jsonl."""
        training, counters = self.recipe.training, self.learner.counters
        started, waited, batches = time.perf_counter(), self.loader.waited_s, 0
        group, total = training.accumulation, self.loader.batches_per_epoch
        step = self._step(request, total)
        watchdog = self._watchdog(-(-total // group))
        self.learner.segmenter.train()
        for batch in self.loader.epoch(counters.epoch, start_batch=counters.batch):
            if batch.index % group == 0:
                rate = self.stage.rate(counters.step)
                set_learning_rate(self.learner.optimizer, rate)
                step.begin()
                watchdog.before(batch)
            step.add(batch.to(training.device), share=1 / min(group, total - batch.index // group * group))
            batches += 1
            if (batch.index + 1) % group and batch.index + 1 < total:
                if request.number is not None:
                    step.undo()  # resuming begins this step again
                    self._stop(request.number)
                continue  # more batches belong to this step
            if watchdog.awake:  # it waits for the loss
                watchdog.after(step.loss_value, learned=step.learned)
            refused = step.end()
            counters.step += 1
            counters.batch = batch.index + 1
            elapsed = time.perf_counter() - started
            self.progress.update(
                counters.step,
                epoch=counters.epoch,
                loss=step.loss_value,
                rate=rate,
                wait=(self.loader.waited_s - waited) / elapsed,
                images_per_s=batches * training.batch_size / elapsed,
            )
            if refused is not None:
                self._refuse(refused)
            self.writer.check()
            if request.number is not None:
                self._stop(request.number)
        seconds = time.perf_counter() - started
        watchdog.end_epoch(wait=(self.loader.waited_s - waited) / seconds, seconds=seconds)
        return {
            "kind": "train",
            "stage": self.stage.name,
            "epoch": counters.epoch + 1,
            "step": counters.step,
            "loss": counters.mean_loss(),
            "lr": self.stage.rate(max(self.stage.first_step, counters.step - 1)),
            "void_batches": counters.void,
            "refused_steps": counters.skipped,
            "images_per_s": round(batches * training.batch_size / seconds, 2) if batches else None,
            "data_wait": round((self.loader.waited_s - waited) / seconds, 4),
            "seconds": round(seconds, 2),
            **self._cost_of_saving(),
            "peak_memory_mb": peak_memory_mb(training.device),
        }

    def _watchdog(self, steps: int) -> Watchdog:
        """Awake in the first epoch only."""
        ln_k, fresh = bool(self.loss.starts_at_ln_k), not self.started
        dog = Watchdog(self.recipe, self.learner.segmenter, steps=steps, fresh=fresh, ln_k=ln_k, say=self.progress.say)
        dog.awake = self.learner.counters.epoch == 0 and self.team.first and self.recipe.training.parallel == "ddp"
        return dog

    def _step(self, request: StopRequest, batches: int) -> Step:
        parts = (self.recipe, self.learner, self.loss, self.progress.say)
        if not isinstance(request, AgreedStop):
            return Step(*parts)
        if self.network is None and self.recipe.training.parallel == "fsdp":
            from segwright.training.sharded import ShardedNetwork

            self.network = ShardedNetwork(self.learner, self.team, partial(build_optimizer, self.recipe.optimizer))
        self.network = self.network or SharedNetwork(self.learner.segmenter, self.team)
        return SharedStep(*parts, network=self.network, team=self.team, request=request, batches=batches)

    def _deployed(self) -> Segmenter:
        return self.learner.deployed if self.network is None else self.network.deployed(self.learner)

    def _cost_of_saving(self) -> dict[str, float]:
        """Seconds, and share of all the time, in which training stood still for checkpoints since the row before."""
        blocked, now = self.writer.blocked_s, time.perf_counter()
        cost, span = blocked - self._accounted[0], now - self._accounted[1]
        self._accounted = (blocked, now)
        return {"checkpoint_s": round(cost, 4), "checkpoint_share": round(cost / span, 6)}

    def _refuse(self, refused: Refused) -> None:
        """Name the samples of a step that changed nothing, here and in metrics.jsonl; stop after MAX_BAD_STEPS in a row."""
        counters, names = self.learner.counters, ", ".join(refused.names)
        self.progress.say(f"[yellow]{refused.why}; no weight was changed. Samples: {escape(names)}[/]")
        where = {"kind": "refused", "epoch": counters.epoch + 1, "step": counters.step}
        self.run.append_metrics(where | {"why": refused.why, "samples": list(refused.names)})
        if counters.bad_in_a_row < MAX_BAD_STEPS:
            return
        raise SegwrightError(
            f"{MAX_BAD_STEPS} steps in a row have a loss or gradient that is not finite; the last held {names}. The last good "
            f"checkpoint is {self.run.last}; {self.run.metrics_file.name} lists the samples. Likely causes: optimizer.lr is too "
            f"high ({self.recipe.optimizer.lr:g}), training.precision is fp16 (try bf16 or fp32), or these pictures are damaged. "
            f"training.clip_norm=1.0 often helps: segwright train --resume {self.run.path} --force training.clip_norm=1.0"
        )

    def _finish_epoch(self, row: dict[str, Any], request: StopRequest) -> None:
        """Validate when it is time, write the epoch's rows, and save. Stopped in a validation, resuming begins with it."""
        training, counters = self.recipe.training, self.learner.counters
        epoch, result = counters.epoch + 1, None
        if (mean := self.learner.epoch_mean) is not None:
            mean.take(self.learner.segmenter, epoch)
        if epoch % training.val_every == 0 or epoch == self.stage.end:
            if mean is not None:
                mean.build(self.learner.segmenter, self.loader.epoch(counters.epoch), training.device)
            result = self._measured(request)
        counters.epoch = epoch
        counters.batch, counters.loss_sum, counters.loss_count = 0, 0.0, 0
        rows = [row | self.loss.end_epoch()]
        if result is not None:
            rows.append(self._validate(row, result))
            if counters.stopped_early and self.stage is not self.stages[-1]:
                skip_rest(self.stage, counters)
        length = self.run.append_metrics(*rows)
        self._save(length)
        self.tracking.write(*rows)
        if self.watch is not None:
            for row in rows:
                self.watch(row)

    def _measured(self, request: StopRequest) -> Measured:
        """What the deployed model does on the validation split; without its loss where memory is too small for that."""
        training = self.recipe.training

        def seen(done: int, total: int) -> None:
            self.progress.validation(done, total)
            request.stop_here(done, total)

        measured = partial(
            measure,
            in_space(self._deployed(), self.score_map),
            self.validation,
            device=training.device,
            precision=training.precision,
            memory_format=training.memory_format,
            progress=seen,
            shard=self.team,
        )
        losses = [self.loss, None] if self.score_map is None else [None]  # a loss compares in the model's own space
        if not self.team.alone:
            losses = losses[:1]  # the others would not know of a second try
        for loss in losses:
            try:
                return measured(loss=loss)
            except StopHere as stop:
                self._stop(stop.number)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            release(training.device)
            if loss is not None:
                self.progress.say(
                    "[yellow]out of memory while validating: once more without the validation loss, which needs scores of "
                    "full size[/]"
                )
        raise OutOfMemory(
            f"out of memory while validating epoch {self.learner.counters.epoch + 1}: a whole picture does not fit on "
            f"{training.device}. A smaller model.short_side needs less, in a new run"
        )

    @property
    def _scored_space(self) -> LabelSpace:
        return self.learner.segmenter.labels if self.score_map is None else self.score_map.target

    def _validate(self, row: dict[str, Any], result: Measured) -> dict[str, Any]:
        training, counters = self.recipe.training, self.learner.counters
        rule = find_protocol(self.recipe.protocol).for_space(self._scored_space)
        found = scores(rule.without_void(result.counts_NKK.sum(0)))
        miou = rule.mean_iou(found)
        better = counters.best_miou is None or miou > counters.best_miou + training.min_delta
        if better:
            counters.best_miou, counters.best_epoch = miou, counters.epoch
            segmenter = self._deployed()
            segmenter.provenance = self._provenance()
            self.writer.keep_best(segmenter)
        counters.count_validation(miou, min_delta=training.min_delta, patience=training.patience)
        self.progress.validated(miou, best=self._best())
        self.progress.say(self._describe(row, miou, found, better))
        if self.learner.schedule.observe(miou):
            self.progress.say(f"mIoU does not rise: the learning rate falls to {self.stage.rate(counters.step):.2e}")
        return self._validation_row(result, miou, found, better)

    def _best(self) -> str:
        counters = self.learner.counters
        return "" if counters.best_miou is None else f"{counters.best_miou:.4f} in epoch {counters.best_epoch}"

    def _validation_row(self, result: Measured, miou: float, found: Scores, better: bool) -> dict[str, Any]:
        space = self._scored_space
        names = space.class_names
        values = find_protocol(self.recipe.protocol).for_space(space).iou(found)
        iou = {n: None if math.isnan(v) else round(float(v), 6) for n, v in zip(names, values, strict=True)}
        return {
            "kind": "val",
            "stage": self.stage.name,
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
        mark = "  best so far" if better else f"  (best {self._best()})"
        text = (
            f"epoch {counters.epoch}/{self.recipe.training.epochs}  loss {row['loss'] or math.nan:.4f}  "
            f"mIoU {miou:.4f}  accuracy {found.accuracy:.4f}  {row['images_per_s'] or math.nan:.1f} img/s  "
            f"data wait {row['data_wait']:.1%}{mark}"
        )
        if counters.stopped_early:
            then = "stopping early" if self.stage is self.stages[-1] else "this stage ends early"
            text += f"\nno better mIoU in {counters.bad_validations} validations: {then}, as training.patience says"
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
        """Begin to write a checkpoint. Raises SegwrightError, and keeps the one before, when the weights are not finite."""
        if metrics_length == 0 and self.run.metrics_file.exists():
            metrics_length = self.run.metrics_file.stat().st_size
        self._refuse_bad_weights()
        checkpoint = collect(self.learner, self.loss, metrics_length=metrics_length, settings=self.settings)
        self.writer.save(self.team.completed(checkpoint, self.loss))

    def _refuse_bad_weights(self) -> None:
        weights = dict(self.learner.segmenter.named_parameters())
        if whole(torch.nn.utils.get_total_norm(list(weights.values()))).isfinite():
            return
        bad = next((name for name, weight in weights.items() if not whole(weight).isfinite().all()), "their norm")
        raise SegwrightError(
            f"the weights are not finite any more ({bad}, after step {self.learner.counters.step}), so they were not saved. "
            f"The last good checkpoint is {self.run.last}. Likely causes: optimizer.lr is too high, or the memory of this "
            f"machine is faulty. Go on from there: segwright train --resume {self.run.path}"
        )

    def _stop(self, number: int) -> NoReturn:
        self._save()
        self.writer.wait()
        self.team.meet()  # a launcher ends all when one has left
        counters = self.learner.counters
        raise Interrupted(
            f"stopped in epoch {min(counters.epoch + 1, self.recipe.training.epochs)} after step {counters.step}; everything is saved. "
            f"Continue with:\n  segwright train --resume {self.run.path}",
            number,
        )

    def _out_of_memory(self, reason: str) -> OutOfMemory:
        """Save what was trained, and say how to go on."""
        if not self.team.alone:
            return OutOfMemory(f"{reason}. Resume from the last checkpoint, {self.run.last}")
        self._save()
        self.writer.wait()
        return OutOfMemory(
            f"{reason}. Everything up to step {self.learner.counters.step} is saved. With less memory a step: "
            f"segwright train --resume {self.run.path} --force training.halve_on_oom=true"
        )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
