"""The state of a training: counters, and collecting and restoring everything that decides what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from segwright.contracts import DataError
from segwright.models import Segmenter
from segwright.models.freezing import Frozen
from segwright.runs.checkpoint import Checkpoint
from segwright.training.averaging import AveragedModel, EpochMean
from segwright.training.optimizer import load_optimizer_tensors, optimizer_tensors
from segwright.training.schedule import RateSchedule


@dataclass
class Counters:
    """Where training stands. Losses are sums in double precision, so that a resumed epoch reports the same mean."""

    step: int = 0
    """Optimiser steps done."""
    epoch: int = 0
    """Epochs finished."""
    batch: int = 0
    """Batches of the current epoch done."""
    loss_sum: float = 0.0
    loss_count: int = 0
    first_loss: float | None = None
    best_miou: float | None = None
    best_epoch: int | None = None
    stage_best: float | None = None
    """Best mIoU of the stage."""
    bad_validations: int = 0
    """Validations since the best one of the stage."""
    skipped: int = 0
    """Steps whose loss or gradient was not finite."""
    bad_in_a_row: int = 0
    """Such steps since the last good one."""
    void: int = 0
    """Batches without a labelled pixel, which were left out."""
    parts: int = 1
    """In how many parts a batch runs, since memory ran out."""
    stopped_early: bool = False
    stage: int = 0
    """The stage whose parts are in use, 0 for the first."""

    def mean_loss(self) -> float | None:
        return self.loss_sum / self.loss_count if self.loss_count else None

    def count_validation(self, miou: float, *, min_delta: float, patience: int | None) -> None:
        """Note a validation's mIoU, and whether the stage has gone on for `patience` validations without a better one."""
        if self.stage_best is None or miou > self.stage_best + min_delta:
            self.stage_best, self.bad_validations = miou, 0
        else:
            self.bad_validations += 1
            self.stopped_early = patience is not None and self.bad_validations >= patience

    def begin_stage(self, index: int) -> None:
        """What is counted by stage starts anew."""
        self.stage, self.stage_best, self.bad_validations = index, None, 0


@dataclass
class Learner:
    """The parts that change while training."""

    segmenter: Segmenter
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    scaler: torch.amp.GradScaler
    counters: Counters
    schedule: RateSchedule
    frozen: Frozen | None = None
    """What `model.freeze` froze."""
    epoch_mean: EpochMean | None = None
    """The mean over epochs, where the recipe asks for one."""

    @property
    def deployed(self) -> Segmenter:
        """The weights that are validated and kept: the average where there is one."""
        if self.epoch_mean is not None and self.epoch_mean.model is not None:
            return self.epoch_mean.model
        return self.segmenter if self.average is None else self.average.model


def disk_need(segmenter: Segmenter, *, averaged: bool) -> int:
    """Bytes that a run's checkpoints take at most: the last, the one before and one being written; and two best models.

    With two moments for each parameter. averaged: whether averaged weights are kept too.
    """
    model = sum(t.numel() * t.element_size() for t in segmenter.state_dict().values())
    moments = 2 * sum(p.numel() * p.element_size() for p in segmenter.parameters())
    return 3 * (model * (2 if averaged else 1) + moments) + 2 * model


def whole(tensor: Tensor) -> Tensor:
    """The tensor itself, or all of one of which each process has a part; then all of them ask for it together."""
    found: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return found


def collect(learner: Learner, loss: nn.Module, *, metrics_length: int, settings: Mapping[str, Any]) -> Checkpoint:
    """Every tensor and number that training depends on.

    metrics_length: bytes of metrics.jsonl that belong to it. settings: the recipe as plain data.
    """
    tensors: dict[str, Tensor] = {f"model.{k}": whole(v) for k, v in learner.segmenter.state_dict().items()}
    if learner.average is not None:
        tensors |= {f"ema.{k}": v for k, v in learner.average.model.state_dict().items()}
    mean = learner.epoch_mean
    if mean is not None:
        tensors |= {f"swa.{k}": v for k, v in mean.tensors.items()}
    tensors |= {f"optimizer.{k}": whole(v) for k, v in optimizer_tensors(learner.optimizer).items()}
    tensors |= {f"loss.{k}": v for k, v in loss.state_dict().items()}
    tensors["rng.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    state: dict[str, Any] = {
        "counters": asdict(learner.counters),
        "metrics_length": metrics_length,
        "recipe": dict(settings),
        "scaler": learner.scaler.state_dict(),
        "swa": None if mean is None else mean.state,
        "schedule": learner.schedule.state,
    }
    return Checkpoint(tensors, state)


def restore(learner: Learner, checkpoint: Checkpoint) -> int:
    """Put everything back; returns the length of metrics.jsonl that belongs to the checkpoint.

    Raises DataError when the checkpoint does not fit the model.
    """
    _load(learner.segmenter, checkpoint.group("model"), "model")
    if learner.average is not None:
        _load(learner.average.model, checkpoint.group("ema"), "averaged model")
    if learner.epoch_mean is not None and checkpoint.state.get("swa"):
        device = next(learner.segmenter.parameters()).device
        learner.epoch_mean.load(checkpoint.state["swa"], checkpoint.group("swa"), str(device))
    load_optimizer_tensors(learner.optimizer, checkpoint.group("optimizer"))
    learner.scaler.load_state_dict(checkpoint.state["scaler"])
    learner.schedule.load(checkpoint.state["schedule"])
    learner.counters = Counters(**checkpoint.state["counters"])
    torch.set_rng_state(checkpoint.tensors["rng.cpu"])
    if "rng.cuda" in checkpoint.tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(checkpoint.tensors["rng.cuda"])
    return int(checkpoint.state["metrics_length"])


def restore_loss(loss: nn.Module, checkpoint: Checkpoint) -> None:
    """Put back what an adaptive loss remembers. Raises DataError when the checkpoint was made with another loss."""
    _load(loss, checkpoint.group("loss"), "loss")


def _load(module: nn.Module, tensors: dict[str, Tensor], what: str) -> None:
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise DataError(f"the checkpoint does not fit the {what} of this recipe: {error}") from None
