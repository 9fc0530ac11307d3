"""Label spaces: every raw value has one meaning, wrong masks are explained, files carry the space."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwright.contracts import IGNORE, DataError, UserError
from segwright.labels import LabelSpace, catalogue, load_label_space

# trainId -> id and the void ids, from PROTOCOLS: cityscapesScripts, helpers/labels.py
CITYSCAPES_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
CITYSCAPES_VOID = [0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30]
SEGNET_PALETTE = [
    *((128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0)),
    *((192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192)),
]

OFFICIAL_TWINS = {
    "ade150": {(140, 140, 140)},  # road and skyscraper
    "cityscapes34": {(0, 0, 0), (153, 153, 153)},  # five void labels; pole and polegroup
}


def space(**changes: Any) -> LabelSpace:
    content: dict[str, Any] = {
        "name": "two",
        "classes": [
            {"name": "a", "values": [1, 7], "color": [255, 0, 0], "group": "x"},
            {"name": "b", "values": [2], "color": [0, 255, 0], "group": "x", "aliases": ["bee"]},
        ],
        "ignored": [{"name": "void", "values": [0], "color": [0, 0, 0]}],
    }
    return LabelSpace.from_dict(content | changes)


def test_cityscapes19_is_the_official_table() -> None:
    official = load_label_space("cityscapes19")
    raw = np.arange(34, dtype=np.uint8)[None]
    ids = official.encode(raw, source="x")[0]
    assert [int(np.flatnonzero(ids == k)[0]) for k in range(19)] == CITYSCAPES_IDS
    assert np.flatnonzero(ids == IGNORE).tolist() == CITYSCAPES_VOID
    assert official.decode(np.arange(19, dtype=np.uint8)).tolist() == CITYSCAPES_IDS


def test_camvid11_is_segnets_table() -> None:
    segnet = load_label_space("camvid11")
    assert segnet.palette[:11].tolist() == [list(c) for c in SEGNET_PALETTE]
    assert segnet.encode(np.array([[0, 10, 11]], np.uint8), source="x").tolist() == [[0, 10, IGNORE]]


@pytest.mark.parametrize("name", catalogue())
def test_every_shipped_space_round_trips_and_has_distinct_colours(name: str) -> None:
    shipped = load_label_space(name)
    assert LabelSpace.from_dict(shipped.to_dict()) == shipped
    colors = Counter(tuple(c) for c in shipped.palette[: shipped.num_classes].tolist())
    assert {c for c, count in colors.items() if count > 1} == OFFICIAL_TWINS.get(name, set())
    assert sorted(i for ids in shipped.groups.values() for i in ids) == list(range(shipped.num_classes))


@given(
    st.lists(st.sampled_from([0, 1, 2, 7]), min_size=1, max_size=50), st.sampled_from([np.uint8, np.uint16, np.int32])
)
def test_encoding_follows_the_table_in_every_integer_type(values: list[int], dtype: Any) -> None:
    meaning = {0: IGNORE, 1: 0, 7: 0, 2: 1}
    found = space().encode(np.array([values], dtype), source="x")
    assert found.dtype == np.uint8
    assert found.tolist() == [[meaning[v] for v in values]]


def test_colour_masks_are_read_by_the_colour_table() -> None:
    colored = space(
        encoding="rgb",
        classes=[
            {"name": "sea", "values": [[0, 0, 255]], "color": [0, 0, 255]},
            {"name": "fish", "values": [[255, 255, 0]]},
        ],
        ignored=[],
    )
    raw = np.array([[[0, 0, 255], [255, 255, 0]]], np.uint8)
    assert colored.encode(raw, source="x").tolist() == [[0, 1]]
    with pytest.raises(DataError, match=r"#010203 \(1 px\)"):
        colored.encode(np.array([[[1, 2, 3]]], np.uint8), source="x")
    with pytest.raises(DataError, match="one number a pixel"):
        colored.encode(np.zeros((2, 2), np.uint8), source="x")
    assert LabelSpace.from_dict(colored.to_dict()) == colored


def test_multi_label_spaces_give_one_plane_a_class() -> None:
    multi = space(exclusive=False, classes=[{"name": "a", "values": [1, 3]}, {"name": "b", "values": [2, 3]}])
    planes = multi.encode(np.array([[0, 1, 2, 3]], np.uint8), source="x")
    assert planes.dtype == bool
    assert planes.tolist() == [[[False, True, False, True]], [[False, False, True, True]]]


def test_other_values_can_be_ignored_on_request() -> None:
    assert space(other="ignore").encode(np.array([[9, 2]], np.uint8), source="x").tolist() == [[IGNORE, 1]]


@pytest.mark.parametrize(
    ("name", "values", "cause"),
    [
        ("camvid11", [0, 255], "black and white"),
        ("camvid11", list(range(0, 250, 3)), "smoothed, resized with interpolation"),
        ("camvid11", [0, 3, 255], "255 is often void"),
        ("cityscapes19", [0, 5, 18, 255], "Cityscapes train ids"),
    ],
)
def test_wrong_masks_come_with_their_likely_cause(name: str, values: list[int], cause: str) -> None:
    with pytest.raises(DataError) as caught:
        load_label_space(name).encode(np.array([values], np.uint8), source="mask.png")
    message = str(caught.value)
    assert message.startswith("mask.png:")
    assert cause in message
    assert "Allowed: 0" in message


def test_ids_off_by_one_and_train_id_spaces_are_recognised() -> None:
    three = space(classes=[{"name": n, "values": [i]} for i, n in enumerate("abc")], ignored=[])
    with pytest.raises(DataError, match="off by one"):
        three.encode(np.array([[1, 2, 3]], np.uint8), source="m")
    train_ids = space(
        classes=[{"name": str(i), "values": [i]} for i in range(19)], ignored=[{"name": "void", "values": [255]}]
    )
    with pytest.raises(DataError, match="Cityscapes label ids"):
        train_ids.encode(np.array([[7, 26, 33]], np.uint8), source="m")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"clases": []}, "unknown key 'clases'"),
        ({"classes": []}, "non-empty list of `classes`"),
        ({"classes": [{"name": "a", "values": [1]}, {"name": "a", "values": [2]}]}, "'a' for two classes"),
        ({"classes": [{"name": "a", "values": [1]}, {"name": "b", "values": [1]}]}, "value 1 two meanings"),
        ({"classes": [{"name": "a", "values": [70000]}]}, "70000"),
        ({"classes": [{"name": "a", "values": [1], "color": [300, 0, 0]}]}, "0..255"),
        ({"classes": [{"name": "a"}]}, "`values`"),
        ({"encoding": "palette"}, "index or rgb"),
        ({"classes": [{"name": str(i), "values": [i]} for i in range(251)], "ignored": []}, "allowed are 1..250"),
    ],
)
def test_wrong_spaces_are_refused(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError) as caught:
        space(**changes)
    assert part in str(caught.value)


def test_spaces_are_found_by_name_or_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nclasses:\n  - {name: a, values: [0]}\n  - {name: b, values: [1]}\n", encoding="utf-8")
    assert load_label_space(str(file)).class_names == ("a", "b")
    with pytest.raises(UserError, match="Did you mean 'camvid11'"):
        load_label_space("camvd11")
    with pytest.raises(UserError, match="does not exist"):
        load_label_space(str(tmp_path / "other.yaml"))
    file.write_text("a: [", encoding="utf-8")
    with pytest.raises(UserError, match="not readable YAML"):
        load_label_space(str(file))
