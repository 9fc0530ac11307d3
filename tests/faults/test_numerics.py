"""Numbers that are not finite, and batches that teach nothing: no weight is spoiled, and the samples are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from segwright import api
from segwright.contracts import SegwrightError
from segwright.recipe import load_recipe
from segwright.runs.checkpoint import load_checkpoint
from segwright.training.prepare import start
from segwright.training.trainer import MAX_BAD_STEPS, Trainer
from tests.training.tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)


def prepared(tmp_path: Path, *overrides: str, train: int = 8) -> Trainer:
    recipe = write_recipe(tmp_path, write_pictures(tmp_path / "data", train=train, val=2))
    settings = ["training.accumulation=1", "training.epochs=6", *overrides]
    return start(load_recipe(recipe, settings), runs=tmp_path / "runs", name="r", console=QUIET)


def nan_loss(trainer: Trainer, step: int) -> None:
    forward, batches = trainer.loss.forward, iter(range(10_000))

    def spoiled(*values: Any) -> Any:
        bad = torch.is_grad_enabled() and next(batches) >= step
        return forward(*values) * (float("nan") if bad else 1.0)

    trainer.loss.forward = spoiled  # type: ignore[method-assign]


def infinite_logits(trainer: Trainer, step: int) -> None:
    calls = iter(range(10_000))

    def spoil(module: torch.nn.Module, inputs: Any, outputs: Any) -> Any:
        return outputs._replace(logits_BKhw=outputs.logits_BKhw + (float("inf") if next(calls) >= step else 0.0))

    trainer.learner.segmenter.architecture.register_forward_hook(spoil)


def nan_gradient(trainer: Trainer, step: int) -> None:
    calls = iter(range(10_000))
    weight = next(trainer.learner.segmenter.parameters())
    weight.register_hook(lambda grad: grad * (float("nan") if next(calls) >= step else 1.0))


def rate_too_high(trainer: Trainer, step: int) -> None:
    """A rate of 1e30 after the first steps: the weights overflow, as they do when a rate is far too high."""
    rate, calls = type(trainer.stage).rate, iter(range(10_000))

    class Steep(type(trainer.stage)):  # type: ignore[misc]
        def rate(self, now: int) -> float:
            return float("1e30") if next(calls) >= step else rate(self, now)

    object.__setattr__(trainer.stage, "__class__", Steep)


def poisoned_weight(trainer: Trainer, step: int) -> None:
    """One weight becomes NaN, as a faulty memory makes it."""
    calls = iter(range(10_000))

    @torch.no_grad()
    def poison(module: torch.nn.Module, inputs: Any) -> None:
        if module.training and next(calls) >= step:
            next(module.parameters())[0, 0, 0, 0] = float("nan")

    trainer.learner.segmenter.architecture.register_forward_pre_hook(poison)


def overflow(trainer: Trainer, step: int) -> None:
    """A loss beyond the largest number of its type."""
    forward, batches = trainer.loss.forward, iter(range(10_000))

    def spoiled(*values: Any) -> Any:
        loss = forward(*values)
        return loss * torch.finfo(loss.dtype).max * 10 if torch.is_grad_enabled() and next(batches) >= step else loss

    trainer.loss.forward = spoiled  # type: ignore[method-assign]


@pytest.mark.parametrize("step", [0, 5])
@pytest.mark.parametrize("cause", [nan_loss, infinite_logits, nan_gradient, rate_too_high, poisoned_weight, overflow])
def test_every_cause_stops_the_training_with_a_good_checkpoint_and_names_the_samples(
    tmp_path: Path, cause: Callable[[Trainer, int], None], step: int
) -> None:
    trainer = prepared(tmp_path)
    cause(trainer, step)
    with pytest.raises(SegwrightError, match=r"not finite") as caught:
        trainer.fit()
    assert str(trainer.run.last) in str(caught.value)
    assert "segwright train --resume" in str(caught.value)
    found = load_checkpoint(trainer.run.last)
    assert all(t.isfinite().all() for k, t in found.tensors.items() if t.is_floating_point())
    refused = [row for row in trainer.run.metrics() if row["kind"] == "refused"]
    if "steps in a row" in str(caught.value):
        assert len(refused) == MAX_BAD_STEPS == 3
        assert all(name.startswith("train_") for row in refused for name in row["samples"])
        assert all(row["samples"][-1] in str(caught.value) for row in refused[-1:])
        assert [row["step"] for row in refused] == [refused[0]["step"] + n for n in range(3)]
    else:
        assert cause in (rate_too_high, poisoned_weight)  # found at the end of an epoch, before it was saved
        assert "they were not saved" in str(caught.value)
    resumed = api.resume("r", runs=tmp_path / "runs", console=QUIET)  # without the cause all is well
    assert resumed.path == trainer.run.path


def test_a_streak_of_bad_steps_goes_on_over_a_stop(tmp_path: Path) -> None:
    trainer = prepared(tmp_path)
    nan_loss(trainer, 2)
    counters = trainer.learner.counters
    trainer.watch = lambda row: (_ for _ in ()).throw(KeyboardInterrupt) if row["epoch"] == 2 else None
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    trainer.writer.wait()
    assert counters.bad_in_a_row == 2
    assert load_checkpoint(trainer.run.last).state["counters"]["bad_in_a_row"] == 2


def test_refused_steps_stand_once_in_the_metrics_after_a_resume(tmp_path: Path) -> None:
    trainer = prepared(tmp_path)
    nan_loss(trainer, 5)
    with pytest.raises(SegwrightError):
        trainer.fit()
    again = api.resume("r", runs=tmp_path / "runs", console=QUIET)
    rows = [json.loads(line) for line in (again.path / "metrics.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in rows if r["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    steps = [r["step"] for r in rows if r["kind"] == "refused"]
    assert len(set(steps)) == len(steps)


def with_void(recipe: Path) -> Path:
    """The recipe with 255 as the mask value of no class."""
    text = recipe.read_text().replace(
        "    name: shapes\n", "    name: shapes\n    ignored: [{name: void, values: [255], color: [0, 0, 0]}]\n"
    )
    recipe.write_text(text)
    return recipe


def void(root: Path, *indices: int) -> None:
    for index in indices:
        mask = root / "train" / "masks" / f"train_{index:02d}.png"
        Image.fromarray(np.full_like(np.asarray(Image.open(mask)), 255)).save(mask)


@pytest.mark.parametrize("loss", ["cross_entropy", "dice", "focal"])
def test_batches_without_a_label_are_left_out_and_counted(tmp_path: Path, loss: str) -> None:
    root = write_pictures(tmp_path / "data", train=8, val=2)
    void(root, *range(6))  # two labelled pictures in eight: with batches of two some are void
    recipe = with_void(write_recipe(tmp_path, root))
    settings = ["training.accumulation=1", "training.epochs=2", "training.batch=2", f"loss.name={loss}"]
    trainer = start(load_recipe(recipe, settings), runs=tmp_path / "runs", name="r", console=QUIET)
    before: list[dict[str, torch.Tensor]] = []
    added = trainer.loader._make

    def watched(*values: Any) -> Any:
        batch = added(*values)
        before.append({"void": (batch.labels == 255).all()})
        return batch

    trainer.loader._make = watched  # type: ignore[method-assign]
    trainer.fit()
    voids = sum(bool(b["void"]) for b in before)
    assert voids > 0
    counters = trainer.learner.counters
    assert (counters.void, counters.skipped, counters.step) == (voids, 0, 8)
    rows = [row for row in trainer.run.metrics() if row["kind"] == "train"]
    assert rows[-1]["void_batches"] == voids
    assert all(row["loss"] > 0 for row in rows)  # a void batch would pull the mean down
    assert all(t.isfinite().all() for t in trainer.learner.segmenter.state_dict().values())


def test_a_training_set_without_labels_changes_nothing(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "data", train=4, val=2)
    void(root, *range(4))
    settings = ["loss.args={}", "training.epochs=2", "optimizer.weight_decay=0.5"]
    trainer = start(
        load_recipe(with_void(write_recipe(tmp_path, root)), settings), runs=tmp_path / "runs", name="r", console=QUIET
    )
    weights = {k: v.clone() for k, v in trainer.learner.segmenter.state_dict().items()}
    trainer.fit()
    assert [k for k, v in trainer.learner.segmenter.state_dict().items() if not torch.equal(v, weights[k])] == []
    assert [row["loss"] for row in trainer.run.metrics() if row["kind"] == "train"] == [None, None]
