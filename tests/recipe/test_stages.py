"""Stages of a recipe: what holds when, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from segwright.contracts import UserError
from segwright.recipe import dump, load_recipe, shipped
from segwright.recipe.loading import annotated
from segwright.recipe.stages import in_every_stage, stage_recipes

STUDY_D = """
  - {name: plain, until: 10}
  - {name: weighted, until: 30, fresh_optimizer: true, loss: {args: {class_weights: enet}}}
  - {name: smoothed, until: 50, fresh_optimizer: true, loss: {args: {label_smoothing: 0.1}}}
  - {name: augmented, until: 70, fresh_optimizer: true, augmentation: {name: advanced, size: [512, 1024]}}
  - {name: cosine, fresh_optimizer: true, schedule: {name: cosine, args: {final: 0.01}}}
"""


def write(folder: Path, stages: str, epochs: int = 90) -> Path:
    """The shipped recipe with stages, a constant schedule and no augmentation."""
    text = shipped()["camvid-cpu"].replace("stages: []", f"stages: {stages.rstrip()}")
    assert stages.rstrip() in text
    content = yaml.safe_load(text)
    content["training"]["epochs"] = epochs
    content["schedule"] = {"name": "constant"}
    content["augmentation"] = {"name": "none", "size": [256, 352]}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def test_each_stage_is_the_recipe_with_its_changes(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, STUDY_D)).recipe
    stages = stage_recipes(recipe)
    assert [(s.name, s.start, s.end) for s in stages] == [
        ("plain", 0, 10), ("weighted", 10, 30), ("smoothed", 30, 50), ("augmented", 50, 70), ("cosine", 70, 90),
    ]  # fmt: skip
    assert [s.fresh_optimizer for s in stages] == [False, True, True, True, True]
    assert stages[0].recipe == recipe.model_copy(update={"stages": []})
    losses = [s.recipe.loss.args for s in stages]
    assert losses[1] == {"class_weights": "enet", "label_smoothing": 0.0}  # one argument changes, the other stays
    assert losses[2] == {
        "class_weights": "log",
        "label_smoothing": 0.1,
    }  # changes to the recipe, not to the stage before
    assert [s.recipe.augmentation.name for s in stages] == ["none", "none", "none", "advanced", "none"]
    assert stages[3].recipe.augmentation.size == [512, 1024]
    assert stages[4].recipe.schedule.args == {"final": 0.01}
    assert all(s.recipe.data == recipe.data for s in stages)


def test_without_stages_the_training_is_one() -> None:
    recipe = load_recipe("camvid-cpu").recipe
    (only,) = stage_recipes(recipe)
    assert (only.name, only.start, only.end, only.recipe) == (None, 0, recipe.training.epochs, recipe)


def test_stages_survive_writing_and_reading(tmp_path: Path) -> None:
    loaded = load_recipe(write(tmp_path, STUDY_D))
    for text in (dump(loaded.recipe), annotated(loaded)):
        again = tmp_path / "again.yaml"
        again.write_text(text, encoding="utf-8")
        assert stage_recipes(load_recipe(again).recipe) == stage_recipes(loaded.recipe)


def test_lengths_and_short_freeze(tmp_path: Path) -> None:
    path = write(
        tmp_path, "\n  - {epochs: 4, freeze: 0.75}\n  - {epochs: 3, freeze: ['*.bias']}\n  - {freeze: null}", 10
    )
    stages = stage_recipes(load_recipe(path, ["model.freeze=0.1"]).recipe)
    assert [(s.name, s.start, s.end) for s in stages] == [("stage 1", 0, 4), ("stage 2", 4, 7), ("stage 3", 7, 10)]
    assert [s.recipe.model.freeze for s in stages] == [0.75, ["*.bias"], None]


def test_another_component_starts_without_the_arguments_of_the_recipe(tmp_path: Path) -> None:
    path = write(tmp_path, "\n  - {until: 2}\n  - {schedule: {name: plateau}, loss: {name: cross_entropy}}", 5)
    stages = stage_recipes(load_recipe(path, ["schedule.name=poly", "schedule.args.power=2.0"]).recipe)
    assert stages[1].recipe.schedule.args == {}
    assert stages[1].recipe.loss.args == stages[0].recipe.loss.args != {}


def test_what_is_filled_in_reaches_every_stage(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, STUDY_D)).recipe
    numbers = {"log": [1.0, 2.0], "enet": [3.0, 4.0]}

    def fill(one: Any) -> Any:
        rule = one.loss.args["class_weights"]
        return _with_loss(one, one.loss.args | {"class_weights": numbers[rule]}) if isinstance(rule, str) else one

    found = [s.recipe.loss.args["class_weights"] for s in stage_recipes(in_every_stage(recipe, fill))]
    assert found == [[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]


def _with_loss(recipe: Any, args: dict[str, Any]) -> Any:
    return recipe.model_copy(update={"loss": recipe.loss.model_copy(update={"args": args})})


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ("[{until: 3}, {until: 3}, {}]", ["stages.1 ends with epoch 3", "no epochs"]),
        ("[{until: 3}, {until: 9}]", ["end with epoch 9", "training.epochs is 10", "stages=[]"]),
        ("[{until: 13}, {}]", ["no epochs"]),
        ("[{}, {until: 10}]", ["stages.0 does not say when it ends"]),
        ("[{until: 3, epochs: 3}, {}]", ["`until` and `epochs`"]),
        ("[{name: a, until: 3}, {name: a}]", ["two of the stages have the name 'a'"]),
        ("[{until: 3, data: {root: x}}, {}]", ["a stage cannot have 'data'", "Allowed: name, until"]),
        ("[{until: 3, los: {}}, {}]", ["a stage cannot have 'los'", "Did you mean 'loss'"]),
        ("[{until: 3, model: {name: unet}}, {}]", ["stages.0.model cannot change 'name'", "freeze"]),
        (
            "[{until: 3, training: {device: cpu}}, {}]",
            ["stages.0.training cannot change 'device'", "batch, accumulation"],
        ),
        ("[{until: 3, training: {btch: 2}}, {}]", ["cannot change 'btch'", "Did you mean 'batch'"]),
        ("[{until: 3, training: {batch: 0}}, {}]", ["stages.0.training.batch is 0"]),
        ("[{until: 3}, {schedule: {name: cosin}}]", ["stages.1.schedule.name is 'cosin'", "'cosine'"]),
        ("[{until: 3}, {loss: {args: 3}}]", ["stages.1.loss.args is 3"]),
        ("[{until: 3}, {freeze: 1.5}]", ["stages.1.model.freeze"]),
        ("[{until: 3}, {freeze: 0.5, model: {freeze: 0.1}}]", ["freeze and model"]),
        ("[{until: 3}, {optimizer: {name: sgd}}]", ["stages.1 changes optimizer.name", "fresh_optimizer: true"]),
        ("[{until: soon}, {}]", ["stages.0.until is 'soon'"]),
        ("3", ["stages is 3"]),
    ],
)
def test_wrong_stages_are_refused_with_place_and_remedy(stages: str, expected: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(write(tmp_path, stages, 10))
    for part in expected:
        assert part in str(caught.value)


def test_a_wrong_value_in_a_stage_names_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "\n  - until: 3\n  - training: {batch: 0}", 10)
    line = next(n for n, text in enumerate(path.read_text().splitlines(), start=1) if text.strip() == "batch: 0")
    with pytest.raises(UserError, match=rf"mine.yaml:{line}: stages.1.training.batch is 0"):
        load_recipe(path)
