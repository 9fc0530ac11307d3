"""The state of a training: counters, and collecting and restoring everything that decides what comes next."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from segwright.contracts import DataError
from segwright.models import Segmenter
from segwright.runs.checkpoint import Checkpoint
from segwright.training.averaging import AveragedModel
from segwright.training.optimizer import load_optimizer_tensors, optimizer_tensors


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
    bad_validations: int = 0
    """Validations since the best one."""
    skipped: int = 0
    """Batches whose loss was not finite."""
    stopped_early: bool = False

    def mean_loss(self) -> float | None:
        return self.loss_sum / self.loss_count if self.loss_count else None


@dataclass
class Learner:
    """The parts that change while training."""

    segmenter: Segmenter
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    scaler: torch.amp.GradScaler
    counters: Counters

    @property
    def deployed(self) -> Segmenter:
        """The weights that are validated and kept: the average where there is one."""
        return self.segmenter if self.average is None else self.average.model


def collect(learner: Learner, *, metrics_length: int) -> Checkpoint:
    """Every tensor and number that training depends on. metrics_length: bytes of metrics.jsonl that belong to it."""
    tensors: dict[str, Tensor] = {f"model.{k}": v for k, v in learner.segmenter.state_dict().items()}
    if learner.average is not None:
        tensors |= {f"ema.{k}": v for k, v in learner.average.model.state_dict().items()}
    tensors |= {f"optimizer.{k}": v for k, v in optimizer_tensors(learner.optimizer).items()}
    tensors["rng.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    state: dict[str, Any] = {
        "counters": asdict(learner.counters),
        "metrics_length": metrics_length,
        "scaler": learner.scaler.state_dict(),
    }
    return Checkpoint(tensors, state)


def restore(learner: Learner, checkpoint: Checkpoint) -> int:
    """Put everything back; returns the length of metrics.jsonl that belongs to the checkpoint.

    Raises DataError when the checkpoint does not fit the model.
    """
    _load(learner.segmenter, checkpoint.group("model"), "model")
    if learner.average is not None:
        _load(learner.average.model, checkpoint.group("ema"), "averaged model")
    load_optimizer_tensors(learner.optimizer, checkpoint.group("optimizer"))
    learner.scaler.load_state_dict(checkpoint.state["scaler"])
    learner.counters = Counters(**checkpoint.state["counters"])
    torch.set_rng_state(checkpoint.tensors["rng.cpu"])
    if "rng.cuda" in checkpoint.tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(checkpoint.tensors["rng.cuda"])
    return int(checkpoint.state["metrics_length"])


def _load(module: torch.nn.Module, tensors: dict[str, Tensor], what: str) -> None:
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise DataError(f"the checkpoint does not fit the {what} of this recipe: {error}") from None
