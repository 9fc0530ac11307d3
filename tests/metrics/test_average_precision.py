"""Average precision of objects: worked by hand, and against a plain retelling of COCO's loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segwright.contracts import IGNORE, Queries
from segwright.metrics.average_precision import THRESHOLDS, Objects, average_precision, query_objects
from segwright.metrics.regions import regions
from tests.metrics.maps import Ids


def strip(*spans: tuple[int, int], width: int = 100) -> Ids:
    """Masks [M, 1, width], each true in one span."""
    masks = np.zeros((len(spans), 1, width), bool)
    for mask, (start, end) in zip(masks, spans, strict=True):
        mask[:, start:end] = True
    return masks


def truth_of(*spans: tuple[int, int], group: tuple[int, int] = (0, 0), width: int = 100) -> tuple[Ids, Ids]:
    """Labels and instances of one class 0 on class 1."""
    labels, instances = np.ones((1, width), np.uint8), np.ones((1, width), np.int32)
    for number, (start, end) in enumerate(spans, 1):
        labels[:, start:end], instances[:, start:end] = 0, 26000 + number
    labels[:, slice(*group)], instances[:, slice(*group)] = 0, 26
    return labels, instances


def objects(masks: Ids, scores: list[float], k: int = 0) -> Objects:
    return Objects(masks_MHW=masks, class_M=np.full(len(masks), k), score_M=np.array(scores))


def test_worked_by_hand() -> None:
    # Two objects of ten pixels. Best first: IoU 8/10 with the first, nothing, IoU 6/10 with the second.
    truth = regions(*truth_of((0, 10), (20, 30)))
    found = average_precision([objects(strip((0, 8), (50, 60), (20, 26)), [0.9, 0.8, 0.7])], [truth], 3)
    # up to 0.6 both are found: precision 1 for recalls up to 0.5 (51 of 101), 2/3 beyond (50 of 101)
    assert found.at(0.5) == pytest.approx((51 + 50 * 2 / 3) / 101)
    # up to 0.8 only the first: precision 1 for 51 recalls, then nothing
    assert found.at(0.75) == pytest.approx(51 / 101)
    assert found.at(0.85) == 0.0
    by_hand = (3 * (51 + 50 * 2 / 3) / 101 + 4 * 51 / 101) / 10  # 0.5 0.55 0.6 | 0.65 0.7 0.75 0.8 | the rest
    assert found.of_class[0] == pytest.approx(by_hand)
    assert found.mean == pytest.approx(by_hand)
    assert np.isnan(found.of_class[1:]).all()
    assert found.objects_K.tolist() == [2, 0, 0]


def test_an_object_is_found_once_and_a_group_excuses() -> None:
    truth = regions(*truth_of((0, 10), group=(40, 80)))
    twice = average_precision([objects(strip((0, 10), (0, 10)), [0.9, 0.8])], [truth], 1)
    assert twice.mean == 1.0  # the second one is wrong, but comes after everything was found
    first_wrong = average_precision([objects(strip((85, 95), (0, 10)), [0.9, 0.8])], [truth], 1)
    assert first_wrong.mean == pytest.approx(0.5)
    in_group = average_precision([objects(strip((45, 55), (0, 10)), [0.9, 0.8])], [truth], 1)
    assert in_group.mean == 1.0


def test_void_counts_nowhere_and_nothing_found_is_zero() -> None:
    labels, instances = truth_of((0, 10))
    labels[:, 10:20] = IGNORE
    truth = regions(labels, instances)
    assert average_precision([objects(strip((0, 20)), [0.5])], [truth], 1).mean == 1.0
    assert average_precision([objects(strip(), [])], [truth], 1).mean == 0.0
    none = regions(np.ones((1, 100), np.uint8), np.ones((1, 100), np.int32))
    assert np.isnan(average_precision([objects(strip((0, 9)), [0.5])], [none], 1).mean)
    with pytest.raises(ValueError, match="2 with truths"):
        average_precision([objects(strip(), [])], [truth, truth], 1)


def cocos_loops(pictures: list[tuple[Ids, list[float], list[tuple[int, int]]]], threshold: float) -> float:
    """One class without groups, as cocoeval.py matches and accumulates."""
    rows, total = [], 0
    for masks, scores, spans in pictures:
        taken = [False] * len(spans)
        total += len(spans)
        truths = strip(*spans)
        for m in sorted(range(len(scores)), key=lambda i: -scores[i]):
            best, at = threshold, -1
            for g, truth in enumerate(truths):
                iou = (masks[m] & truth).sum() / (masks[m] | truth).sum()
                if not taken[g] and iou >= best and (at < 0 or iou > best):
                    best, at = iou, g
            if at >= 0:
                taken[at] = True
            rows.append((scores[m], at >= 0))
    rows.sort(key=lambda row: -row[0])
    right = np.cumsum([hit for _, hit in rows])
    precision = [float(r / (i + 1)) for i, r in enumerate(right)]
    for i in range(len(precision) - 1, 0, -1):
        precision[i - 1] = max(precision[i - 1], precision[i])
    at_recall = []
    for recall in np.linspace(0, 1, 101):
        reached = [p for p, r in zip(precision, right / total, strict=True) if r >= recall]
        at_recall.append(reached[0] if reached else 0.0)
    return float(np.mean(at_recall))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_agrees_with_cocos_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(3):
        starts = np.arange(0, 100, 20)[: rng.integers(1, 6)]
        spans = [(int(s), int(s + rng.integers(4, 18))) for s in starts]
        moved = [(max(0, a + int(rng.integers(-3, 4))), b + int(rng.integers(-2, 3))) for a, b in spans for _ in "ab"]
        pictures.append((strip(*moved), rng.permutation(1000)[: len(moved)].tolist(), spans))
    found = average_precision(
        [objects(masks, scores) for masks, scores, _ in pictures],
        [regions(*truth_of(*spans)) for _, _, spans in pictures],
        1,
    )
    expected = [cocos_loops(pictures, t) for t in THRESHOLDS]
    assert found.ap_KT[0].tolist() == pytest.approx(expected)


def test_queries_become_objects() -> None:
    classes = torch.full((1, 2, 3), -20.0)  # two classes and "no object"
    classes[0, 0, 1] = classes[0, 1, 2] = 20.0
    masks = torch.full((1, 2, 4, 4), -10.0)
    masks[0, 0, :2] = 10.0
    best = query_objects(Queries(classes, masks), (8, 8), most=1)[0]
    assert best.class_M.tolist() == [1]
    assert best.score_M[0] == pytest.approx(1.0, abs=0.03)
    assert best.masks_MHW.shape == (1, 8, 8)
    assert best.masks_MHW[0, :4].all()
    assert not best.masks_MHW[0, 4:].any()
