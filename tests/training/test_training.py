"""Training end to end on a tiny data set: it learns, resumes bit-exactly, survives kills, refuses a bad loss."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from segwright import api
from segwright.contracts import SegwrightError, UserError
from segwright.recipe import load_recipe
from segwright.runs.checkpoint import load_checkpoint
from segwright.training.interrupt import Interrupted
from segwright.training.prepare import start
from segwright.training.progress import TrainingProgress
from segwright.training.step import explain_first_loss
from segwright.training.trainer import MAX_BAD_STEPS

from .tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, write_pictures(tmp_path / "data"))


def train(recipe: Path, runs: Path, *overrides: str, name: str | None = None) -> api.TrainResult:
    return api.train(recipe, overrides, runs=runs, name=name, console=QUIET)


def assert_same_training(a: Path, b: Path) -> None:
    """Every tensor of the state, the counters and the metrics (but for times) are equal."""
    one, two = (load_checkpoint(p / "checkpoints" / "last.safetensors") for p in (a, b))
    assert one.tensors.keys() == two.tensors.keys()
    assert [k for k in one.tensors if not torch.equal(one.tensors[k], two.tensors[k])] == []
    assert one.state["counters"] == two.state["counters"]
    timed = {"seconds", "images_per_s", "data_wait", "peak_memory_mb", "checkpoint_s", "checkpoint_share"}
    rows = [
        [
            {k: v for k, v in json.loads(line).items() if k not in timed}
            for line in (p / "metrics.jsonl").read_text().splitlines()
        ]
        for p in (a, b)
    ]
    assert rows[0] == rows[1]


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Send this process a Ctrl-C when optimiser step `step` is shown."""
    shown = TrainingProgress.update

    def update(self: TrainingProgress, now: int, **values: Any) -> None:
        shown(self, now, **values)
        if now == step:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(TrainingProgress, "update", update)


def test_it_learns_and_writes_a_run(recipe: Path, tmp_path: Path) -> None:
    result = train(recipe, tmp_path / "runs", "training.epochs=25", "training.accumulation=1", "lr=0.03")
    assert result.miou > 0.8
    kept = {p.name for p in result.path.iterdir()}
    assert kept >= {
        "recipe.yaml",
        "environment.json",
        "data.json",
        "metrics.jsonl",
        "checkpoints",
        "report.html",
        "MODEL_CARD.md",
    }
    resolved = load_recipe(result.path / "recipe.yaml").recipe
    weights = resolved.loss.args["class_weights"]
    assert len(weights) == 3
    assert weights[0] < weights[1]  # the ground is frequent
    data = json.loads((result.path / "data.json").read_text())
    assert (data["splits"]["train"]["pictures"], data["splits"]["val"]["pictures"]) == (10, 4)


def test_three_runs_of_one_seed_are_equal_and_of_two_seeds_are_not(recipe: Path, tmp_path: Path) -> None:
    one, two, three, other = (train(recipe, tmp_path / "runs", f"seed={s}") for s in (1, 1, 1, 2))
    assert_same_training(one.path, two.path)
    assert_same_training(one.path, three.path)
    with pytest.raises(AssertionError):
        assert_same_training(one.path, other.path)


@pytest.mark.parametrize("model", ["unet", "fast_scnn"])
@pytest.mark.parametrize("step", [1, 2, 3, 4, 6])
def test_ctrl_c_saves_and_resuming_is_bit_exact(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, model: str
) -> None:
    options = [] if model == "unet" else ["model.name=fast_scnn", "model.args={width: 0.25}", "augmentation.size=64"]
    whole = train(recipe, tmp_path / "runs", *options, name="whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(Interrupted, match="segwright train --resume") as caught:
            train(recipe, tmp_path / "runs", *options, name="cut")
    assert caught.value.exit_code == 130
    resumed = api.resume("cut", runs=tmp_path / "runs", console=QUIET)
    assert_same_training(whole.path, resumed.path)
    assert resumed.miou == whole.miou


def test_resuming_other_pictures_is_refused(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        with pytest.raises(Interrupted):
            train(recipe, tmp_path / "runs", name="cut")
    for kind in ("images", "masks"):
        (tmp_path / "data" / "train" / kind / "train_03.png").unlink()
    with pytest.raises(UserError, match="the train pictures are not those"):
        api.resume("cut", runs=tmp_path / "runs", console=QUIET)


def test_a_finished_run_says_how_to_train_longer(recipe: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "runs", name="done")
    told = Console(record=True, width=500, file=(tmp_path / "log").open("w"))
    api.resume("done", runs=tmp_path / "runs", console=told)
    assert "has finished already" in told.export_text()


def test_patience_stops_early(recipe: Path, tmp_path: Path) -> None:
    result = train(
        recipe, tmp_path / "runs", "lr=1e-9", "training.epochs=30", "training.patience=2", "training.min_delta=0.5"
    )
    epochs = [
        r for r in map(json.loads, (result.path / "metrics.jsonl").read_text().splitlines()) if r["kind"] == "val"
    ]
    assert len(epochs) == 3


def test_a_loss_that_is_not_finite_changes_nothing_and_names_the_samples(recipe: Path, tmp_path: Path) -> None:
    told = Console(record=True, width=500, file=(tmp_path / "log").open("w"))
    trainer = start(load_recipe(recipe), runs=tmp_path / "runs", name=None, console=told)
    segmenter, forward = trainer.learner.segmenter, trainer.loss.forward
    before = {k: v.clone() for k, v in segmenter.state_dict().items()}
    trainer.loss.forward = lambda *a: forward(*a) * float("nan")  # type: ignore[method-assign]
    with pytest.raises(SegwrightError, match=r"3 steps in a row.*optimizer.lr"):
        trainer.fit()
    assert [k for k, v in segmenter.state_dict().items() if not torch.equal(v, before[k])] == []
    assert "Samples: train_" in told.export_text()
    assert MAX_BAD_STEPS == 3


def test_a_gradient_that_is_not_finite_changes_no_weight(recipe: Path, tmp_path: Path) -> None:
    trainer = start(load_recipe(recipe), runs=tmp_path / "runs", name=None, console=QUIET)
    weight = next(trainer.learner.segmenter.parameters())
    calls = iter(range(1000))
    weight.register_hook(lambda grad: grad * (float("inf") if next(calls) == 2 else 1.0))
    trainer.fit()
    assert trainer.learner.counters.skipped == 1
    assert all(v.isfinite().all() for v in trainer.learner.segmenter.state_dict().values())


def test_one_bad_batch_is_skipped_and_training_goes_on(recipe: Path, tmp_path: Path) -> None:
    trainer = start(load_recipe(recipe), runs=tmp_path / "runs", name=None, console=QUIET)
    forward, calls = trainer.loss.forward, iter(range(1000))
    trainer.loss.forward = lambda *a: forward(*a) * (float("inf") if next(calls) == 2 else 1.0)  # type: ignore[method-assign]
    trainer.fit()
    assert trainer.finished
    assert trainer.learner.counters.skipped == 1
    assert all(v.isfinite().all() for v in trainer.learner.segmenter.state_dict().values())


@pytest.mark.parametrize(
    ("loss", "classes", "part"),
    [(2.4, 11, "as it should be"), (0.1, 11, "already trained"), (9.0, 11, "not normalised")],
)
def test_the_first_loss_is_explained(loss: float, classes: int, part: str) -> None:
    assert part in explain_first_loss(loss, classes)


def test_auxiliary_heads_count_in_the_first_loss() -> None:
    told = explain_first_loss(4.4, 11, heads=1.8)
    assert "as it should be" in told
    assert "1.8 · ln 11" in told


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("model.name=unett", "model.name is 'unett'.*Did you mean 'unet'"),
        ("model.args={widht: 4}", "unet has no argument 'widht'. Did you mean 'width'"),
        ("augmentation.size=30", r"multiples of 4: the nearest is augmentation.size=\[32,32\]|nearest"),
        ("data.root=/nowhere", "/nowhere"),
        ("data.train=trian", "train"),
        ("data.labels=camvid111", "Did you mean 'camvid11'"),
        ("loss.args={class_weights: [1, 2]}", "class_weights has 2 numbers; the label space has 3 classes"),
        ("loss.args={class_weights: medium}", "medium"),
        ("protocol=pool", "Did you mean 'pooled'"),
        ("schedule.warmup=1.5", "schedule.warmup is 1.5"),
        ("schedule.args={final: 0.1, powr: 2}", "no 'powr' for poly"),
        ("optimizer.args={momentum: 0.9}", "no 'momentum' for adamw"),
        ("training.device=cuda:7", "the device 'cuda:7'"),
        ("augmentation.args={scale: 3}", "scale"),
    ],
)
def test_wrong_recipes_are_refused_before_a_folder_is_made(
    recipe: Path, tmp_path: Path, override: str, part: str
) -> None:
    with pytest.raises(UserError, match=part):
        train(recipe, tmp_path / "runs", override)
    assert not (tmp_path / "runs").exists()
