"""Maps between label spaces: each shipped one says what it should, and the algebra holds for any."""

from __future__ import annotations

import json
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import confusion_matrix

from segwright.contracts import IGNORE, UserError
from segwright.labels import LabelMap, LabelSpace, catalogue, load_label_space, map_labels
from segwright.labels.matching import shipped_tables, spelled

# MATLAB's example for SegNet, by colour in label_colors.txt
SEGNET_MERGE = {
    "sky": [(128, 128, 128)],
    "building": [(0, 128, 64), (128, 0, 0), (64, 192, 0), (64, 0, 64), (192, 0, 128)],
    "pole": [(192, 192, 128), (0, 0, 64)],
    "road": [(128, 64, 128), (128, 0, 192), (192, 0, 64)],
    "pavement": [(0, 0, 192), (64, 192, 128), (128, 128, 192)],
    "tree": [(128, 128, 0), (192, 192, 0)],
    "sign": [(192, 128, 128), (128, 128, 64), (0, 64, 64)],
    "fence": [(64, 64, 128)],
    "car": [(64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)],
    "pedestrian": [(64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)],
    "bicyclist": [(0, 128, 192), (192, 0, 192)],
}


@cache
def load(name: str) -> LabelSpace:
    return load_label_space(name)


def between(source: str, target: str) -> LabelMap:
    return map_labels(load(source), load(target))


def small(name: str, classes: int) -> LabelSpace:
    content = [{"name": f"{name}{i}", "values": [i]} for i in range(classes)]
    return LabelSpace.from_dict({"name": name, "classes": content})


def by_hand(source: LabelSpace, target: LabelSpace, matrix_LK: Any) -> LabelMap:
    return LabelMap(
        source=source,
        target=target,
        matrix_LK=np.asarray(matrix_LK, bool),
        how=dict.fromkeys(source.class_names, "given"),
    )


@pytest.mark.parametrize("target", ["cityscapes19", "kitti19", "cityscapes7", "streets10"])
def test_a_map_of_label_ids_is_what_the_target_space_reads_itself(target: str) -> None:
    label_ids = np.arange(34, dtype=np.uint8)[None]
    whole = load("cityscapes34").encode(label_ids, source="x")
    mapped = between("cityscapes34", target)
    assert mapped.ids(whole).tolist() == load(target).encode(label_ids, source="x").tolist()
    assert mapped.exact
    assert not mapped.unreached
    assert all(mapped.how[name] == "ignored" for name in mapped.lost)


@pytest.mark.parametrize("route", list(product(["cityscapes19", "kitti19"], ["cityscapes7", "streets10"])), ids=str)
def test_routes_through_other_spaces_end_at_the_same_map(route: tuple[str, str]) -> None:
    middle, end = route
    direct = between("cityscapes34", end)
    assert (between("cityscapes34", middle).then(between(middle, end)).matrix_LK == direct.matrix_LK).all()


def test_nineteen_to_seven_to_nineteen() -> None:
    down, up = between("cityscapes19", "cityscapes7"), between("cityscapes7", "cityscapes19")
    assert down.exact
    assert down.total
    assert down.merged["vehicle"] == ("car", "truck", "bus", "train", "motorcycle", "bicycle")
    assert up.coarse["human"] == ("person", "rider")
    assert up.rows["sky"] == ("sky",)
    assert (up.matrix_LK == down.matrix_LK.T).all()
    assert between("cityscapes7", "streets10").rows["vehicle"] == ("car", "large vehicle", "two-wheeler")
    assert between("streets10", "cityscapes7").exact


def test_camvid32_to_11_is_segnets_merge() -> None:
    found = between("camvid32", "camvid11")
    assert found.exact
    assert found.total
    names = {c.color: c.name for c in load("camvid32").classes}
    merged = {eleven: {names[color] for color in colors} for eleven, colors in SEGNET_MERGE.items()}
    assert {t: set(s) for t, s in found.merged.items()} == {t: s for t, s in merged.items() if len(s) > 1}
    assert (between("camvid11", "camvid32").matrix_LK == found.matrix_LK.T).all()


def test_cityscapes_to_camvid_and_back() -> None:
    there, back = between("cityscapes19", "camvid11"), between("camvid11", "cityscapes19")
    assert there.exact
    assert there.total
    assert not there.unreached
    assert there.rows["rider"] == there.rows["bicycle"] == ("bicyclist",)
    assert there.rows["traffic light"] == there.rows["traffic sign"] == ("sign",)
    assert back.coarse == {
        "building": ("building", "wall"),
        "tree": ("vegetation", "terrain"),
        "sign": ("traffic light", "traffic sign"),
        "car": ("car", "truck", "bus", "train"),
        "bicyclist": ("rider", "motorcycle", "bicycle"),
    }
    assert (back.matrix_LK == there.matrix_LK.T).all()
    fine = between("camvid32", "cityscapes19")
    assert fine.rows["bicyclist"] == ("rider", "bicycle")
    assert fine.rows["truck bus"] == ("truck", "bus")
    assert (fine.how["bridge"], fine.rows["bridge"]) == ("ignored", ())
    assert not fine.unreached


def test_kitti() -> None:
    assert (between("kitti19", "cityscapes19").matrix_LK == np.eye(19)).all()
    assert (between("cityscapes19_trainids", "kitti19").matrix_LK == np.eye(19)).all()
    eleven = between("kitti11", "camvid11")
    assert eleven.exact
    assert eleven.total
    assert not eleven.unreached
    assert between("kitti11", "cityscapes19").coarse == {
        "vegetation": ("vegetation", "terrain"),
        "bicyclist": ("rider", "motorcycle", "bicycle"),
    }


def test_objects_of_voc_coco_and_ade_meet_by_name() -> None:
    coco = between("voc21", "cocostuff171")
    assert coco.lost == ("background",)
    assert coco.rows["sofa"] == ("couch",)
    assert coco.rows["tv monitor"] == ("tv",)
    assert len(between("cocostuff171", "voc21").rows["airplane"]) == 1
    ade = between("voc21", "ade150")
    assert ade.rows["motorbike"] == ("minibike",)
    assert ade.rows["cow"] == ("animal",)
    down = between("cocostuff171", "ade150")
    assert down.exact
    assert down.rows["wall-brick"] == ("wall",)
    assert down.rows["fog"] == ()
    assert (between("cocostuff171", "cocostuff10k_mat").matrix_LK == np.eye(171)).all()


def test_one_class_a_pixel_to_many_and_not_back() -> None:
    found = between("suim8", "suim5")
    assert found.rows["fish"] == ("fish",)
    assert set(found.lost) == {"water", "plants", "sea floor"}
    with pytest.raises(UserError, match="'suim5' is multi-label: its labels are yes-or-no maps"):
        found.ids(np.zeros((2, 2), np.uint8))
    assert found.probabilities(np.full((8, 2, 2), 1 / 8)).shape == (5, 2, 2)
    with pytest.raises(UserError, match="'suim5' is multi-label: its pixels may have several"):
        between("suim5", "suim8")
    with pytest.raises(UserError, match="cannot be summed"):
        between("suim5", "suim5").probabilities(np.zeros(5))


@pytest.mark.parametrize("source", catalogue())
def test_every_pair_maps_or_is_refused(source: str) -> None:
    for target in catalogue():
        try:
            found = between(source, target)
        except UserError:
            continue
        for name, how in found.how.items():
            assert how in ("name", "alias", "group", "members", "table", "ignored", "lost")
            assert found.rows[name] or how in ("table", "ignored", "lost")
        if source == target:
            assert (found.matrix_LK == np.eye(len(found.matrix_LK))).all()


def test_shipped_tables_name_classes_that_exist() -> None:
    for table in shipped_tables():
        known = {n for s in table.sources for n in load(s).class_names}
        assert set(table.classes) <= known, table.sources
        for target, wanted in product(table.targets, table.classes.values()):
            # a longer list of sources or targets may know more: each name has to be in one of them
            assert {spelled(w) for w in wanted} <= {spelled(n) for t in table.targets for n in load(t).class_names}
            assert load(target).exclusive


def test_overrides_win_and_are_checked() -> None:
    found = map_labels(
        load("camvid11"), load("cityscapes19"), {"Bicyclist": "rider", "sign": None, "car": ["car", "truck"]}
    )
    assert found.rows["bicyclist"] == ("rider",)
    assert found.rows["sign"] == ()
    assert found.rows["car"] == ("car", "truck")
    assert {n for n, how in found.how.items() if how == "given"} == {"bicyclist", "sign", "car"}
    with pytest.raises(UserError, match=r"'camvid11' has no class 'biciclist'. Did you mean 'bicyclist'"):
        map_labels(load("camvid11"), load("cityscapes19"), {"biciclist": "rider"})
    with pytest.raises(UserError, match=r"'cityscapes19' has no class 'ridr'. Did you mean 'rider'"):
        map_labels(load("camvid11"), load("cityscapes19"), {"bicyclist": "ridr"})


def test_a_table_does_not_lose_classes_of_a_space_that_only_has_the_name() -> None:
    own = LabelSpace.from_dict(
        {"name": "camvid11", "classes": [{"name": n, "values": [i]} for i, n in enumerate(("wall", "house"))]}
    )
    found = map_labels(load("cityscapes19"), own)
    assert (found.rows["wall"], found.how["wall"]) == (("wall",), "name")
    assert found.how["truck"] == "lost"


def test_spaces_without_a_common_class_are_refused_unless_told() -> None:
    with pytest.raises(UserError, match=r"no class of label space 'suim8' has a counterpart in 'camvid11'.*--set"):
        between("suim8", "camvid11")
    told = map_labels(load("suim8"), load("camvid11"), {"fish": "car"})
    assert told.rows["fish"] == ("car",)


def test_coarse_maps_refuse_to_guess_and_name_the_classes() -> None:
    back = between("camvid11", "cityscapes19")
    for attempt in (
        lambda: back.ids(np.zeros((1, 1), np.uint8)),
        back.table,
        lambda: back.probabilities(np.zeros((11, 1, 1))),
    ):
        with pytest.raises(UserError, match="'tree' may be vegetation or terrain"):
            attempt()


def test_ids_and_probabilities_of_the_wrong_space_are_refused() -> None:
    found = between("cityscapes19", "cityscapes7")
    with pytest.raises(UserError, match=r"found class id 19; label space 'cityscapes19' has 0\.\.18 and 255"):
        found.ids(np.array([[0, 19]], np.uint8))
    with pytest.raises(UserError, match=r"shape \[7, 2, 2\].*needs 19 classes in axis 0"):
        found.probabilities(np.zeros((7, 2, 2)))
    with pytest.raises(UserError, match="their classes differ"):
        found.then(found)
    assert found.ids(np.zeros((0, 3), np.uint8)).shape == (0, 3)


def test_a_map_survives_json() -> None:
    found = map_labels(load("cityscapes34"), load("camvid11"), {"wall": None})
    again = LabelMap.from_dict(json.loads(json.dumps(found.to_dict())))
    assert (again.source, again.target, again.how) == (found.source, found.target, found.how)
    assert (again.matrix_LK == found.matrix_LK).all()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"extra": 1}, "keys source, target and classes"),
        ({"classes": {"sky": {"to": [], "how": "lost"}}}, "list each class of 'camvid11' once"),
        ({"one": {"to": ["skye"], "how": "name"}}, "'sky' goes to 'skye'"),
        ({"one": {"to": ["sky"], "how": "guess"}}, "needs `to` and `how`"),
    ],
)
def test_a_damaged_map_is_refused(change: dict[str, Any], part: str) -> None:
    content = between("camvid11", "kitti11").to_dict()
    if "one" in change:
        content["classes"]["sky"] = change["one"]
    else:
        content |= change
    with pytest.raises(UserError) as caught:
        LabelMap.from_dict(content, where="run.json")
    assert str(caught.value).startswith("run.json")
    assert part in str(caught.value)


A, B, C, D = small("a", 3), small("b", 4), small("c", 2), small("d", 3)


def matrices(source: LabelSpace, target: LabelSpace) -> Any:
    return hnp.arrays(bool, (source.num_classes, target.num_classes)).map(lambda m: by_hand(source, target, m))


@given(matrices(A, B), matrices(B, C), matrices(C, D))
def test_composing_is_associative_and_has_an_identity(first: LabelMap, second: LabelMap, third: LabelMap) -> None:
    left, right = first.then(second).then(third), first.then(second.then(third))
    assert (left.matrix_LK == right.matrix_LK).all()
    assert (left.source, left.target) == (A, D)
    assert (by_hand(A, A, np.eye(3)).then(first).matrix_LK == first.matrix_LK).all()
    assert (first.then(by_hand(B, B, np.eye(4))).matrix_LK == first.matrix_LK).all()


def functions(source: LabelSpace, target: LabelSpace) -> Any:
    """Maps without coarse rows: each class becomes one class or is lost."""
    size = target.num_classes
    one = st.integers(-1, size - 1)
    return st.lists(one, min_size=source.num_classes, max_size=source.num_classes).map(
        lambda to: by_hand(source, target, [[k == t for k in range(size)] for t in to])
    )


LABELS_A = hnp.arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2, IGNORE]))


@given(functions(A, B), functions(B, C), LABELS_A)
def test_ids_through_two_maps_are_ids_through_their_product(
    first: LabelMap, second: LabelMap, ids: np.ndarray[Any, Any]
) -> None:
    assert (second.ids(first.ids(ids)) == first.then(second).ids(ids)).all()
    assert (first.ids(ids)[ids == IGNORE] == IGNORE).all()


@settings(max_examples=40)
@given(functions(B, C), st.integers(0, 2**16), st.sampled_from([(4,), (4, 6), (4, 2, 3), (2, 4, 2, 3)]))
def test_probabilities_of_members_are_summed(found: LabelMap, seed: int, shape: tuple[int, ...]) -> None:
    axis = max(len(shape) - 3, 0)
    given_p = np.random.default_rng(seed).random(shape)
    expected = np.zeros(tuple(2 if i == axis else s for i, s in enumerate(shape)))
    for k, row in enumerate(found.matrix_LK):
        if row.any():
            np.moveaxis(expected, axis, 0)[row.argmax()] += np.moveaxis(given_p, axis, 0)[k]
    summed = found.probabilities(given_p)
    assert summed.dtype == np.float32
    np.testing.assert_allclose(summed, expected, rtol=1e-5)


def test_scoring_converted_ids_is_converting_the_confusion_matrix() -> None:
    found = between("cityscapes19", "camvid11")
    rng = np.random.default_rng(1)
    truth, predicted = (rng.integers(0, 19, 5000).astype(np.uint8) for _ in range(2))
    fine = confusion_matrix(truth, predicted, labels=range(19))
    matrix = found.matrix_LK.astype(int)
    assert (
        matrix.T @ fine @ matrix == confusion_matrix(found.ids(truth), found.ids(predicted), labels=range(11))
    ).all()
