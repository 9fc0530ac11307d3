"""Wrong masks are told with their likely cause."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from segwright.contracts import DataError
from segwright.labels import LabelSpace, load_label_space


def message(space: LabelSpace | str, raw: Any) -> str:
    found = load_label_space(space) if isinstance(space, str) else space
    with pytest.raises(DataError) as caught:
        found.encode(np.asarray(raw), source="mask.png")
    return str(caught.value)


def one_row(values: list[int]) -> np.ndarray[Any, Any]:
    return np.array([values], np.uint8)


@pytest.mark.parametrize("name", ["camvid11", "voc21", "cityscapes19", "kitti11"])
def test_a_palette_mask_turned_into_grey(name: str) -> None:
    space = load_label_space(name)
    ids = np.arange(space.num_classes, dtype=np.uint8)[None]
    picture = Image.fromarray(space.colorize(ids)).convert("L")
    assert "greys of the class colours" in message(space, picture)


def test_colour_masks_turned_into_grey() -> None:
    space = load_label_space("camvid32")
    picture = Image.fromarray(space.colorize(np.arange(31, dtype=np.uint8)[None])).convert("L")
    assert "the masks were turned into grey" in message(space, picture)
    assert "grey" not in message(space, one_row([0, 1, 2, 3]))


def test_red_and_blue_exchanged() -> None:
    space = load_label_space("camvid32")
    colors = space.colorize(np.arange(31, dtype=np.uint8)[None])
    assert "saved in the order blue, green, red" in message(space, colors[..., ::-1])


def test_suim_masks_that_are_nearly_on_and_off() -> None:
    text = message("suim8", np.array([[[250, 3, 255], [0, 0, 12]]], np.uint8))
    assert "Round each channel to 0 or 255" in text


def test_many_colours() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert "JPEG or an anti-aliased mask" in message("camvid32", noise)
    assert "JPEG or an anti-aliased mask" in message("suim8", noise)
    assert "Add the colours" in message("camvid32", np.array([[[1, 2, 3]]], np.uint8))


@pytest.mark.parametrize("name", ["cityscapes34", "cityscapes19", "cityscapes7", "streets10", "kitti19"])
def test_train_ids_where_label_ids_are_expected(name: str) -> None:
    assert "Cityscapes train ids" in message(name, one_row([*range(19), 255]))
    assert "licence plate" in message(name, one_row([7, 11, 26, 33, 255]))


def test_label_ids_where_train_ids_are_expected() -> None:
    assert "look like Cityscapes label ids" in message("cityscapes19_trainids", one_row([7, 8, 11, 26, 33]))


@pytest.mark.parametrize("name", ["ade150", "cocostuff10k"])
def test_masks_that_were_shifted_down_already(name: str) -> None:
    assert "shifted down by one already (reduce_zero_label)" in message(name, one_row([0, 1, 20, 149, 255]))


def test_masks_that_still_have_to_be_shifted_down() -> None:
    reduced = LabelSpace.from_dict(
        {
            "name": "reduced",
            "classes": [{"name": str(i), "values": [i]} for i in range(150)],
            "ignored": [{"name": "void", "values": [255]}],
        }
    )
    assert "run 1..150, with 0 for everything else" in message(reduced, one_row([0, 1, 7, 150]))
    assert "run 1..150 instead of 0..149" in message(reduced, one_row([1, 7, 150]))


def test_ids_of_labels_txt_where_cocostuffs_pngs_are_expected() -> None:
    assert "off by one" in message("cocostuff171", one_row([1, 3, 100, 182]))


@pytest.mark.parametrize(
    ("name", "values", "cause"),
    [
        ("camvid11", [0, 255], "black and white"),
        ("camvid11", [0, 3, 255], "255 is often void"),
        ("camvid11", [0, 3, 77], "List the missing classes"),
        ("camvid11", list(range(256)), "smoothed, resized with interpolation"),
        ("ade150", [0, 5, 255], "shifted down"),
        ("voc21", [0, 1, 100, 101], "List the missing classes"),
    ],
)
def test_other_causes_and_no_far_fetched_ones(name: str, values: list[int], cause: str) -> None:
    assert cause in message(name, one_row(values))
