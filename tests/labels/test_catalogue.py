"""The shipped label spaces say what the data sets' own tables say."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.models._meta import _COCO_CATEGORIES, _VOC_CATEGORIES

from segwright.contracts import IGNORE, DataError
from segwright.data.streets import ids as drawn
from segwright.labels import LabelSpace, catalogue, load_label_space
from segwright.labels.matching import spelled

# PROTOCOLS, section 1: cityscapesScripts, helpers/labels.py
CATEGORIES = {
    "flat": [7, 8],
    "construction": [11, 12, 13],
    "object": [17, 19, 20],
    "nature": [21, 22],
    "sky": [23],
    "human": [24, 25],
    "vehicle": [26, 27, 28, 31, 32, 33],
}
VOID_IDS = [0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30]
COCO_ABSENT = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}  # PROTOCOLS, section 7: PNG values that never occur
# The devkit's own list: index 0..20
VOC_PALETTE = [
    *((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128)),
    *((64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128), (192, 0, 128), (64, 128, 128)),
    *((192, 128, 128), (0, 64, 0), (128, 64, 0), (0, 192, 0), (128, 192, 0), (0, 64, 128)),
]


def test_every_data_set_of_the_design_has_its_space() -> None:
    sizes = {name: load_label_space(name).num_classes for name in catalogue()}
    assert sizes == {
        **{"cityscapes34": 34, "cityscapes19": 19, "cityscapes19_trainids": 19, "cityscapes7": 7, "streets10": 10},
        **{"camvid32": 31, "camvid11": 11, "suim8": 8, "suim5": 5, "voc21": 21, "ade150": 150},
        **{"kitti19": 19, "kitti11": 11, "cocostuff171": 171, "cocostuff10k": 171, "cocostuff10k_mat": 171},
    }
    assert [n for n in sizes if not load_label_space(n).exclusive] == ["suim5"]
    assert [n for n in sizes if load_label_space(n).encoding == "rgb"] == ["camvid32", "suim5", "suim8"]


@pytest.mark.parametrize("name", catalogue())
def test_names_stay_distinct_when_case_and_spaces_do_not_count(name: str) -> None:
    space = load_label_space(name)
    names = Counter(n for c in space.classes for n in {spelled(n) for n in (c.name, *c.aliases)})
    assert [n for n, count in names.items() if count > 1] == []
    assert space.source
    assert space.title


def test_cityscapes34_is_the_whole_table() -> None:
    space = load_label_space("cityscapes34")
    raw = np.arange(34, dtype=np.uint8)[None]
    assert space.encode(raw, source="x")[0].tolist() == list(range(34))
    assert space.palette[:34].tolist() == drawn.COLOURS.tolist()
    groups = {c.values[0]: c.group for c in space.classes}
    assert all(groups[i] == category for category, ids in CATEGORIES.items() for i in ids)
    assert [i for i, g in groups.items() if g == "void"] == list(range(7))


def test_the_19_classes_are_the_same_in_every_form() -> None:
    label_ids, train_ids, kitti = (load_label_space(n) for n in ("cityscapes19", "cityscapes19_trainids", "kitti19"))
    assert label_ids.class_names == train_ids.class_names == kitti.class_names == drawn.NAMES
    assert [c.color for c in label_ids.classes] == [c.color for c in train_ids.classes]
    assert kitti.classes == label_ids.classes
    raw = np.arange(34, dtype=np.uint8)[None]
    as_train_ids = drawn.TRAIN_ID[raw]
    assert (label_ids.encode(raw, source="x") == train_ids.encode(as_train_ids, source="x")).all()


def test_the_seven_categories_read_label_ids_and_ignore_what_scoring_ignores() -> None:
    space = load_label_space("cityscapes7")
    ids = space.encode(np.arange(34, dtype=np.uint8)[None], source="x")[0]
    assert {name: np.flatnonzero(ids == k).tolist() for k, name in enumerate(space.class_names)} == CATEGORIES
    assert np.flatnonzero(ids == IGNORE).tolist() == VOID_IDS


def test_ten_street_classes() -> None:
    space, whole = load_label_space("streets10"), load_label_space("cityscapes34")
    members = [[whole.class_names[v] for v in c.values] for c in space.classes]
    assert members == [
        *(["road"], ["sidewalk"], ["building", "wall", "fence"], ["pole", "traffic light", "traffic sign"]),
        *(["vegetation", "terrain"], ["sky"], ["person", "rider"], ["car"], ["truck", "bus", "train"]),
        ["motorcycle", "bicycle"],
    ]
    assert [v for c in space.ignored for v in c.values] == VOID_IDS


def test_camvid32_holds_the_colours_that_segnet_kept() -> None:
    space = load_label_space("camvid32")
    colors = {c.name: c.color for c in (*space.classes, *space.ignored)}
    assert len(set(colors.values())) == 32
    assert {v for color in colors.values() for v in color} == {0, 64, 128, 192}
    segnet = {c.name: c.color for c in load_label_space("camvid11").classes}
    same = {"pole": "column pole", "sign": "sign symbol", "pavement": "sidewalk"}
    for name, color in segnet.items():
        if name != "pavement":  # SegNet painted it anew
            assert colors[same.get(name, name)] == color
    raw = np.array([[colors["traffic light"], colors["void"]]], np.uint8)
    assert space.encode(raw, source="x").tolist() == [[space.class_names.index("traffic light"), IGNORE]]


def test_suim_ids_are_the_three_bits() -> None:
    space, five = load_label_space("suim8"), load_label_space("suim5")
    bits = np.array(list(product((0, 255), repeat=3)), np.uint8)[None]
    assert space.encode(bits, source="x").tolist() == [list(range(8))]
    planes = five.encode(bits, source="x")[:, 0]
    assert planes.dtype == bool
    codes = {"RO": 0b100, "FV": 0b110, "HD": 0b001, "RI": 0b101, "WR": 0b011}  # the order of the paper's channels
    assert [np.flatnonzero(p).tolist() for p in planes] == [[code] for code in codes.values()]
    assert [c.aliases[-1] for c in five.classes] == list(codes)


def test_suims_masks_are_read(shared_data: Path) -> None:
    masks = sorted((shared_data / "suim").rglob("*.bmp"))
    if not masks:
        pytest.skip("SUIM's sample masks are not in the shared data")
    for file in masks:
        raw = np.asarray(Image.open(file).convert("RGB"))
        expected = (raw > 127) @ np.array([4, 2, 1])
        assert (load_label_space("suim8").encode(raw, source=file) == expected).all()


def test_voc_is_the_devkits_palette_and_names() -> None:
    space = load_label_space("voc21")
    assert [c.color for c in space.classes] == VOC_PALETTE
    named = [n.strip("_") for n in _VOC_CATEGORIES]
    assert [spelled(n) for n in space.class_names] == named
    assert space.encode(np.array([[0, 20, 255]], np.uint8), source="x").tolist() == [[0, 20, IGNORE]]


def test_ade_ids_are_one_less_than_the_mask_once() -> None:
    space = load_label_space("ade150")
    raw = np.arange(151, dtype=np.uint8)[None]
    assert space.encode(raw, source="x").tolist() == [[IGNORE, *range(150)]]
    assert space.decode(np.arange(150, dtype=np.uint8)).tolist() == list(range(1, 151))
    # positions that everybody knows: the first five, and the last
    assert space.class_names[:5] == ("wall", "building", "sky", "floor", "tree")
    assert (space.class_names[12], space.class_names[149]) == ("person", "flag")


def test_the_three_forms_of_cocostuff_have_the_same_classes() -> None:
    png, ten, mat = (load_label_space(n) for n in ("cocostuff171", "cocostuff10k", "cocostuff10k_mat"))
    assert png.class_names == ten.class_names == mat.class_names
    values = [c.values[0] for c in png.classes]
    assert values == [v for v in range(182) if v not in COCO_ABSENT]
    assert [c.values[0] for c in mat.classes] == [v + 1 for v in values]
    assert [c.values[0] for c in ten.classes] == list(range(1, 172))
    things = [n for n in _COCO_CATEGORIES[1:] if n != "N/A"]
    assert list(png.class_names[:80]) == things
    assert [_COCO_CATEGORIES[c.values[0]] for c in mat.classes[:80]] == things
    assert list(png.class_names[80:]) == sorted(png.class_names[80:])  # stuff is in alphabetical order
    assert len(png.groups) == 27
    with pytest.raises(DataError, match="does not list: 11 "):
        png.encode(np.array([[0, 11]], np.uint8), source="x")


def test_kitti11_is_camvids_palette_in_another_order() -> None:
    kitti, camvid = load_label_space("kitti11"), load_label_space("camvid32")
    assert {c.color for c in kitti.classes} < {c.color for c in camvid.classes}
    assert kitti.encode(np.array([[0, 10, 11]], np.uint8), source="x").tolist() == [[0, 10, IGNORE]]


@pytest.mark.parametrize("name", catalogue())
def test_a_space_survives_its_plain_form_to_the_pixel(name: str) -> None:
    space = load_label_space(name)
    again = LabelSpace.from_dict(space.to_dict())
    if space.encoding == "index":
        raw = np.array([[v for c in (*space.classes, *space.ignored) for v in c.values]], np.uint8)
        assert (again.encode(raw, source="x") == space.encode(raw, source="x")).all()
    assert (again.palette == space.palette).all()
