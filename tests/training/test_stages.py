"""Stages end to end on a tiny data set: what changes at a border, what goes on, and resuming at any point."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from torch import nn

from segwright.contracts import UserError
from segwright.recipe import load_recipe
from segwright.recipe.stages import stage_recipes
from segwright.runs import Run
from segwright.runs.checkpoint import load_checkpoint
from segwright.training.interrupt import Interrupted
from segwright.training.prepare import resume, start
from segwright.training.trainer import Trainer

from .test_training import assert_same_training, interrupt_at
from .tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)
STAGES: list[dict[str, Any]] = [
    {"name": "head", "until": 2, "freeze": 0.75, "schedule": {"name": "constant"}},
    {
        "name": "crops",
        "until": 3,
        "freeze": 0.5,
        "loss": {"args": {"label_smoothing": 0.1, "class_weights": "log"}},
        "augmentation": {"size": [48, 48], "args": {"flip_p": 1.0}},
        "training": {"batch": 2, "accumulation": 1},
    },
    {
        "name": "all",
        "fresh_optimizer": True,
        "schedule": {"name": "plateau", "warmup": 0.0, "args": {"patience": 0, "factor": 0.5, "threshold": 0.3}},
        "optimizer": {"lr": 0.005, "groups": [{"match": "*", "lr_factor": 0.5}]},
    },
]
"""Steps an epoch: 2, 2 | 5 | 2, 2, 2 (ten pictures; batches of 4 two by two, of 2, of 4 two by two)."""
LAST_STEPS = [2, 4, 9, 11, 13, 15]


def staged(tmp_path: Path, stages: Sequence[Mapping[str, Any]] = STAGES, epochs: int = 6, **sections: Any) -> Path:
    path = write_recipe(tmp_path, write_pictures(tmp_path / "data"))
    content = yaml.safe_load(path.read_text())
    for section, values in ({"training": {}} | sections).items():
        content[section] |= values
    content["training"]["epochs"] = epochs
    path.write_text(yaml.safe_dump(content | {"stages": list(stages)}, sort_keys=False), encoding="utf-8")
    return path


def rows(run: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if row["kind"] == kind]


def test_each_stage_has_its_own_steps_rate_and_name(tmp_path: Path) -> None:
    told = Console(record=True, width=500, file=(tmp_path / "log").open("w"))
    run = fit(staged(tmp_path), tmp_path / "runs", "told", console=told)
    epochs = rows(run, "train")
    assert [row["stage"] for row in epochs] == ["head", "head", "crops", "all", "all", "all"]
    assert [row["step"] for row in epochs] == LAST_STEPS
    assert [row["stage"] for row in rows(run, "val")] == [row["stage"] for row in epochs]
    assert epochs[1]["lr"] == 0.01  # constant
    assert epochs[2]["lr"] == pytest.approx(0.01 * (1 - 3 / 4) ** 0.9)  # poly over five steps, one of them warm-up
    best, rate = 0.0, 0.005  # plateau, by its definition
    for epoch, scored in zip(epochs[3:], rows(run, "val")[3:], strict=True):
        assert epoch["lr"] == pytest.approx(rate)
        best, rate = (scored["miou"], rate) if scored["miou"] > best + 0.3 or epoch is epochs[3] else (best, rate / 2)
    text = told.export_text()
    assert "stage 2 of 3, crops: epoch 3, 5 steps; model.freeze=0.5; loss.args." in text
    assert "stage 3 of 3, all: epochs 4 to 6, 6 steps" in text
    assert "fresh optimiser" in text
    kept = load_recipe(run / "recipe.yaml").recipe
    numbers = [stage.recipe.loss.args["class_weights"] for stage in stage_recipes(kept)]
    assert all(isinstance(weight, float) for weights in numbers for weight in weights)
    assert numbers[0] == numbers[2] != numbers[1]


def fit(recipe: Path, runs: Path, name: str, *, console: Console = QUIET) -> Path:
    """Training alone, without the evaluation and report at its end."""
    trainer = start(load_recipe(recipe), runs=runs, name=name, console=console)
    trainer.fit()
    return trainer.run.path


def go_on(run: Path) -> Path:
    resume(Run(run), console=QUIET).fit()
    return run


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The recipe, and a run of it that nothing stopped."""
    folder = tmp_path_factory.mktemp("stages")
    recipe = staged(folder)
    return recipe, fit(recipe, folder / "runs", "whole")


@pytest.mark.parametrize("step", range(1, LAST_STEPS[-1]))
def test_resuming_is_bit_exact_at_every_step(
    course: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    recipe, whole = course
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(Interrupted):
            fit(recipe, tmp_path / "runs", "cut")
    assert_same_training(whole, go_on(tmp_path / "runs" / "cut"))


class Cut(Exception):
    """A power cut."""


@pytest.mark.parametrize("border", [1, 2])
def test_resuming_is_bit_exact_at_the_borders(
    course: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, border: int
) -> None:
    recipe, whole = course
    enter = Trainer._enter

    def cut(self: Trainer, stage: Any) -> None:
        if stage.index == border:
            raise Cut
        enter(self, stage)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_enter", cut)
        with pytest.raises(Cut):
            fit(recipe, tmp_path / "runs", "cut")
    assert_same_training(whole, go_on(tmp_path / "runs" / "cut"))


def test_stages_without_changes_are_a_training_without_stages(tmp_path: Path) -> None:
    """With a rate that does not depend on the step, borders leave no trace in any tensor."""
    schedule = {"name": "constant", "warmup": 0.0}
    plain = fit(staged(tmp_path, [], schedule=schedule), tmp_path / "runs", "plain")
    divided = fit(staged(tmp_path, [{"until": 2}, {"epochs": 1}, {}], schedule=schedule), tmp_path / "runs", "divided")
    one, two = (load_checkpoint(p / "checkpoints" / "last.safetensors").tensors for p in (plain, divided))
    assert [key for key in one if not torch.equal(one[key], two[key])] == []


def test_the_five_stages_of_the_study_run_and_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A published course of five stages, an epoch each: cross entropy, smoothed, with Dice, augmented, cosine; always afresh."""
    fresh = {"fresh_optimizer": True}

    def combined(alpha: float) -> dict[str, Any]:
        parts = [{"name": "cross_entropy", "weight": alpha}, {"name": "dice", "weight": 1 - alpha}]
        return {"loss": {"name": "combined", "args": {"losses": parts}}}

    stages = [
        {"until": 1},
        {"until": 2, **fresh, "loss": {"args": {"label_smoothing": 0.1}}},
        {"until": 3, **fresh, **combined(0.6)},
        {"until": 4, **fresh, **combined(0.6), "augmentation": {"name": "standard", "args": {"blur_p": 0.3}}},
        {**fresh, **combined(0.5), "augmentation": {"name": "advanced"}, "schedule": {"name": "cosine"}},
    ]
    plain = {"augmentation": {"name": "none", "args": {}}, "schedule": {"name": "constant", "warmup": 0.0}}
    recipe = staged(tmp_path, stages, 5, **plain)
    whole = fit(recipe, tmp_path / "runs", "whole")
    found = rows(whole, "train")
    assert [row["stage"] for row in found] == [f"stage {n}" for n in range(1, 6)]
    assert found[4]["lr"] == pytest.approx(0.005)  # the second of two steps of a cosine
    with monkeypatch.context() as patch:
        interrupt_at(patch, 7)
        with pytest.raises(Interrupted):
            fit(recipe, tmp_path / "runs", "cut")
    assert_same_training(whole, go_on(tmp_path / "runs" / "cut"))


def watched(recipe: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The model's state, what learns and the number of optimiser states after each stage border and at the end."""
    found: list[dict[str, Any]] = []
    trainer = start(load_recipe(recipe), runs=runs, name=None, console=QUIET)
    enter = Trainer._enter

    def look() -> None:
        network = trainer.learner.segmenter.architecture
        found.append(
            {
                "state": {k: v.clone() for k, v in network.state_dict().items()},
                "learns": {n for n, p in network.named_parameters() if p.requires_grad},
                "moments": len(trainer.learner.optimizer.state),
                "training": {n for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d) and m.training},
            }
        )

    def entering(self: Trainer, stage: Any) -> None:
        look()
        enter(self, stage)
        look()

    monkeypatch.setattr(Trainer, "_enter", entering)
    look()
    trainer.fit()
    look()
    return found


def test_layers_thaw_stage_by_stage_with_their_statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = staged(tmp_path, [{"until": 1, "freeze": 0.75}, {"until": 2, "freeze": 0.5}, {"freeze": None}], 3)
    found = watched(recipe, tmp_path / "runs", monkeypatch)
    learning = [found[i]["learns"] for i in (0, 2, 4)]
    assert learning[0] < learning[1] < learning[2] == found[-1]["learns"]
    assert len(learning[2]) == sum(1 for name in found[0]["state"] if name.endswith((".weight", ".bias")))
    for before, after in ((0, 1), (2, 3), (4, 5)):
        same = {n for n, v in found[before]["state"].items() if torch.equal(v, found[after]["state"][n])}
        still = {n for n in found[0]["state"] if n.endswith((".weight", ".bias"))} - found[before]["learns"]
        assert still <= same
        assert found[before]["learns"] & same == set()
        for name in found[0]["state"]:
            if name.endswith("running_mean"):
                assert (name in same) == (name.replace("running_mean", "weight") not in found[before]["learns"])
    assert found[1]["moments"] == len(learning[0])
    assert found[2]["moments"] == len(learning[0])  # those that learned keep their moments, the others have none yet
    assert found[3]["moments"] == len(learning[1])


def test_a_fresh_optimizer_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [{"until": 1}, {"fresh_optimizer": True, "optimizer": {"name": "rmsprop", "args": {"momentum": 0.9}}}]
    found = watched(staged(tmp_path, stages, 2), tmp_path / "runs", monkeypatch)
    assert found[1]["moments"] > 0
    assert found[2]["moments"] == 0
    assert found[3]["moments"] > 0


def test_patience_ends_a_stage_and_the_next_one_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [{"until": 20, "training": {"patience": 2, "min_delta": 0.9}}, {"epochs": 3}]
    recipe = staged(tmp_path, stages, 23, optimizer={"lr": 1e-9})
    whole = fit(recipe, tmp_path / "runs", "whole")
    assert [row["epoch"] for row in rows(whole, "train")] == [1, 2, 3, 21, 22, 23]
    assert [row["step"] for row in rows(whole, "train")] == [2, 4, 6, 42, 44, 46]
    assert rows(whole, "train")[3]["stage"] == "stage 2"
    for step in (6, 41):
        with monkeypatch.context() as patch:
            interrupt_at(patch, step)
            with pytest.raises(Interrupted):
                fit(recipe, tmp_path / "runs", f"cut {step}")
        assert_same_training(whole, go_on(tmp_path / "runs" / f"cut {step}"))


def test_the_end_of_a_stage_is_always_validated(tmp_path: Path) -> None:
    stages = [{"until": 2}, {"until": 3}, {}]
    run = fit(staged(tmp_path, stages, 5, training={"val_every": 100}), tmp_path / "runs", "all")
    assert [row["epoch"] for row in rows(run, "val")] == [2, 3, 5]


@pytest.mark.parametrize(
    ("stage", "part"),
    [
        ({"augmentation": {"size": [30, 30]}}, r"stage 'late': augmentation.size is 30×30.*nearest"),
        ({"augmentation": {"args": {"flop_p": 1.0}}}, "stage 'late': augmentation.args has no 'flop_p'"),
        ({"schedule": {"name": "cosine", "args": {"powr": 1.0}}}, "stage 'late': schedule.args has no 'powr'"),
        ({"freeze": ["encodr.*"]}, "stage 'late': model.freeze: the pattern 'encodr"),
        ({"freeze": ["*"]}, "stage 'late'.*nothing would learn"),
        ({"optimizer": {"groups": [{"match": "none.*"}]}}, "stage 'late': optimizer.groups"),
        ({"loss": {"name": "cross_entropi"}}, "stage 'late': loss.name is 'cross_entropi'"),
        ({"loss": {"args": {"label_smoothing": 1.5}}}, "stage 'late': .*label_smoothing"),
    ],
)
def test_a_wrong_stage_is_refused_before_a_folder_is_made(tmp_path: Path, stage: dict[str, Any], part: str) -> None:
    recipe = staged(tmp_path, [{"until": 2}, {"name": "late", **stage}])
    with pytest.raises(UserError, match=part):
        fit(recipe, tmp_path / "runs", "never")
    assert not (tmp_path / "runs").exists()
