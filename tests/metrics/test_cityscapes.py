"""Cityscapes' scores: the official script, run on files, is the second opinion, equal to the last bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling as official  # noqa: N813
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from segwright.contracts import IGNORE, DataError, UserError
from segwright.labels import load_label_space
from segwright.metrics.cityscapes import AVERAGE_SIZE, Cityscapes, ids_of_space, instance_rows, label_ids
from segwright.metrics.measure import Scored

Picture = tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.uint8]]
"""Truth and instances as the files hold them, and the prediction, all as label ids."""
AVERAGES = {
    "iou": "averageScoreClasses",
    "iiou": "averageScoreInstClasses",
    "category_iou": "averageScoreCategories",
    "category_iiou": "averageScoreInstCategories",
}


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Picture]], dict[str, Any]]:
    """The official script on pictures that are written as files first."""
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # its name before NumPy 2.4
    options = copy.copy(official.args)
    options.quiet, options.JSONOutput = True, False

    def run(pictures: list[Picture]) -> dict[str, Any]:
        truths, predictions = [], []
        for number, (truth, instances, predicted) in enumerate(pictures):
            truths.append(tmp_path / f"a_{number:06d}_000019_gtFine_labelIds.png")
            predictions.append(tmp_path / f"a_{number:06d}_000019.png")
            Image.fromarray(truth).save(truths[-1])
            Image.fromarray(instances.astype(np.uint16)).save(str(truths[-1]).replace("labelIds", "instanceIds"))
            Image.fromarray(predicted).save(predictions[-1])
        return official.evaluateImgLists([str(p) for p in predictions], [str(p) for p in truths], options)

    return run


def random_picture(
    seed: int, *, size: tuple[int, int] = (24, 40), labels: tuple[int, ...] = tuple(range(34))
) -> Picture:
    """Blocks of labels; instances are blocks too, and the truth follows them in most places only."""
    rng = np.random.default_rng(seed)
    cells = rng.choice(labels, (size[0] // 4, size[1] // 4)).astype(np.uint8)
    truth = cells.repeat(4, 0).repeat(4, 1)
    numbers = rng.integers(0, 5, cells.shape).repeat(4, 0).repeat(4, 1)
    single = np.isin(truth, range(24, 34)) & (rng.random(cells.shape) < 0.7).repeat(4, 0).repeat(4, 1)
    instances = np.where(single, truth.astype(np.int32) * 1000 + numbers, truth)
    truth = np.where(rng.random(size) < 0.05, rng.choice(labels, size), truth).astype(np.uint8)
    predicted = np.where(rng.random(size) < 0.3, rng.integers(0, 34, size), truth).astype(np.uint8)
    return truth, instances.astype(np.int32), predicted


def ours(pictures: list[Picture], space_name: str = "cityscapes19") -> tuple[dict[str, Any], NDArray[np.int64]]:
    """The measure as prediction files reach it: labels and ids of the space, raw label ids beside them."""
    space = load_label_space(space_name)
    measure = Cityscapes(space)
    arrays = measure.begin(len(pictures))
    for index, (truth, instances, predicted) in enumerate(pictures):
        measure.see(
            Scored(
                index=index,
                name=f"picture {index}",
                rgb=np.zeros((0, 0, 3), np.uint8),
                labels=space.encode(truth, source="truth"),
                ids=space.encode(predicted, source="prediction"),
                instances=instances,
                raw=predicted,
            ),
            arrays,
        )
    return measure.result(arrays, ["a"] * len(pictures)), arrays["counts"].sum(0)


def check_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    def value(number: float) -> float | None:
        return None if np.isnan(number) else number

    for ours_key, iou_key, iiou_key in (
        ("classes", "classScores", "classInstScores"),
        ("categories", "categoryScores", "categoryInstScores"),
    ):
        for name, scores in found[ours_key].items():
            assert scores["iou"] == value(expected[iou_key][name]), name
            assert scores["iiou"] == value(expected[iiou_key][name]), name
        left_out = set(expected[iou_key]) - set(found[ours_key])
        assert all(np.isnan(expected[iou_key][name]) for name in left_out)
    for name, key in AVERAGES.items():
        assert found["averages"][name] == value(expected[key]), name


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=3), st.sets(st.integers(0, 33), min_size=1, max_size=34))
def test_random_files_score_as_the_official_script_says(
    script: Callable[[list[Picture]], dict[str, Any]], seeds: list[int], labels: set[int]
) -> None:
    pictures = [random_picture(seed, labels=tuple(sorted(labels))) for seed in seeds]
    expected = script(pictures)
    for space in ("cityscapes19", "cityscapes34"):
        found, counts = ours(pictures, space)
        check_equal(found, expected)
        rows = list(label_ids().evaluated)
        assert np.array_equal(counts[rows], np.array(expected["confMatrix"])[rows])


def test_the_sums_of_many_instances_keep_their_last_bits(script: Callable[[list[Picture]], dict[str, Any]]) -> None:
    pictures = [random_picture(seed, size=(96, 160), labels=(7, 24, 25, 26, 29, 33)) for seed in range(8)]
    found, _ = ours(pictures)
    check_equal(found, script(pictures))
    assert found["instances"] > 100


def test_the_official_table_is_ours() -> None:
    table = label_ids()
    known = [label for label in official.labels if label.id >= 0]
    assert table.names == tuple(label.name for label in known)
    assert table.evaluated == tuple(label.id for label in known if not label.ignoreInEval)
    categories: dict[str, tuple[int, ...]] = {}
    for label in known:
        categories[label.category] = (*categories.get(label.category, ()), label.id)
    assert table.categories == categories
    assert set(table.scored_categories) == set(categories) - {"void"}
    assert set(table.instance_categories) == {"human", "vehicle"}
    assert dict(AVERAGE_SIZE) == official.args.avgClassSize
    assert {label.name for label in known if label.hasInstances} == set(AVERAGE_SIZE)


def test_a_model_of_train_ids_is_scored_on_label_ids(script: Callable[[list[Picture]], dict[str, Any]]) -> None:
    """What predicts 19 classes never predicts void; the numbers are those of its ids written as label ids."""
    evaluated = np.array(label_ids().evaluated, np.uint8)
    for name in ("cityscapes19", "cityscapes19_trainids", "kitti19"):
        assert np.array_equal(ids_of_space(load_label_space(name)), evaluated)
    truth, instances, predicted = random_picture(3)
    ids = (predicted % 19).astype(np.uint8)
    expected = script([(truth, instances, evaluated[ids])])
    space = load_label_space("cityscapes19")
    for name in ("cityscapes19", "cityscapes19_trainids"):
        measure = Cityscapes(load_label_space(name))
        arrays = measure.begin(1)
        labels = space.encode(truth, source="truth")
        measure.see(
            Scored(index=0, name="x", rgb=np.zeros((0, 0, 3), np.uint8), labels=labels, ids=ids, instances=instances),
            arrays,
        )
        check_equal(measure.result(arrays, ["a"]), expected)


def test_a_model_of_categories_has_the_category_scores_alone(script: Callable[[list[Picture]], dict[str, Any]]) -> None:
    space = load_label_space("cityscapes7")
    truth, instances, predicted = random_picture(5)
    ids = (predicted % 7).astype(np.uint8)
    expected = script([(truth, instances, space.decode(ids))])
    measure = Cityscapes(space)
    arrays = measure.begin(1)
    labels = space.encode(truth, source="truth")
    measure.see(
        Scored(index=0, name="x", rgb=np.zeros((0, 0, 3), np.uint8), labels=labels, ids=ids, instances=instances),
        arrays,
    )
    found = measure.result(arrays, ["a"])
    assert found["classes"] == {}
    assert found["averages"]["iou"] is None
    assert found["averages"]["category_iou"] == expected["averageScoreCategories"]
    assert found["averages"]["category_iiou"] == expected["averageScoreInstCategories"]


def test_predicting_an_ignored_id_is_a_miss_and_counts_for_the_category() -> None:
    """Half a car called caravan (29, ignored): a miss of the class, right for the category in iIoU only."""
    truth = np.full((2, 4), 26, np.uint8)
    predicted = truth.copy()
    predicted[0] = 29
    found, _ = ours([(truth, truth.astype(np.int32) * 1000 + 1, predicted)])
    assert found["classes"]["car"] == {"iou": 0.5, "iiou": 0.5}
    assert found["categories"]["vehicle"] == {"iou": 0.5, "iiou": 1.0}
    assert found["classes"]["truck"] == {"iou": None, "iiou": None}


def test_groups_are_no_instances_and_a_class_with_false_pixels_alone_scores_0() -> None:
    truth = np.full((2, 4), 7, np.uint8)
    predicted = np.full((2, 4), 26, np.uint8)
    found, _ = ours([(truth, np.full((2, 4), 26, np.int32), predicted)])
    assert found["instances"] == 0
    assert found["classes"]["car"] == {"iou": 0.0, "iiou": 0.0}


def test_without_instance_maps_there_is_no_iiou() -> None:
    measure = Cityscapes(load_label_space("cityscapes19"))
    arrays = measure.begin(1)
    ids = np.zeros((2, 2), np.uint8)
    measure.see(Scored(index=0, name="x", rgb=np.zeros((0, 0, 3), np.uint8), labels=ids, ids=ids), arrays)
    found = measure.result(arrays, ["a"])
    assert found["instances"] is None
    assert found["averages"] == {"iou": 1.0, "iiou": None, "category_iou": 1.0, "category_iiou": None}


def test_wrong_instance_maps_are_refused() -> None:
    ids = np.zeros((2, 2), np.uint8)
    with pytest.raises(DataError, match="x: the instance map holds 7001, an instance of road"):
        instance_rows(np.full((2, 2), 7001, np.int32), ids, source="x")
    with pytest.raises(DataError, match="x: the instance map holds 70000; allowed is label id × 1000"):
        instance_rows(np.full((2, 2), 70000, np.int32), ids, source="x")
    measure = Cityscapes(load_label_space("cityscapes19"))
    arrays = measure.begin(1)
    many = np.arange(24001, 24601, dtype=np.int32).reshape(20, 30)
    zeros = np.zeros(many.shape, np.uint8)
    with pytest.raises(DataError, match="x: the instance map holds 600 instances; allowed are 512"):
        measure.see(
            Scored(index=0, name="x", rgb=np.zeros((0, 0, 3), np.uint8), labels=zeros, ids=zeros, instances=many),
            arrays,
        )


def test_other_label_spaces_do_not_fit() -> None:
    for name in ("camvid11", "streets10", "voc21"):
        assert not Cityscapes.fits(load_label_space(name))
        with pytest.raises(UserError, match=f"label space '{name}' does not have the classes of Cityscapes"):
            ids_of_space(load_label_space(name))
    for name in ("cityscapes19", "cityscapes34", "cityscapes7", "kitti19"):
        assert Cityscapes.fits(load_label_space(name))


def test_no_class_for_a_pixel_is_unlabeled() -> None:
    measure = Cityscapes(load_label_space("cityscapes19"))
    arrays = measure.begin(1)
    labels = np.zeros((1, 4), np.uint8)
    ids = np.array([[0, 0, 0, IGNORE]], np.uint8)
    measure.see(Scored(index=0, name="x", rgb=np.zeros((0, 0, 3), np.uint8), labels=labels, ids=ids), arrays)
    assert measure.result(arrays, ["a"])["classes"]["road"]["iou"] == 0.75
