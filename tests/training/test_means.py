"""Means of parameters against NumPy, batch statistics against torch's own, and the soup that they make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.optim.swa_utils import update_bn

from segwright import api
from segwright.build import build_segmenter, model_space
from segwright.contracts import UserError
from segwright.evaluation.soup import helps
from segwright.metrics.intervals import Interval
from segwright.models import Segmenter
from segwright.models.weights import load_segmenter
from segwright.recipe import Recipe, load_recipe
from segwright.training.means import averaged, mean_of, reestimate_statistics, training_batches

from .tiny import write_pictures, write_recipe

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("means")
    return write_recipe(folder, write_pictures(folder / "data"))


@pytest.fixture
def recipe(recipe_file: Path) -> Recipe:
    return load_recipe(recipe_file).recipe


def model(recipe: Recipe, seed: int) -> Segmenter:
    """Random parameters, and random statistics that no data gave."""
    torch.manual_seed(seed)
    made = build_segmenter(recipe, model_space(recipe))
    for name, buffer in made.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 2)
    return made


def test_the_mean_is_numpys_mean(recipe: Recipe) -> None:
    models = [model(recipe, seed) for seed in range(3)]
    found = mean_of(models).state_dict()
    for name, tensor in found.items():
        if tensor.is_floating_point():
            expected = np.mean([m.state_dict()[name].double().numpy() for m in models], axis=0)
            np.testing.assert_allclose(tensor.numpy(), expected.astype(np.float32), rtol=1e-7)
        else:
            assert torch.equal(tensor, models[0].state_dict()[name])
    before = model(recipe, 0).state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in models[0].state_dict().items())  # left as it was


def test_statistics_are_those_of_torchs_update_bn(recipe: Recipe) -> None:
    ours, theirs = model(recipe, 1), model(recipe, 1)
    batches = list(training_batches(recipe, ours.stride))
    state = torch.get_rng_state()
    assert reestimate_statistics(ours, batches) > 0
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        pictures = [theirs.normalise(batch.image) for batch in batches]
        update_bn(pictures, theirs.architecture)
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, msg=name)


def test_statistics_of_frozen_layers_stay(recipe: Recipe) -> None:
    frozen = recipe.model_copy(update={"model": recipe.model.model_copy(update={"freeze": 0.5})})
    models = [model(recipe, 2), model(recipe, 2)]
    before = models[0].state_dict()
    after = averaged(models, frozen, device="cpu").state_dict()
    same = {name: torch.equal(before[name], after[name]) for name in before if "running" in name}
    assert set(same.values()) == {True, False}
    assert same[next(iter(same))]  # the first layers are the frozen ones


def test_one_model_is_its_own_mean(recipe: Recipe) -> None:
    single = model(recipe, 3)
    assert averaged([single], recipe, device="cpu") is single


def test_models_that_have_no_mean_are_refused(recipe: Recipe) -> None:
    wider = recipe.model_copy(update={"model": recipe.model.model_copy(update={"args": {"width": 8, "depth": 2}})})
    with pytest.raises(UserError, match="fold 1 and fold 2 differ in their tensors"):
        mean_of([model(recipe, 0), model(wider, 0)], ["fold 1", "fold 2"])
    other = recipe.model_copy(update={"model": recipe.model.model_copy(update={"name": "small_cnn", "args": {}})})
    with pytest.raises(UserError, match="differ in their architecture: unet and small_cnn"):
        mean_of([model(recipe, 0), model(other, 0)])


@pytest.mark.parametrize(
    ("low", "value", "high", "kept", "strictly"),
    [
        (0.01, 0.02, 0.03, True, True),
        (-0.01, 0.02, 0.03, True, False),
        (-0.01, 0.0, 0.01, True, False),
        (-0.02, -0.01, 0.01, False, False),
        (-0.03, -0.02, -0.01, False, False),
    ],
)
def test_an_ingredient_is_kept_by_its_interval(
    low: float, value: float, high: float, kept: bool, strictly: bool
) -> None:
    difference = Interval(value, low, high, 0.95, "groups", 9, 2000)
    assert helps(difference, strict=False) is kept
    assert helps(difference, strict=True) is strictly


def test_a_soup_of_equal_models_is_the_model_and_a_bad_one_is_left_out(recipe_file: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    options = ["training.epochs=6", "training.ema_decay=null", "training.accumulation=1"]
    for name in ("a", "b"):
        api.train(recipe_file, options, name=name, runs=runs, console=QUIET)
    bad = api.train(
        recipe_file, [*options, "training.epochs=1", "optimizer.lr=1e-5"], name="bad", runs=runs, console=QUIET
    )
    equal = api.soup(["a", "b"], tmp_path / "equal.safetensors", runs=runs, console=QUIET)
    one, other = load_segmenter(equal.file), load_segmenter(runs / "a" / "checkpoints" / "best.safetensors")
    for name, parameter in one.named_parameters():
        torch.testing.assert_close(parameter, other.get_parameter(name))
    assert [i.kept for i in equal.ingredients] in ([True, True], [True, False])  # new statistics may cost a little

    mixed = api.soup(["bad", "a"], tmp_path / "soup.safetensors", runs=runs, strict=True, console=QUIET)
    assert mixed.ingredients[0].name == "a"
    assert mixed.miou >= bad.miou
    if not mixed.ingredients[1].kept:
        assert load_segmenter(mixed.file).provenance["soup"] == ["a"]
    assert mixed.to_dict()["selected_on"] == "val"
    assert "selected on val" in mixed.table().title  # type: ignore[operator]
    with pytest.raises(UserError, match="trains on this split"):
        api.soup(["a", "b"], tmp_path / "x", held_out="train", runs=runs, console=QUIET)
    with pytest.raises(UserError, match="two runs or more"):
        api.soup(["a"], tmp_path / "x", runs=runs, console=QUIET)
