"""Stopped anywhere and resumed, a training is the same to the last bit: 36 cases; and what resuming refuses.

Cuts: after step 1, in the middle of an epoch, in the middle of an accumulation, at the end of an epoch, in the warm-up,
right after a better validation. For each of three models, with loader threads and with loader processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from segwright import api
from segwright.contracts import Batch, UserError
from segwright.models.weights import read_saved
from segwright.recipe import load_recipe
from segwright.runs import Run
from segwright.runs.checkpoint import load_checkpoint
from segwright.training.changes import differences
from segwright.training.interrupt import Interrupted
from segwright.training.prepare import resume, start
from segwright.training.progress import TrainingProgress
from segwright.training.step import Step
from tests.training.test_training import assert_same_training
from tests.training.tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)
MODELS = {
    "unet": ["model.args={width: 4, depth: 2}"],
    "fast_scnn": ["model.name=fast_scnn", "model.args={width: 0.25}", "augmentation.size=64"],
    "enet": ["model.name=enet"],  # with dropout: the random state counts
}
SETTINGS = ["training.batch=2", "training.accumulation=2", "training.epochs=3", "schedule.warmup=0.4"]
STEPS_PER_EPOCH = 3  # ten pictures: batches of 2, 2 | 2, 2 | 2

Cut = tuple[str, int]
"""What is counted, and at which number of it the signal comes."""
CUTS: dict[str, Cut] = {
    "step 1": ("step", 1),
    "in the middle of an epoch": ("step", STEPS_PER_EPOCH + 1),
    "in the middle of an accumulation": ("batch", 8),  # batch 8 is the third of epoch 2: one of two in its step
    "at the end of an epoch": ("step", 2 * STEPS_PER_EPOCH),
    "in the warm-up": ("step", 2),
    "after a better validation": ("validation", 1),
}


@dataclass
class Seen:
    """What a training computed with: (epoch, batch) -> names, hash of pixels and labels, and the loss to the last bit."""

    rows: dict[tuple[int, int], tuple[Any, ...]] = field(default_factory=dict)
    batches: int = 0


@contextmanager
def watched(patch: pytest.MonkeyPatch, seen: Seen, cut: Cut | None) -> Iterator[None]:
    """Note every batch; send this process a Ctrl-C at the cut."""
    added, shown, validated = Step.add, TrainingProgress.update, TrainingProgress.validated
    validations = iter(range(1, 1000))

    def stop(kind: str, number: int) -> None:
        if cut == (kind, number):
            os.kill(os.getpid(), signal.SIGINT)

    def add(self: Step, batch: Batch, *, share: float) -> None:
        added(self, batch, share=share)
        content = hashlib.sha256(batch.image.numpy().tobytes() + batch.labels.numpy().tobytes()).hexdigest()
        row = (batch.names, content, float(self.loss_value).hex())
        place = (self.learner.counters.epoch, batch.index)
        assert seen.rows.setdefault(place, row) == row, "a step that was begun again saw something else"
        seen.batches += 1
        stop("batch", seen.batches)

    def update(self: TrainingProgress, step: int, **values: Any) -> None:
        shown(self, step, **values)
        stop("step", step)

    def validate(self: TrainingProgress, *values: Any, **more: Any) -> None:
        validated(self, *values, **more)
        stop("validation", next(validations))

    with patch.context() as now:
        now.setattr(Step, "add", add)
        now.setattr(TrainingProgress, "update", update)
        now.setattr(TrainingProgress, "validated", validate)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, a recipe and, as they are asked for, whole trainings."""
    place = tmp_path_factory.mktemp("resume")
    write_recipe(place, write_pictures(place / "data", train=10, val=2))
    return place


def train(recipe: Path, overrides: list[str], runs: Path, name: str) -> None:
    start(load_recipe(recipe, overrides), runs=runs, name=name, console=QUIET).fit()


def settings(model: str, workers: int) -> list[str]:
    return [*SETTINGS, *MODELS[model], f"training.workers={workers}"]


def whole(folder: Path, model: str, workers: int, patch: pytest.MonkeyPatch) -> tuple[Path, Seen]:
    """A training that nothing stopped, and what it saw; made once."""
    name, seen = f"{model}-{workers}", Seen()
    kept = folder / f"{name}.json"
    if not kept.exists():
        with watched(patch, seen, None):
            train(folder / "tiny.yaml", settings(model, workers), folder / "runs", name)
        kept.write_text(json.dumps([[list(place), row] for place, row in seen.rows.items()]))
    rows = {tuple(place): (tuple(row[0]), *row[1:]) for place, row in json.loads(kept.read_text())}
    return folder / "runs" / name, Seen(rows)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("cut", CUTS)
def test_resumed_trainings_are_the_same_to_the_last_bit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str, model: str, workers: int
) -> None:
    run, all_of_it = whole(folder, model, workers, monkeypatch)
    seen = Seen()
    recipe, runs = folder / "tiny.yaml", tmp_path / "runs"
    with watched(monkeypatch, seen, CUTS[cut]), pytest.raises(Interrupted) as caught:
        train(recipe, settings(model, workers), runs, "cut")
    assert caught.value.exit_code == 130
    counters = load_checkpoint(runs / "cut" / "checkpoints" / "last.safetensors").state["counters"]
    assert counters["step"] < 3 * STEPS_PER_EPOCH
    if "accumulation" in cut:
        assert (counters["epoch"], counters["step"], counters["batch"]) == (1, 4, 2)  # the step begun is not in it
    with watched(monkeypatch, seen, None):
        resume(Run(runs / "cut"), console=QUIET).fit()
    assert seen.rows == all_of_it.rows
    assert_same_training(run, runs / "cut")  # every tensor, random numbers and the metrics rows included
    rows = [json.loads(line) for line in (runs / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert [(r["kind"], r["epoch"]) for r in rows] == [(k, e) for e in (1, 2, 3) for k in ("train", "val")]
    one, other = (read_saved(p / "checkpoints" / "best.safetensors")[1] for p in (run, runs / "cut"))
    assert [k for k in one if not torch.equal(one[k], other[k])] == []
    assert [e.name for e in runs.iterdir() if not e.is_symlink()] == ["cut"]  # it went on in the same folder


def stopped_in_validation(monkeypatch: pytest.MonkeyPatch, epoch: int, picture: int) -> None:
    shown, count = TrainingProgress.validation, iter(range(1, 1000))

    def validation(self: TrainingProgress, done: int, total: int) -> None:
        shown(self, done, total)
        if next(count) == (epoch - 1) * total + picture:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TrainingProgress, "validation", validation)


def test_stopped_in_a_validation_it_begins_again_with_that(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    run, _ = whole(folder, "unet", 0, monkeypatch)
    with monkeypatch.context() as patch:
        stopped_in_validation(patch, 2, 1)
        with pytest.raises(Interrupted) as caught:
            api.train(folder / "tiny.yaml", settings("unet", 0), runs=tmp_path, name="cut", console=QUIET)
    assert caught.value.exit_code == 143
    counters = load_checkpoint(tmp_path / "cut" / "checkpoints" / "last.safetensors").state["counters"]
    assert (counters["epoch"], counters["batch"], counters["step"]) == (1, 5, 2 * STEPS_PER_EPOCH)
    assert_same_training(run, api.resume("cut", runs=tmp_path, console=QUIET).path)


def cut_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that was stopped after step 4 of 9."""
    with watched(monkeypatch, Seen(), ("step", 4)), pytest.raises(Interrupted):
        api.train(folder / "tiny.yaml", settings("unet", 0), runs=tmp_path, name="r", console=QUIET)
    return Run(tmp_path / "r")


def by_override(run: Run, key: str, value: str) -> list[str]:
    return [f"{key}={value}"]


def by_hand(run: Run, key: str, value: str) -> list[str]:
    """The value of the key changed in the run's recipe.yaml."""
    text, name = run.recipe_file.read_text(), key.rpartition(".")[2]
    old = next(line for line in text.splitlines() if line.strip().startswith(f"{name}:"))
    run.recipe_file.write_text(text.replace(old, f"{old.partition(':')[0]}: {value}"))
    return []


@pytest.mark.parametrize("change", [by_override, by_hand])
def test_another_recipe_is_refused_with_the_difference_and_forced_on_request(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Run, str, str], list[str]]
) -> None:
    run = cut_run(folder, tmp_path, monkeypatch)
    before = {p.name: p.read_bytes() for p in run.path.iterdir() if p.is_file()}
    overrides = change(run, "optimizer.lr", "0.002")
    with pytest.raises(UserError, match=r"optimizer\.lr: 0\.01 -> 0\.002\n.*--resume .* --force"):
        api.resume(run.path, overrides, console=QUIET)
    untouched = {p.name: p.read_bytes() for p in run.path.iterdir() if p.is_file() and p != run.recipe_file}
    assert untouched == {k: v for k, v in before.items() if k != "recipe.yaml"}
    api.resume(run.path, overrides, force=True, console=QUIET)
    assert load_recipe(run.recipe_file).recipe.optimizer.lr == 0.002
    assert "changed at step 4" in run.recipe_file.read_text()
    assert (run.path / "recipe-until-step-4.yaml").is_file()
    rates = [row["lr"] for row in run.metrics() if row["kind"] == "train"]
    assert max(rates[1:]) <= 0.002 < rates[0]
    api.resume(run.path, console=QUIET)  # the change is the recipe now


@pytest.mark.parametrize(
    "override",
    ["training.batch=4", "training.accumulation=1", "model.args.width=8", "seed=9", "loss.args={}", "data.train=val"],
)
def test_what_a_checkpoint_cannot_go_on_with_is_refused_even_when_forced(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str
) -> None:
    run = cut_run(folder, tmp_path, monkeypatch)
    with pytest.raises(UserError, match=r"(?s)cannot go on with another .*new run: segwright train"):
        api.resume(run.path, [override], force=True, console=QUIET)


def test_pictures_may_move(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = write_recipe(tmp_path, write_pictures(tmp_path / "data", train=10, val=2))
    run, _ = whole(folder, "unet", 0, monkeypatch)
    with watched(monkeypatch, Seen(), ("step", 4)), pytest.raises(Interrupted):
        api.train(other, settings("unet", 0), runs=tmp_path, name="r", console=QUIET)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"data\.root: .*data\" -> .*elsewhere\""):
        api.resume("r", [f"data.root={tmp_path / 'elsewhere'}"], runs=tmp_path, console=QUIET)
    moved = [f"data.root={tmp_path / 'elsewhere'}"]
    assert_same_training(run, api.resume("r", moved, force=True, runs=tmp_path, console=QUIET).path)


def test_a_resumed_run_measures_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = cut_run(folder, tmp_path, monkeypatch)
    with pytest.raises(UserError, match="training.precision is auto"):
        api.resume(run.path, ["training.precision=auto"], force=True, console=QUIET)


def test_differences_are_told_key_by_key() -> None:
    before = {"a": {"b": 1, "args": {"x": 1}}, "c": [1, 2], "gone": None}
    after = {"a": {"b": 2, "args": {"x": 1, "y": 3}}, "c": [1, 2]}
    assert differences(before, after) == {"a.b": (1, 2), "a.args.y": (None, 3)}
    assert differences(after, after) == {}


def test_random_state_is_part_of_a_checkpoint(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = cut_run(folder, tmp_path, monkeypatch)
    saved = load_checkpoint(run.last)
    assert saved.tensors["rng.cpu"].dtype == torch.uint8
    assert {name.split(".")[0] for name in saved.tensors} >= {"model", "ema", "optimizer", "rng"}
