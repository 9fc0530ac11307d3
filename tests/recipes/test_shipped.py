"""Every shipped recipe builds and trains: one epoch of one step on pictures of its own data set's layout, in small."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from segwright import split_data
from segwright.build import build_loss, build_segmenter, model_space
from segwright.data.splits import Plan
from segwright.data.streets import write_streets
from segwright.models.freezing import freeze
from segwright.recipe import load_recipe, shipped
from segwright.recipe.loading import check
from segwright.recipe.stages import stage_recipes
from segwright.training.optimizer import build_optimizer
from segwright.training.prepare import start
from segwright.training.schedule import build_schedule
from segwright.training.weighting import with_numbers
from tests.data import layouts

OWN_RUN = {"camvid-cpu", "streets-demo"}
"""Trained whole by other tests."""

NAMES = sorted(set(shipped()) - OWN_RUN)

PUBLISHED = {
    "a-unet-34": ("0.34", "0.77"),
    "a-unet-19": ("none published",),
    "a-unet-7": ("0.77", "0.89"),
    "a-resnet-34": ("0.33", "0.76"),
    "a-resnet-19": ("0.37", "0.80"),
    "a-resnet-7": ("0.71", "0.88"),
    "a-unet-aspp-34": ("0.366", "0.786"),
    "a-unet-aspp-19": ("0.45", "0.84"),
    "a-unet-aspp-7": ("0.70", "0.86"),
    "a-deeplab-v3-19": ("0.465", "0.825"),
    "a-suim": ("0.358", "0.620"),
    "b-deeplab-v3": ("0.85", "0.75", "0.45"),
    "b-unet": ("0.85", "0.75", "0.38", "0.78"),
    "b-denseaspp": ("0.84", "0.73", "0.52", "0.74"),
    "d-deeplab-v3-plus": ("0.54", "0.56", "0.58", "0.6256"),
}
"""What the sources published, which the header and the page have to say."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reader -> folder, with splits.json in it where recipes divide the data themselves."""
    top = tmp_path_factory.mktemp("data")
    root = {name: top / name for name in ("cityscapes", "camvid", "voc", "suim")}
    write_streets(root["cityscapes"], counts={"train": 4, "val": 2}, size=(64, 128), workers=1)
    for name in ("camvid", "voc", "suim"):
        getattr(layouts, name)(root[name])
    root["streets"] = root["cityscapes"]
    for name, split, parts in (
        ("cityscapes", "train", {"train": 2.0, "val": 1.0, "test": 1.0}),
        ("voc", "trainval", {"train": 2.0, "val": 1.0}),
    ):
        plan = Plan(fractions=parts)
        split_data(root[name], plan=plan, splits=[split], out=root[name] / "splits.json", console=quiet())
    return root


def quiet() -> Console:
    return Console(file=io.StringIO(), width=120)


def small(name: str, places: dict[str, Path]) -> list[str]:
    """Overrides with which a recipe trains a step in little time; all that it says about model, loss and rate stays."""
    recipe = load_recipe(name).recipe
    root = places[recipe.data.name]
    changes = [
        *(f"data.root={root}", "augmentation.size=[64,64]", "model.weights=null"),
        *("data.cache=auto", "training.device=cpu", "training.compile=false"),
        *("training.precision=fp32", "training.memory_format=contiguous"),
        *(f"training.batch={min(2, recipe.training.batch_size)}", "training.workers=0", "training.val_every=1"),
    ]
    if recipe.data.split_file:
        changes.append(f"data.split_file={root / recipe.data.split_file}")
    if recipe.model.short_side:
        changes.append("model.short_side=64")
    stages = [
        {k: v for k, v in s.model_dump().items() if k not in ("until", "epochs")} | {"epochs": 1} for s in recipe.stages
    ]
    if stages:
        changes.append(f"stages={yaml.safe_dump(stages, default_flow_style=True, width=10**6).strip()}")
    return [*changes, f"training.epochs={max(1, len(stages))}"]


def thin(name: str) -> bool:
    """Whether the net can be made thin: then its step is quick, else it is left to the slow tests."""
    return "width" in load_recipe(name).recipe.model.args


@pytest.mark.parametrize("name", NAMES)
def test_everything_in_it_can_be_built(name: str) -> None:
    recipe = load_recipe(name).recipe
    space = model_space(recipe)
    with torch.device("meta"):
        segmenter = build_segmenter(recipe, space, fresh=False)
    height, width = recipe.augmentation.size
    assert height % segmenter.stride == width % segmenter.stride == 0
    for stage in stage_recipes(recipe):
        own = stage.recipe
        args = with_numbers(own.loss.args, lambda _: [1.0] * space.num_classes)
        build_loss(own.model_copy(update={"loss": own.loss.model_copy(update={"args": args})}), space)
        build_schedule(own.schedule, 10, epochs=2)
    if recipe.model.freeze is not None:
        assert freeze(segmenter.architecture, recipe.model.freeze).names
    assert build_optimizer(recipe.optimizer, segmenter).param_groups


def train_a_step(name: str, overrides: list[str], runs: Path) -> None:
    loaded = load_recipe(name, overrides)
    trainer = start(loaded, runs=runs, name="run", console=quiet())
    trainer.fit()
    rows = trainer.run.metrics()
    trained = [row for row in rows if row["kind"] == "train"]
    assert len(trained) == max(1, len(loaded.recipe.stages))
    assert all(math.isfinite(row["loss"]) and row["refused_steps"] == 0 for row in trained)
    assert [row for row in rows if row["kind"] == "val"]


@pytest.mark.parametrize("name", [n for n in NAMES if thin(n)])
def test_it_trains_a_step_on_generated_data_with_few_channels(
    name: str, places: dict[str, Path], tmp_path: Path
) -> None:
    train_a_step(name, [*small(name, places), "model.args.width=4"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_trains_a_step_on_generated_data(name: str, places: dict[str, Path], tmp_path: Path) -> None:
    train_a_step(name, small(name, places), tmp_path)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_header_says_what_the_source_published(name: str) -> None:
    header = " ".join(line for line in shipped()[name].splitlines() if line.startswith("#"))
    assert all(figure in header for figure in PUBLISHED[name])


def test_the_studies_are_all_there() -> None:
    counts = {letter: sum(name.startswith(f"{letter}-") for name in NAMES) for letter in "abcde"}
    assert counts == {"a": 11, "b": 3, "c": 2, "d": 1, "e": 7}


def test_recipes_of_one_comparison_differ_in_the_net_alone() -> None:
    """The comparison of backbones would compare something else otherwise."""
    contents = [load_recipe(name).recipe.model_dump() for name in NAMES if name.startswith("e-")]
    rest = [{k: v for k, v in content.items() if k not in ("name", "model")} for content in contents]
    assert all(one == rest[0] for one in rest)
    assert check(contents[0]).data.labels == contents[1]["data"]["labels"]
