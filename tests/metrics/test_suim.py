"""The SUIM paper's scores against its definition written out again, pixel by pixel where it can be."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from segwright.contracts import IGNORE
from segwright.labels import load_label_space
from segwright.metrics.measure import Scored
from segwright.metrics.suim import SuimPaper, border_map, boundary_f

ORDER = ("robot", "fish", "diver", "reef", "wreck")


def blobs(seed: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Eight classes in soft areas."""
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(rng.normal(size=(8, *size)), (0, 12, 12))
    return fields.argmax(0).astype(np.uint8)


def script_borders(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """seg2bmap, pixel by pixel: a pixel is a border where its right, lower or lower right neighbour differs."""
    height, width = mask.shape
    found = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            right, below = x + 1 < width, y + 1 < height
            own = mask[y, x]
            if right and below:
                found[y, x] = own != mask[y, x + 1] or own != mask[y + 1, x] or own != mask[y + 1, x + 1]
            elif right:
                found[y, x] = own != mask[y, x + 1]
            elif below:
                found[y, x] = own != mask[y + 1, x]
    return found


def script_f(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """A border pixel matches where the other border is at most 4 px away (0.008 of a diagonal of 400, rounded up)."""
    own, other = script_borders(truth), script_borders(predicted)
    if not own.any() or not other.any():
        return float(own.any() == other.any())
    precision = (ndimage.distance_transform_edt(~other)[own] <= 4).mean()
    recall = (ndimage.distance_transform_edt(~own)[other] <= 4).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_the_measure_is_the_papers_script() -> None:
    space = load_label_space("suim8")
    pictures = [
        (blobs(seed, size), blobs(seed // 2 + 50, size))
        for seed, size in enumerate([(200, 300), (240, 320), (97, 131)])
    ]
    pictures[1][0][pictures[1][0] == space.class_names.index("robot")] = 0  # no robot in one truth
    measure = SuimPaper(space)
    arrays = measure.begin(len(pictures))
    for index, (labels, ids) in enumerate(pictures):
        scored = Scored(index=index, name="x", rgb=np.zeros((0, 0, 3), np.uint8), labels=labels, ids=ids)
        measure.see(scored, arrays)
    found = measure.result(arrays, ["a"] * len(pictures))
    assert tuple(found["classes"]) == ORDER
    for name in ORDER:
        ious, fs = [], []
        for labels, ids in pictures:
            small = [
                np.array(
                    Image.fromarray(((m == space.class_names.index(name)) * 255).astype(np.uint8)).resize((320, 240))
                )
                / 255.0
                for m in (labels, ids)
            ]
            truth, predicted = (one >= 0.5 for one in small)
            if truth.sum() > 0:
                ious.append((truth & predicted).sum() / (truth | predicted).sum())
                fs.append(script_f(truth, predicted))
        assert found["classes"][name]["pictures"] == len(ious)
        assert found["classes"][name]["iou"] == pytest.approx(np.mean(ious), rel=1e-14)
        assert found["classes"][name]["f"] == pytest.approx(np.mean(fs), rel=1e-14)
    assert found["classes"]["robot"]["pictures"] == 2
    means = [found["classes"][name]["iou"] for name in ORDER]
    assert found["averages"]["iou"] == pytest.approx(np.mean(means), rel=1e-14)


def test_a_class_that_no_truth_holds_is_undefined_and_false_pixels_cost_nothing() -> None:
    """As in the script: a picture whose truth lacks the class is not looked at."""
    space = load_label_space("suim8")
    measure = SuimPaper(space)
    arrays = measure.begin(1)
    labels = np.full((24, 32), space.class_names.index("fish"), np.uint8)
    ids = labels.copy()
    ids[:12] = space.class_names.index("diver")
    ids[0, 0] = IGNORE
    measure.see(Scored(index=0, name="x", rgb=np.zeros((0, 0, 3), np.uint8), labels=labels, ids=ids), arrays)
    found = measure.result(arrays, ["a"])
    assert found["classes"]["diver"] == {"iou": None, "f": None, "pictures": 0}
    assert found["averages"]["iou"] == found["classes"]["fish"]["iou"] == 0.5


def test_masks_without_a_border() -> None:
    whole, none = np.ones((240, 320), bool), np.zeros((240, 320), bool)
    half = whole.copy()
    half[:, 160:] = False
    assert not border_map(whole).any()
    assert boundary_f(whole, none) == 1
    assert boundary_f(half, whole) == 0


def test_only_the_eight_classes_fit() -> None:
    assert SuimPaper.fits(load_label_space("suim8"))
    assert not SuimPaper.fits(load_label_space("suim5"))
    assert not SuimPaper.fits(load_label_space("camvid11"))
