"""Recipes: what a user may write, and what is said about what they may not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from segwright.contracts import UserError
from segwright.recipe import dump, load_recipe, shipped
from segwright.recipe.loading import annotated, headline
from segwright.recipe.schema import keys

GOOD = shipped()["camvid-cpu"]


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes_are_complete_and_say_what_to_expect(name: str) -> None:
    text = shipped()[name]
    recipe = load_recipe(name).recipe
    assert recipe.name == name
    written = yaml.safe_load(text)
    for key in keys():
        place = written
        for part in key.split("."):
            assert part in place, f"{name} leaves out {key}: shipped recipes are complete"
            place = place[part]
    header = [line for line in text.splitlines() if line.startswith("#")]
    for word in ("segwright train", "hardware:", "time:", "score:"):
        assert any(word in line for line in header), f"the header of {name} lacks '{word}'"
    assert headline(text)


@pytest.mark.parametrize("name", shipped())
def test_a_dumped_recipe_reads_back_equal(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name).recipe
    assert load_recipe(write(tmp_path, dump(recipe))).recipe == recipe


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("seed: 0 -> seed: zero", ["mine.yaml:", "seed is 'zero'", "integer"]),
        (
            "epochs: -> epoch:",
            ["mine.yaml:", "unknown key 'training.epoch'", "Did you mean 'training.epochs'", "missing"],
        ),
        ("lr: 0.003 -> lr: 3e-3", ["mine.yaml:", "as text", "0.003"]),
        ("lr: 0.003 -> lr: 1000.0", ["mine.yaml:", "optimizer.lr is 1000.0", "10"]),
        ("lr: 0.003 -> lr: '0.003'", ["optimizer.lr is '0.003'", "number"]),
        ("name: adamw -> name: adamax", ["optimizer.name is 'adamax'", "adamw"]),
        ("batch: 8 -> batch: 0", ["training.batch is 0", "greater than or equal to 1"]),
        ("batch: 8 -> batch: 8.5", ["training.batch is 8.5"]),
        ("batch: 8 -> batch: true", ["training.batch is True"]),
        ("seed: 0 -> seed: 0\nseed: 1", ["mine.yaml:", "'seed' stands twice"]),
        ("labels: camvid11 -> labels: !!python/name:os.system x", ["plain data"]),
        ("labels: camvid11 -> labels: [", ["not readable as YAML"]),
        ("precision: auto -> precision: fp64", ["training.precision is 'fp64'", "'fp32'"]),
    ],
)
def test_wrong_recipes_name_file_line_and_remedy(change: str, expected: list[str], tmp_path: Path) -> None:
    before, after = change.split(" -> ")
    assert before in GOOD
    path = write(tmp_path, GOOD.replace(before, after, 1))
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    for part in expected:
        assert part in str(caught.value)


def test_fp16_on_a_processor_is_refused() -> None:
    with pytest.raises(UserError, match="fp16, which needs a GPU"):
        load_recipe("camvid-cpu", ["training.device=cpu", "training.precision=fp16"])


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("training.epoch=3", "Did you mean 'training.epochs'"),
        ("epoch=3", "Did you mean 'epochs'"),
        ("training.epochs", "key=value"),
        ("training.epochs.x=3", "unknown key"),
        ("model.arg.width=2", "unknown key"),
        ("lr=fast", "command line: optimizer.lr is 'fast'"),
    ],
)
def test_wrong_overrides_say_what_was_meant(override: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("camvid-cpu", [override])
    assert part in str(caught.value)


def test_overrides_win_and_short_names_work(tmp_path: Path) -> None:
    loaded = load_recipe("camvid-cpu", ["epochs=7", "lr0=1e-4", "imgsz=224", "root=/data", "data.args.sequence=0016E5"])
    recipe = loaded.recipe
    assert (recipe.training.epochs, recipe.optimizer.lr, recipe.augmentation.size) == (7, 1e-4, [224, 224])
    assert recipe.data.root == "/data"
    assert recipe.data.args == {"sequence": "0016E5"}  # a name, not 16e5
    assert loaded.origins["training.epochs"] == "command line"
    assert loaded.origins["training.batch"].startswith("camvid-cpu.yaml:")
    assert "# command line" in annotated(loaded)
    again = write(tmp_path, annotated(loaded))
    assert load_recipe(again).recipe == recipe


def test_another_component_starts_without_the_arguments_of_the_old_one() -> None:
    loaded = load_recipe("camvid-cpu", ["model.args.width=8", "model.name=unet", "optimizer.name=adamw"])
    assert loaded.recipe.model.args == {"width": 8}  # head_stride is gone, the user's own argument stays
    assert loaded.recipe.schedule.args == {"final": 0.001}
    assert "model.name changed" in loaded.origins["model.args"]


def test_unknown_recipes_name_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'camvid-cpu'"):
        load_recipe("camvid-cpus")
    with pytest.raises(UserError, match="does not exist"):
        load_recipe("missing.yaml")


@given(st.text(max_size=200))
def test_any_text_is_a_recipe_or_a_user_error(text: str) -> None:
    from segwright.recipe.loading import check, parse

    with suppress(UserError):  # any other exception fails the test
        content, _ = parse(text, "x.yaml")
        check(content)
