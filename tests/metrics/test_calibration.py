"""Calibration against torchmetrics and against the full sort; each number of a hand-made case."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from segwright.contracts import IGNORE, DataError
from segwright.metrics import calibration
from segwright.metrics.abstaining import RANKS, RiskCoverage, confidence_at, rank_of
from segwright.metrics.calibration import BINS, Calibration, confidence_map, near_border
from segwright.metrics.measure import Scored
from tests.inference.fakes import space_of


def scored(logits_KHW: Tensor, labels: NDArray[np.uint8], index: int = 0) -> Scored:
    height, width = labels.shape
    ids = logits_KHW.max(0).indices.to(torch.uint8).numpy()
    rgb = np.zeros((height, width, 3), np.uint8)
    return Scored(index=index, name=f"picture {index}", rgb=rgb, labels=labels, ids=ids, logits=logits_KHW)


def noisy(classes: int, height: int, width: int, seed: int, *, scale: float = 2.0) -> Scored:
    """Blocks of classes, scores that mostly agree with them, some void."""
    rng = np.random.default_rng([seed, classes])
    truth = rng.integers(0, classes, (-(-height // 6), -(-width // 6))).repeat(6, 0).repeat(6, 1)[:height, :width]
    logits = rng.normal(size=(classes, height, width)) + 1.5 * (np.arange(classes)[:, None, None] == truth)
    labels = np.where(rng.random(truth.shape) < 0.1, IGNORE, truth).astype(np.uint8)
    return scored(torch.from_numpy((scale * logits).astype(np.float32)), labels, seed)


def measured(*pictures: Scored) -> tuple[dict[str, NDArray[np.float64]], dict[str, object]]:
    classes = len(pictures[0].logits)  # type: ignore[arg-type]
    measure = Calibration(space_of([f"class {k}" for k in range(classes)]))
    arrays = measure.begin(len(pictures))
    for one in pictures:
        measure.see(one, arrays)
    return arrays, measure.result(arrays, ["a"] * len(pictures))


def pooled(*pictures: Scored) -> tuple[Tensor, Tensor]:
    """Probabilities [P, K] and truth [P] of all labelled pixels."""
    parts = [
        (p.logits[:, torch.from_numpy(p.labels != IGNORE)].T.softmax(1), p.labels[p.labels != IGNORE])  # type: ignore[index]
        for p in pictures
    ]
    return torch.cat([a for a, _ in parts]), torch.from_numpy(np.concatenate([b for _, b in parts]).astype(np.int64))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(1, 30), st.integers(1, 30), st.floats(0.2, 3), st.integers(0, 99))
def test_ece_and_mce_are_those_of_torchmetrics(classes: int, height: int, width: int, scale: float, seed: int) -> None:
    picture = noisy(classes, height, width, seed, scale=scale)
    picture = scored(picture.logits, picture.labels)  # type: ignore[arg-type]
    _, result = measured(picture)
    probabilities, truth = pooled(picture)
    if not len(truth):
        assert (result["ece"], result["mce"], result["nll"], result["aurc"]) == (None,) * 4
        return
    for key, norm in (("ece", "l1"), ("mce", "max")):
        theirs = multiclass_calibration_error(probabilities, truth, classes, n_bins=BINS, norm=norm)  # type: ignore[arg-type]
        assert result[key] == pytest.approx(float(theirs), abs=2e-6)
    nll = torch.nn.functional.nll_loss(probabilities.double().log(), truth)
    brier = (probabilities - torch.nn.functional.one_hot(truth, classes)).square().sum(1).mean()
    assert result["nll"] == pytest.approx(float(nll), rel=1e-5)
    assert result["brier"] == pytest.approx(float(brier), rel=1e-5, abs=1e-7)


def test_classes_and_zones_are_those_of_torchmetrics_on_their_pixels() -> None:
    pictures = [noisy(4, 40, 50, seed) for seed in range(3)]
    _, result = measured(*pictures)
    probabilities, truth = pooled(*pictures)
    border = np.concatenate([near_border(p.labels)[p.labels != IGNORE] for p in pictures]).astype(bool)
    called = probabilities.argmax(1).numpy()
    parts = {("zones", "border"): border, ("zones", "interior"): ~border}
    parts |= {("classes", f"class {k}"): called == k for k in range(4)}
    for (kind, name), mask in parts.items():
        theirs = multiclass_calibration_error(probabilities[mask], truth[mask], 4, n_bins=BINS, norm="l1")
        found = result[kind][name]  # type: ignore[index]
        assert found["pixels"] == mask.sum()
        assert found["ece"] == pytest.approx(float(theirs), abs=2e-6)
        assert found["accuracy"] == pytest.approx((called == truth.numpy())[mask].mean())
    json.dumps(result, allow_nan=False)


def exact_area(confidence: NDArray[np.float32], wrong: NDArray[np.bool_]) -> float:
    """AURC by sorting every pixel."""
    order = np.argsort(-confidence, kind="stable")
    return float((np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)).mean())


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.floats(0.3, 12), st.integers(0, 99))
def test_the_curve_is_that_of_the_full_sort(classes: int, scale: float, seed: int) -> None:
    picture = noisy(classes, 40, 40, seed, scale=scale)
    _, result = measured(scored(picture.logits, picture.labels))  # type: ignore[arg-type]
    probabilities, truth = pooled(picture)
    confidence, called = probabilities.double().max(1)
    wrong = (called != truth).numpy()
    low, high = result["aurc_bounds"]  # type: ignore[misc]
    exact = exact_area(confidence.numpy(), wrong)
    assert low - 1e-6 <= exact <= high + 1e-6
    assert low <= result["aurc"] <= high
    assert scale > 3 or high - low < 0.02  # above, many confidences are exactly 1 in single precision
    assert result["aurc_best"] == pytest.approx(exact_area(1.0 - wrong.astype(np.float32), wrong))
    for point in result["risk_coverage"]:  # type: ignore[attr-defined]
        # Single precision may put a pixel at the very edge on its other side.
        given = confidence.numpy() >= point["threshold"]
        assert point["coverage"] == pytest.approx(given.mean(), abs=3 / len(given))
        assert point["risk"] == pytest.approx(wrong[given].mean(), abs=3 / given.sum())
    assert result["risk_coverage"][-1]["coverage"] == 1  # type: ignore[index]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=12))
def test_areas_are_sums_over_pixels(bins: list[tuple[int, int]]) -> None:
    pixels = np.array([a + b for a, b in bins])
    wrong = np.array([b for _, b in bins])
    ranked = RiskCoverage(pixels, wrong)
    if not pixels.any():
        assert np.isnan(ranked.area)
        assert ranked.points == ()
        assert ranked.at_risk(1) is None
        return

    def by_hand(order: str) -> float:
        flags = []
        for n, w in zip(pixels[::-1], wrong[::-1], strict=True):
            inside = [0.0] * (n - w) + [1.0] * w
            flags += {"right": inside, "wrong": inside[::-1], "even": [w / n] * n if n else []}[order]
        return float((np.cumsum(flags) / np.arange(1, len(flags) + 1)).mean())

    assert ranked.area == pytest.approx(by_hand("even"))
    assert ranked.bounds == pytest.approx((by_hand("right"), by_hand("wrong")))


def test_the_threshold_for_a_risk_gives_the_most_answers() -> None:
    pixels, wrong = np.zeros(RANKS, np.int64), np.zeros(RANKS, np.int64)
    pixels[[500, 700, 900]], wrong[[500, 700, 900]] = 10, [5, 0, 1]
    ranked = RiskCoverage(pixels, wrong)
    found = ranked.at_risk(0.05)
    assert found is not None
    assert (found.threshold, found.coverage, found.risk) == (confidence_at(700), pytest.approx(2 / 3), 0.05)
    assert ranked.at_risk(0.01) is None
    assert ranked.at_risk(0.5).coverage == 1  # type: ignore[union-attr]
    for rank in (1, 400, 700, 1000):
        edge = confidence_at(rank)
        beside = np.array([(1 - edge) / edge]) * np.array([1.001, 0.999])
        assert rank_of(beside.astype(np.float32)).tolist() == [rank - 1, rank]
    assert rank_of(np.array([0, 1e9], np.float32)).tolist() == [RANKS - 1, 0]


def test_a_case_by_hand() -> None:
    """Two pixels of confidence 0.9, one right: 90 % said, 50 % true."""
    logits = torch.zeros(2, 1, 3)
    logits[0, 0, :2] = float(np.log(9))
    _, result = measured(scored(logits, np.array([[0, 1, IGNORE]], np.uint8)))
    assert result["pixels"] == 2
    assert result["confidence"] == pytest.approx(0.9)
    assert (result["accuracy"], result["ece"], result["mce"]) == (0.5, pytest.approx(0.4), pytest.approx(0.4))
    assert result["nll"] == pytest.approx(-(np.log(0.9) + np.log(0.1)) / 2)
    assert result["brier"] == pytest.approx((2 * 0.1**2 + 2 * 0.9**2) / 2)


def test_a_border_is_three_pixels_on_each_side() -> None:
    labels = np.zeros((9, 20), np.uint8)
    labels[:, 10:] = 4
    assert np.flatnonzero(near_border(labels)[5]).tolist() == [7, 8, 9, 10, 11, 12]
    assert not near_border(np.full((3, 3), 7, np.uint8)).any()  # the picture's edge is no border


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = noisy(3, 33, 47, 0)
    whole, _ = measured(picture)
    monkeypatch.setattr(calibration, "BLOCK", 500)
    parts, _ = measured(picture)
    for name, values in whole.items():
        assert np.allclose(values, parts[name], rtol=1e-6), name
    expected = picture.logits.softmax(0).amax(0)  # type: ignore[union-attr]
    assert torch.allclose(confidence_map(picture.logits), expected)  # type: ignore[arg-type]


def test_each_picture_fills_its_own_row() -> None:
    pictures = [noisy(3, 20, 20, seed) for seed in range(3)]
    together, _ = measured(*pictures)
    alone, _ = measured(scored(pictures[1].logits, pictures[1].labels))  # type: ignore[arg-type]
    assert all(np.array_equal(together[name][1], alone[name][0]) for name in alone)


def test_scores_that_are_no_numbers_are_refused_by_name() -> None:
    logits = torch.zeros(3, 2, 2)
    logits[1, 0, 0] = torch.nan
    with pytest.raises(DataError, match="picture 0: the model's scores are not all numbers"):
        measured(scored(logits, np.zeros((2, 2), np.uint8)))
