"""Starting from another model's weights, with layers that stay as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from segwright import api
from segwright.contracts import UserError
from segwright.models import load_segmenter

from .tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe and runs/first, trained well."""
    folder = tmp_path_factory.mktemp("source")
    recipe = write_recipe(folder, write_pictures(folder / "data"))
    settings = ["training.epochs=15", "training.accumulation=1", "lr=0.03"]
    api.train(recipe, settings, runs=folder / "runs", name="first", console=QUIET)
    return folder


def train(source: Path, name: str, *overrides: str) -> api.TrainResult:
    settings = ["training.epochs=1", f"model.weights={source}/runs/first/checkpoints/best.safetensors", *overrides]
    return api.train(source / "tiny.yaml", settings, runs=source / "runs", name=name, console=QUIET)


def first_loss(result: api.TrainResult) -> float:
    return float(json.loads((result.path / "metrics.jsonl").read_text().splitlines()[0])["loss"])


def test_training_goes_on_where_the_weights_stood(source: Path) -> None:
    again, fresh = train(source, "again"), train(source, "fresh", "model.weights=null")
    assert first_loss(again) < 0.5 * first_loss(fresh)
    segmenter = load_segmenter(again.path / "checkpoints" / "best.safetensors")
    assert segmenter.provenance["started_from"]["file"] == "best.safetensors"
    assert segmenter.provenance["started_from"]["provenance"]["run"] == "first"


def test_the_classifier_follows_the_class_names(source: Path) -> None:
    """Red and green changed places in the new space; their rows move with them."""
    content = (source / "tiny.yaml").read_text()
    swapped = content.replace("name: red, values: [1]", "name: green, values: [2]", 1)
    swapped = swapped.replace("name: green, values: [2], color: [40", "name: red, values: [1], color: [40")
    (source / "swapped.yaml").write_text(swapped, encoding="utf-8")
    weights = f"model.weights={source}/runs/first/checkpoints/best.safetensors"
    result = api.train(
        source / "swapped.yaml", ["training.epochs=1", "lr=0.000001", weights], runs=source / "runs", console=QUIET
    )
    assert result.evaluation.space.class_names == ("ground", "green", "red")
    assert result.miou > 0.7


def test_frozen_layers_keep_their_numbers_also_after_a_resume(source: Path) -> None:
    result = train(source, "frozen", "model.freeze=[encoder.*]", "training.epochs=2")
    before = load_segmenter(source / "runs" / "first" / "checkpoints" / "best.safetensors").state_dict()
    after = load_segmenter(result.path / "checkpoints" / "best.safetensors").state_dict()
    encoder = [name for name in before if ".encoder." in name]
    assert encoder
    assert all(torch.equal(before[name], after[name]) for name in encoder)
    assert not torch.equal(before["architecture.classify.weight"], after["architecture.classify.weight"])
    assert api.resume(result.path, runs=source / "runs", console=QUIET).miou == result.miou


def test_early_layers_learn_more_slowly_with_decay_by_depth(source: Path) -> None:
    slow = train(source, "slow", "optimizer.decay_by_depth=0.0001")
    before = load_segmenter(source / "runs" / "first" / "checkpoints" / "best.safetensors").state_dict()
    after = load_segmenter(slow.path / "checkpoints" / "best.safetensors").state_dict()
    moved = {
        n: float((after[n] - before[n]).abs().mean()) for n in before if n.endswith("weight") and before[n].ndim == 4
    }
    names = list(moved)
    assert moved[names[0]] < 0.01 * moved["architecture.classify.weight"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.freeze=[nothing.*]", "nothing"),
        ("model.weights=missing.safetensors", "missing.safetensors"),
        ("model.weights=imagenet", "has no ImageNet weights"),
        ("model.freeze=1.5", "model.freeze"),
    ],
)
def test_what_cannot_be_is_refused_before_any_folder_is_made(source: Path, override: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        train(source, "never", override)
    assert not (source / "runs" / "never").exists()
