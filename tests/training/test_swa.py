"""The mean of weights at the ends of epochs: NumPy's mean, statistics of its own, exact over a stop."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from segwright import api
from segwright.contracts import UserError
from segwright.models import Segmenter
from segwright.models.weights import load_segmenter
from segwright.recipe import load_recipe
from segwright.runs.checkpoint import load_checkpoint
from segwright.training.averaging import EpochMean
from segwright.training.interrupt import Interrupted
from segwright.training.means import reestimate_statistics
from segwright.training.prepare import start
from segwright.training.progress import TrainingProgress

from .test_training import assert_same_training, interrupt_at
from .tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)
SWA = ["training.ema_decay=null", "training.swa_from=2", "training.epochs=4", "training.accumulation=1"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, write_pictures(tmp_path / "data"))


def test_it_is_the_mean_of_the_ends_of_epochs(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[dict[str, np.ndarray]] = []
    real = EpochMean.take

    def take(self: EpochMean, model: Segmenter, epoch: int) -> None:
        ends.append({name: p.detach().double().numpy().copy() for name, p in model.named_parameters()})
        real(self, model, epoch)

    monkeypatch.setattr(EpochMean, "take", take)
    trainer = start(load_recipe(recipe, SWA), runs=tmp_path / "runs", name="swa", console=QUIET)
    trainer.fit()
    mean = trainer.learner.epoch_mean
    assert mean is not None
    assert mean.model is not None
    assert mean.count == 3
    for name, parameter in mean.model.named_parameters():
        expected = np.mean([end[name] for end in ends[1:]], axis=0)
        np.testing.assert_allclose(parameter.numpy(), expected, rtol=1e-5, atol=1e-7)
    before = {name: buffer.clone() for name, buffer in mean.model.named_buffers()}
    reestimate_statistics(mean.model, trainer.loader.epoch(3))
    assert all(torch.equal(buffer, before[name]) for name, buffer in mean.model.named_buffers())
    if trainer.learner.counters.best_epoch == 4:
        kept = load_segmenter(trainer.run.best)
        assert all(torch.equal(p, mean.model.get_parameter(name)) for name, p in kept.named_parameters())


@pytest.mark.parametrize("step", [5, 8, 10])
def test_resuming_is_exact(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    whole = api.train(recipe, SWA, runs=tmp_path / "runs", name="whole", console=QUIET)
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(Interrupted):
            api.train(recipe, SWA, runs=tmp_path / "runs", name="cut", console=QUIET)
    resumed = api.resume("cut", runs=tmp_path / "runs", console=QUIET)
    assert_same_training(whole.path, resumed.path)
    assert resumed.miou == whole.miou


def test_an_epoch_counts_once_when_its_validation_is_stopped(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = api.train(recipe, SWA, runs=tmp_path / "runs", name="whole", console=QUIET)
    shown = TrainingProgress.validation
    seen: list[int] = []

    def validation(self: TrainingProgress, done: int, total: int) -> None:
        shown(self, done, total)
        seen.append(done)
        if len(seen) == 2 * total + 1:  # in the third epoch
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "validation", validation)
        with pytest.raises(Interrupted):
            api.train(recipe, SWA, runs=tmp_path / "runs", name="cut", console=QUIET)
    checkpoint = load_checkpoint(tmp_path / "runs" / "cut" / "checkpoints" / "last.safetensors")
    assert checkpoint.state["swa"] == {"count": 2, "last": 3}
    resumed = api.resume("cut", runs=tmp_path / "runs", console=QUIET)
    assert_same_training(whole.path, resumed.path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [(["training.swa_from=2"], "both average"), ([*SWA, "training.swa_from=9"], "later than the last")],
)
def test_what_cannot_be_is_refused(recipe: Path, changes: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        load_recipe(recipe, changes)
