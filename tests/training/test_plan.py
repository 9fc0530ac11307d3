"""The recipe that is made for a folder: each decision follows from the data and the device, and is explained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwright.build import build_segmenter
from segwright.contracts import UserError
from segwright.data.inspect import FolderFacts
from segwright.labels import LabelSpace
from segwright.recipe.loading import check
from segwright.training.plan import decide

SPACE = LabelSpace.from_dict({"name": "x", "classes": [{"name": "a", "values": [0]}, {"name": "b", "values": [1]}]})
FACTS = FolderFacts(
    **{"root": Path("photos"), "layout": "images and masks in two folders", "splits": {"train": 80, "val": 20}},
    **{"pictures": 100, "sizes": {(1080, 1920): 100}, "encoding": "index", "values": {}, "labels": SPACE},
    **{"names_from": None, "notes": (), "class_pixels": (900, 100), "class_images": (100, 90)},
    **{"class_image_pixels": (1000, 900), "ignored_pixels": 0},
)


def decided(device: str = "cpu", **changes: Any) -> tuple[dict[str, Any], dict[str, str]]:
    return decide(replace(FACTS, **changes), device)


def test_big_pictures_are_resized_and_small_ones_are_not() -> None:
    content, reasons = decided()
    assert content["model"]["short_side"] == 256
    assert "1080×1920" in reasons["model.short_side"]
    content, reasons = decided(sizes={(200, 240): 100})
    assert content["model"]["short_side"] is None
    assert "small enough" in reasons["model.short_side"]


def test_a_processor_gets_what_learns_quickly_there_and_changes_stay_in_one_plan() -> None:
    content, _ = decided()
    assert content["model"]["name"] == "slim_unet"
    assert (content["optimizer"]["name"], content["optimizer"]["lr"]) == ("muon", 0.01)
    content["optimizer"]["args"]["momentum"] = 0.5
    content["model"]["args"]["width"] = 2
    again, _ = decided()
    assert again["optimizer"]["args"] == again["model"]["args"] == {}


def test_rare_classes_are_weighted_and_named() -> None:
    assert decided()[0]["loss"]["args"]["class_weights"] is None
    content, reasons = decided(class_pixels=(9900, 100))
    assert content["loss"]["args"]["class_weights"] == "log"
    assert "99 times the pixels of b" in reasons["loss.args.class_weights"]


def test_a_gpu_gets_a_larger_model_and_size() -> None:
    content, reasons = decided("cuda")
    assert content["model"]["name"] == "smp"
    assert content["model"]["short_side"] == 512
    assert "cuda" in reasons["model.name"]


@given(
    train=st.integers(1, 100_000),
    height=st.integers(8, 6000),
    width=st.integers(8, 6000),
    pixels=st.tuples(st.integers(1, 10**9), st.integers(1, 10**9)),
)
def test_every_decision_is_a_recipe_that_can_be_built(
    train: int, height: int, width: int, pixels: tuple[int, int]
) -> None:
    content, reasons = decided(
        splits={"train": train, "val": 1}, pictures=train + 1, sizes={(height, width): train + 1}, class_pixels=pixels
    )
    recipe = check(content)
    assert all(side % 32 == 0 for side in recipe.augmentation.size)
    assert 2 <= recipe.training.batch_size <= 8
    assert 10 <= recipe.training.epochs <= 500
    for key in reasons:
        place: Any = content
        for part in key.split("."):
            assert part in place, f"a reason is given for {key}, which the recipe does not have"
            place = place[part]


def test_the_planned_model_is_built_for_the_classes() -> None:
    recipe = check(decided()[0])
    assert build_segmenter(recipe, SPACE).num_classes == 2


def test_one_picture_is_not_enough() -> None:
    with pytest.raises(UserError, match="at least two"):
        decided(pictures=1)
