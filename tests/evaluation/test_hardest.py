"""Hardest pictures and worst mistakes: gains equal to correcting the pixels and scoring again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segwright.evaluation.hardest import (
    Mistake,
    correction_gain,
    largest_region,
    rank_pictures,
    showcase,
    worst_mistakes,
)
from segwright.metrics.protocols import PROTOCOLS
from segwright.metrics.scores import scores
from tests.evaluation.fakes import evaluation_of, random_counts


@pytest.mark.parametrize("protocol", [name for name, rule in PROTOCOLS.items() if rule.counted])
@settings(deadline=None, max_examples=60)
@given(num_classes=st.integers(1, 6), seed=st.integers(0, 2**31), density=st.sampled_from([0.1, 0.3, 0.8]))
def test_gain_is_what_correcting_the_pixels_gives(protocol: str, num_classes: int, seed: int, density: float) -> None:
    counts = random_counts(1, num_classes, seed, density)[0]
    rule = PROTOCOLS[protocol]
    gain = correction_gain(scores(counts), protocol=protocol)
    before = rule.mean_iou(scores(counts))
    for a in range(num_classes):
        for b in range(num_classes):
            corrected = counts.copy()
            if a != b:
                corrected[a, a] += corrected[a, b]
                corrected[a, b] = 0
            after = rule.mean_iou(scores(corrected))
            expected = 0 if a == b or not counts[a, b] else after - before
            assert gain[a, b] == pytest.approx(expected, abs=1e-12)


def test_worst_mistakes_in_words() -> None:
    counts = np.zeros((3, 3, 3), np.int64)
    counts[:, 0, 0], counts[:, 1, 1], counts[:, 2, 2] = 100_000, 45_986, 9_000
    counts[0, 1, 0], counts[2, 1, 0] = 11_210, 30_000
    counts[1, 2, 0] = 100
    mistakes = worst_mistakes(evaluation_of(counts, ["building", "pole", "sky"]))
    assert [(m.truth_name, m.predicted_name) for m in mistakes] == [("pole", "building"), ("sky", "building")]
    worst = mistakes[0]
    assert worst.pixels == 41_210
    assert [(p.name, p.pixels) for p in worst.pictures] == [("picture 2", 30_000), ("picture 0", 11_210)]
    assert worst.sentence.replace("\u202f", " ") == (
        "23 % of pole pixels (41 210) were called building; correcting them alone would add 11.7 points of mIoU."
    )


@pytest.mark.parametrize(
    ("share", "pixels", "gain", "start", "end"),
    [
        (1.0, 1, 0.01, "100 % of pole pixels (1) was called sky", "1.0 point"),
        (0.9999, 5, 0.5, "99 % of pole pixels (5) were called sky", "50.0 points"),
        (0.0421, 1234567, 2e-4, "4.2 % of pole pixels (1 234 567) were called sky", "less than 0.1 points"),
        (0.0001, 7, 0.1, "Less than 0.1 % of pole pixels (7) were called sky", "10.0 points"),
    ],
)
def test_sentences_stay_true_at_the_edges(share: float, pixels: int, gain: float, start: str, end: str) -> None:
    mistake = Mistake(
        truth=0,
        predicted=1,
        truth_name="pole",
        predicted_name="sky",
        pixels=pixels,
        share=share,
        gain=gain,
        pictures=(),
    )
    words = mistake.sentence.replace("\u202f", " ")
    assert words == f"{start}; correcting them alone would add {end} of mIoU."


def test_a_perfect_model_makes_no_mistakes() -> None:
    counts = np.stack([np.diag([5, 6, 0]), np.diag([1, 0, 0])])
    evaluation = evaluation_of(counts)
    assert worst_mistakes(evaluation) == ()
    assert not correction_gain(evaluation.scores).any()
    assert worst_mistakes(evaluation_of(np.zeros((1, 2, 2), np.int64))) == ()


def test_gains_are_ranked_and_limited() -> None:
    evaluation = evaluation_of(random_counts(5, 6))
    mistakes = worst_mistakes(evaluation, count=8, pictures=2)
    assert len(mistakes) == 8
    gains = [m.gain for m in mistakes]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] == correction_gain(evaluation.scores).max()
    for mistake in mistakes:
        per_picture = evaluation.counts_NKK[:, mistake.truth, mistake.predicted]
        assert mistake.pixels == per_picture.sum()
        assert [p.pixels for p in mistake.pictures] == sorted(per_picture[per_picture > 0].tolist(), reverse=True)[:2]


def test_pictures_are_ranked_by_their_own_miou() -> None:
    counts = random_counts(9, 4, seed=1, density=0.4)
    counts[3] = 0  # nothing labelled
    ranked = rank_pictures(evaluation_of(counts))
    assert [p.index for p in ranked] == sorted(
        (i for i in range(9) if i != 3), key=lambda i: -scores(counts[i]).macro_iou
    )
    for picture in ranked:
        own = scores(counts[picture.index])
        assert picture.miou == pytest.approx(own.macro_iou)
        assert picture.accuracy == pytest.approx(own.accuracy)
        assert (picture.pixels, picture.wrong) == (own.pixels, own.pixels - np.trace(counts[picture.index]))


def graded(count: int) -> np.ndarray:
    """Pictures 0, 1, ... with ever more wrong pixels: picture 0 is the best."""
    return np.stack([np.array([[100 - i, i], [0, 50]]) for i in range(count)])


@pytest.mark.parametrize(
    ("count", "best", "median", "worst"),
    [
        (101, [0, 1], [50, 51], [100, 99]),
        (9, [0, 1], [4, 5], [8, 7]),
        (6, [0, 1], [2, 3], [5, 4]),
        (5, [0, 1], [2], [4, 3]),
        (3, [0], [], [2, 1]),
        (1, [], [], [0]),
        (0, [], [], []),
    ],
)
def test_showcase_shows_each_picture_once(count: int, best: list[int], median: list[int], worst: list[int]) -> None:
    counts = graded(count) if count else np.zeros((0, 2, 2), np.int64)
    chosen = showcase(evaluation_of(counts))
    assert [[p.index for p in part] for part in chosen] == [best, median, worst]


def test_one_median_picture_is_the_middle_one() -> None:
    assert [p.index for p in showcase(evaluation_of(graded(11)), median=1).median] == [5]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31), density=st.floats(0.05, 0.6))
def test_largest_region_equals_scipy(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (12, 17)).astype(np.uint8)
    predicted = (rng.random(truth.shape) < density).astype(np.uint8)
    box = largest_region(truth, predicted, 0, 1)
    regions, count = ndimage.label((truth == 0) & (predicted == 1), structure=np.ones((3, 3)))
    if count == 0:
        assert box is None
        return
    assert box is not None
    sizes = np.bincount(regions.ravel())[1:]
    largest = {1 + i for i in np.flatnonzero(sizes == sizes.max()).tolist()}
    boxes = [s for i, s in enumerate(ndimage.find_objects(regions), start=1) if i in largest]
    assert (slice(box.top, box.bottom), slice(box.left, box.right)) in boxes


def test_a_mistake_that_is_not_there_has_no_region() -> None:
    ids = np.zeros((4, 4), np.uint8)
    assert largest_region(ids, ids, 0, 1) is None
