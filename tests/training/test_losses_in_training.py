"""Losses as a training uses them: every one trains, sums adapt and resume exactly, class weights become numbers."""

from __future__ import annotations

import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from segwright.contracts import UserError
from segwright.losses import LOSSES
from segwright.recipe import load_recipe
from segwright.runs import find_run
from segwright.runs.checkpoint import load_checkpoint
from segwright.training.interrupt import Interrupted
from segwright.training.prepare import resume, start
from segwright.training.progress import TrainingProgress
from segwright.training.trainer import Trainer

from .tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)
ADAPTIVE = (
    "loss.name=combined",
    "loss.args.losses=[{name: focal, args: {class_weights: enet}}, {name: generalized_dice}]",
    "loss.args.adaptive=true",
)
BOUNDED = ("loss.name=combined", "loss.args.losses=[{name: cross_entropy}, {name: boundary, weight: 0.01}]")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path, write_pictures(tmp_path / "data"))


def begin(recipe: Path, *overrides: str, name: str | None = None, console: Console = QUIET) -> Trainer:
    return start(load_recipe(recipe, overrides), runs=recipe.parent / "runs", name=name, console=console)


def rows(trainer: Trainer) -> list[dict[str, Any]]:
    """The training rows of metrics.jsonl."""
    lines = map(json.loads, (trainer.run.path / "metrics.jsonl").read_text().splitlines())
    return [row for row in lines if row["kind"] == "train"]


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_trains(recipe: Path, name: str) -> None:
    options = ADAPTIVE if name == "combined" else (f"loss.name={name}",)
    trainer = begin(recipe, *options, "training.epochs=2", "training.accumulation=1", "lr=0.02")
    trainer.fit()
    first, second = (row["loss"] for row in rows(trainer))
    assert second < first or name == "combined"  # whose weights changed
    assert trainer.learner.counters.skipped == 0


def test_an_adaptive_sum_resumes_bit_exactly_within_an_epoch(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = (*ADAPTIVE, "training.epochs=4", "training.accumulation=1")
    whole = begin(recipe, *options, name="whole")
    whole.fit()
    shown = TrainingProgress.update

    def update(self: TrainingProgress, now: int, **values: Any) -> None:
        shown(self, now, **values)
        if now == 8:  # of 3 an epoch
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "update", update)
        with pytest.raises(Interrupted):
            begin(recipe, *options, name="cut").fit()
    again = resume(find_run("cut", runs=recipe.parent / "runs"), console=QUIET)
    counted = {k: v for k, v in load_checkpoint(again.run.last).tensors.items() if k.startswith("loss.")}
    assert counted["loss.count"] == 2
    assert counted["loss.epochs"] == 2
    again.fit()
    one, two = (load_checkpoint(t.run.last).tensors for t in (whole, again))
    assert one.keys() == two.keys()
    assert [k for k in one if not torch.equal(one[k], two[k])] == []
    facts = [[(r["loss"], r["losses"], r["loss_weights"]) for r in rows(t)] for t in (whole, again)]
    assert facts[0] == facts[1]
    weights = [tuple(r["loss_weights"].values()) for r in rows(whole)]
    assert weights[0] == (0.5, 0.5)
    assert len(set(weights)) > 2
    assert all(sum(w) == pytest.approx(1, abs=1e-5) for w in weights)


def test_class_weights_inside_a_sum_become_numbers(recipe: Path) -> None:
    told = Console(file=io.StringIO(), width=500)
    losses = "[{name: dice, args: {class_weights: enet}}, {name: ohem, args: {class_weights: log}}, {name: boundary}]"
    trainer = begin(recipe, "loss.name=combined", f"loss.args.losses={losses}", console=told)
    resolved = load_recipe(trainer.run.path / "recipe.yaml").recipe.loss.args["losses"]
    assert [len(part["args"]["class_weights"]) for part in resolved[:2]] == [3, 3]
    assert resolved[0]["args"]["class_weights"][0] < resolved[0]["args"]["class_weights"][1]  # the ground is frequent
    assert "class_weights" not in resolved[2].get("args", {})
    text = told.file.getvalue()  # type: ignore[attr-defined]
    assert "class weights (enet): ground" in text
    assert "class weights (log): ground" in text


def test_auxiliary_weight_weighs_the_auxiliary_heads(recipe: Path) -> None:
    """The first loss grows by the same amount for each unit of weight."""
    small = ("model.name=fast_scnn", "model.args={width: 0.25, auxiliary: true}", "augmentation.size=64")
    values = []
    for weight in (0, 1, 2):
        trainer = begin(recipe, *small, f"loss.auxiliary_weight={weight}", "training.epochs=1")
        trainer.fit()
        values.append(trainer.learner.counters.first_loss)
    assert values[1] - values[0] > 0.5
    assert values[2] - values[1] == pytest.approx(values[1] - values[0], rel=1e-5)


@pytest.mark.parametrize(("loss", "explained"), [("cross_entropy", True), ("dice", False)])
def test_only_a_loss_that_starts_at_ln_k_is_held_against_it(recipe: Path, loss: str, explained: bool) -> None:
    told = Console(file=io.StringIO(), width=500)
    begin(recipe, f"loss.name={loss}", "training.epochs=1", console=told).fit()
    text = told.file.getvalue()  # type: ignore[attr-defined]
    assert "first loss" in text
    assert ("ln 3" in text) == explained


@pytest.mark.parametrize("options", [("loss.name=bce",), BOUNDED])
def test_a_loss_that_needs_one_class_a_pixel_refuses_coarse_labels_before_any_folder(
    recipe: Path, options: tuple[str, ...]
) -> None:
    root = recipe.parent
    things = "{name: things, classes: [{name: ground, values: [0], color: [1, 1, 1]}, "
    things += "{name: thing, values: [1, 2], color: [9, 9, 9]}]}"
    shapes = root / "shapes.yaml"
    shapes.write_text(
        "name: shapes\nclasses:\n"
        "  - {name: ground, values: [0], color: [30, 30, 30]}\n"
        "  - {name: red, values: [1], color: [200, 40, 40], group: thing}\n"
        "  - {name: green, values: [2], color: [40, 200, 60], group: thing}\n"
    )
    also = f"data.also=[{{name: paired_folders, root: {root}/data, labels: {things}, train: train}}]"
    with pytest.raises(UserError, match=r"needs to know the one class of each pixel.*data\.also"):
        begin(recipe, f"data.labels={shapes}", also, *options)
    assert not (root / "runs").exists()
