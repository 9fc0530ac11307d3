"""Memory that runs out: said in one line with what would fit, survived in parts, and nothing trained is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from segwright import api
from segwright.contracts import Batch
from segwright.recipe import load_recipe
from segwright.runs.checkpoint import load_checkpoint
from segwright.training import memory
from segwright.training.memory import Estimate, OutOfMemory, in_parts, kept_bytes
from segwright.training.prepare import start
from segwright.training.trainer import Trainer
from tests.training.test_training import assert_same_training
from tests.training.tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)
GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to")
PYTHON = MemoryError("Unable to allocate 3.00 GiB for an array")


class Boom(torch.autograd.Function):
    """The identity, whose backward pass finds no memory."""

    @staticmethod
    def forward(context: Any, value: torch.Tensor, error: BaseException | None) -> torch.Tensor:
        context.error = error
        return value.view_as(value)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> Any:
        if context.error is not None:
            raise context.error
        return gradients[0], None


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, write_pictures(tmp_path / "data", train=16, val=3))


def prepared(recipe: Path, *overrides: str, console: Console = QUIET) -> Trainer:
    settings = ["training.batch=8", "training.accumulation=2", "training.epochs=3", *overrides]
    return start(load_recipe(recipe, settings), runs=recipe.parent / "runs", name="r", console=console)


def run_out(trainer: Trainer, error: BaseException, *, place: str, largest: int, from_call: int = 0) -> None:
    """Training passes over more than `largest` pictures find no memory, from the call with that number on."""
    architecture = trainer.learner.segmenter.architecture
    calls = iter(range(10_000))

    def forward(module: torch.nn.Module, inputs: Any, outputs: Any) -> Any:
        logits = outputs.logits_BKhw
        if not module.training or len(logits) <= largest or next(calls) < from_call:
            return outputs
        if place == "forward":
            raise error
        return outputs._replace(logits_BKhw=Boom.apply(logits, error))

    architecture.register_forward_hook(forward)


def small_machine(monkeypatch: pytest.MonkeyPatch, megabytes: float) -> None:
    monkeypatch.setattr(memory, "free_on", lambda device: int(megabytes * 1e6))


@pytest.mark.parametrize("place", ["forward", "backward"])
@pytest.mark.parametrize("error", [GPU, CPU, PYTHON], ids=["gpu", "cpu", "python"])
def test_a_step_without_memory_is_saved_and_explained(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, place: str
) -> None:
    whole = prepared(recipe)
    whole.fit()
    whole.run.path.rename(recipe.parent / "whole")
    trainer = prepared(recipe)
    run_out(trainer, error, place=place, largest=2, from_call=3)  # in the middle of the second step
    small_machine(monkeypatch, 1.5)
    with pytest.raises(OutOfMemory) as caught:
        trainer.fit()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for part in ("8 crops of 32×32 need about", "GB free", "training.batch=", "augmentation.size=[", "would fit"):
        assert part in message
    assert f"segwright train --resume {trainer.run.path} --force training.halve_on_oom=true" in message
    assert load_checkpoint(trainer.run.last).state["counters"]["step"] == 1
    monkeypatch.undo()
    resumed = api.resume(trainer.run.path, console=QUIET)  # with memory again, it is as if nothing had been
    assert_same_training(recipe.parent / "whole", resumed.path)


@pytest.mark.parametrize("place", ["forward", "backward"])
def test_halving_keeps_the_step(recipe: Path, place: str, tmp_path: Path) -> None:
    """In parts of two pictures, a step is the mean over its pictures, as if it had been asked for so from the start."""
    told = Console(record=True, width=500, file=(tmp_path / "log").open("w"))
    trainer = prepared(recipe, "training.halve_on_oom=true", "training.epochs=1", console=told)
    run_out(trainer, GPU, place=place, largest=2, from_call=1)  # the second batch of the step
    trainer.fit()
    assert trainer.learner.counters.parts == 4
    assert "a batch of 8 now runs in 2 parts" in told.export_text(clear=False)
    assert "a batch of 8 now runs in 4 parts" in told.export_text()
    trainer.run.path.rename(recipe.parent / "halved")
    other = prepared(recipe, "training.halve_on_oom=true", "training.epochs=1")
    other.learner.counters.parts = 4
    other.fit()
    found = trainer.learner.segmenter.state_dict()
    for name, tensor in other.learner.segmenter.state_dict().items():
        assert torch.equal(found[name], tensor), name


def test_halving_is_remembered_over_a_resume(recipe: Path) -> None:
    trainer = prepared(recipe, "training.halve_on_oom=true", "training.epochs=1")
    run_out(trainer, GPU, place="forward", largest=4)
    trainer.fit()
    assert load_checkpoint(trainer.run.last).state["counters"]["parts"] == 2


def test_two_pictures_are_the_smallest_part(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = prepared(recipe, "training.halve_on_oom=true")
    run_out(trainer, GPU, place="forward", largest=1)
    small_machine(monkeypatch, 0.001)
    with pytest.raises(OutOfMemory, match="fit"):
        trainer.fit()
    assert trainer.learner.counters.parts == 4
    assert load_checkpoint(trainer.run.last).state["counters"]["step"] == 0


def in_validation(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, *, with_loss_only: bool) -> None:
    from segwright.models import Segmenter

    methods = ["forward"] if with_loss_only else ["forward", "ids"]

    def fail(self: Segmenter, *values: Any) -> Any:
        raise GPU

    for name in methods:
        monkeypatch.setattr(Segmenter, name, fail)


def test_validation_without_memory_goes_on_without_its_loss(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = Console(record=True, width=500, file=(tmp_path / "log").open("w"))
    trainer = prepared(recipe, "training.epochs=1", console=told)
    in_validation(trainer, monkeypatch, with_loss_only=True)
    trainer.fit()
    assert "once more without the validation loss" in told.export_text()
    row = trainer.run.metrics()[-1]
    assert (row["kind"], row["loss"]) == ("val", None)
    assert row["miou"] is not None


def test_validation_without_any_memory_does_not_lose_the_epoch(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prepared(recipe)
    whole.fit()
    whole.run.path.rename(recipe.parent / "whole")
    trainer = prepared(recipe)
    with monkeypatch.context() as patch:
        in_validation(trainer, patch, with_loss_only=False)
        with pytest.raises(
            OutOfMemory, match=r"while validating epoch 1: a whole picture does not fit.*step 1 is saved"
        ):
            trainer.fit()
    assert load_checkpoint(trainer.run.last).state["counters"]["step"] == 1
    resumed = api.resume(trainer.run.path, console=QUIET)
    assert_same_training(recipe.parent / "whole", resumed.path)


def test_other_errors_are_not_taken_for_memory(recipe: Path) -> None:
    trainer = prepared(recipe)
    run_out(trainer, RuntimeError("mat1 and mat2 shapes cannot be multiplied"), place="forward", largest=0)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        trainer.fit()


def test_kept_bytes_are_those_that_autograd_keeps() -> None:
    value = torch.randn(1000, requires_grad=True)
    assert kept_bytes(lambda: value.exp().sin().sum()) == 4000  # exp keeps its result, sin its input: the same
    assert kept_bytes(lambda: value.exp().sin().exp().sum()) == 8000
    assert kept_bytes(lambda: (value * value).sum()) == 0  # a weight, which is there anyway
    assert kept_bytes(lambda: (value * 2).sum()) == 0


def test_an_estimate_turns_around() -> None:
    found = Estimate(pixel_bytes=100.0, fixed_bytes=50_000, free_bytes=1_000_000)
    assert found.need(2, 32, 32) == 50_000 + 100 * 2 * 32 * 32
    batch = found.batch(32, 32)
    assert found.need(batch, 32, 32) <= 1_000_000 < found.need(batch + 1, 32, 32)
    size = found.size(16, 64, 128, 8)
    assert size is not None
    assert found.need(16, *size) <= 1_000_000
    assert size[0] % 8 == size[1] % 8 == 0
    assert Estimate(100.0, 50_000, 10_000).batch(32, 32) == 0
    assert Estimate(100.0, 50_000, 10_000).size(1, 32, 32, 8) is None


@pytest.mark.parametrize(
    ("pictures", "parts", "sizes"), [(8, 1, [8]), (8, 4, [2] * 4), (7, 4, [2, 2, 3]), (3, 4, [3]), (1, 4, [1])]
)
def test_parts_hold_every_picture_once_and_two_at_least(pictures: int, parts: int, sizes: list[int]) -> None:
    batch = Batch(
        image=torch.zeros(pictures, 3, 4, 4, dtype=torch.uint8),
        labels=torch.zeros(pictures, 4, 4, dtype=torch.int64),
        names=tuple(map(str, range(pictures))),
        weights=torch.ones(pictures),
    )
    found = list(in_parts(batch, parts))
    assert sorted(len(part.names) for part, _ in found) == sizes
    assert tuple(name for part, _ in found for name in part.names) == batch.names
    assert all(len(part.image) == len(part.labels) == len(part.weights) == len(part.names) for part, _ in found)
    assert sum(share for _, share in found) == pytest.approx(1)
