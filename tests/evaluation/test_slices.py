"""Slices: counted and scored a second way, and told apart only where the numbers say so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import jaccard_score  # type: ignore[import-untyped]

from segwright.contracts import IGNORE
from segwright.evaluation.result import Evaluation
from segwright.evaluation.slices import Slice, clear, slices
from segwright.metrics.measure import Scored
from segwright.metrics.slices import ROW_BANDS, SliceCounts, band_edges
from tests.evaluation.fakes import evaluation_of
from tests.inference.fakes import space_of

NUM_CLASSES = 3


def scored(index: int, *, wrong: float, level: int, rng: np.random.Generator) -> Scored:
    """A picture of one grey level; `wrong` of its lowest fifth is called another class."""
    labels = rng.integers(0, NUM_CLASSES, (31, 12)).astype(np.uint8)
    labels[0, :4] = IGNORE
    ids = np.where(labels == IGNORE, 0, labels).astype(np.uint8)
    low = np.zeros(ids.shape, bool)
    low[band_edges(31)[-2] :] = rng.random((31 - band_edges(31)[-2], 12)) < wrong
    ids[low] = (ids[low] + 1) % NUM_CLASSES
    rgb = np.full((31, 12, 3), level, np.uint8)
    return Scored(index=index, name=str(index), rgb=rgb, labels=labels, ids=ids)


def evaluation(pictures: list[Scored], groups: list[str]) -> Evaluation:
    measure = SliceCounts(space_of([f"class {k}" for k in range(NUM_CLASSES)]))
    arrays = measure.begin(len(pictures))
    counts = np.zeros((len(pictures), NUM_CLASSES, NUM_CLASSES), np.int64)
    for one in pictures:
        measure.see(one, arrays)
        seen = one.labels != IGNORE
        np.add.at(counts[one.index], (one.labels[seen], one.ids[seen]), 1)
    found = evaluation_of(counts)
    return replace(found, groups=tuple(groups), arrays={f"slices.{name}": values for name, values in arrays.items()})


def second_opinion(pictures: list[Scored], rows: slice = slice(None)) -> float:
    truth = np.concatenate([p.labels[rows].ravel() for p in pictures])
    ids = np.concatenate([p.ids[rows].ravel() for p in pictures])
    seen: NDArray[np.bool_] = truth != IGNORE
    return float(jaccard_score(truth[seen], ids[seen], average="macro"))


def only(found: tuple[Slice, ...], kind: str) -> list[Slice]:
    return [one for one in found if one.kind == kind]


def test_scores_equal_those_of_the_part_alone_and_the_hard_band_stands_out() -> None:
    rng = np.random.default_rng(0)
    pictures = [scored(i, wrong=0.6, level=5 * i, rng=rng) for i in range(48)]
    found = slices(evaluation(pictures, ["town"] * 48))
    assert {one.kind for one in found} == {"brightness", "contrast", "rows"}  # one sequence is no slice
    edges = band_edges(31)
    for band, one in enumerate(only(found, "rows")):
        rows = slice(int(edges[band]), int(edges[band + 1]))
        assert one.value.value == pytest.approx(second_opinion(pictures, rows))
    dark = only(found, "brightness")[0]
    assert dark.pictures == 16
    assert dark.value.value == pytest.approx(second_opinion(pictures[:16]))
    assert [one.title for one in clear(found) if one.verdict == "worse"] == ["80–100 % from the top"]
    assert dark.verdict == "cannot tell"


def test_cities_are_told_apart_picture_by_picture() -> None:
    rng = np.random.default_rng(1)
    pictures = [scored(i, wrong=0.9 if i % 2 else 0.0, level=100, rng=rng) for i in range(20)]
    found = only(slices(evaluation(pictures, ["a" if i % 2 else "b" for i in range(20)])), "group")
    assert [(one.title, one.verdict) for one in found] == [("a", "worse"), ("b", "better")]
    assert found[0].value.unit == "pictures"
    assert found[0].difference is not None
    assert found[0].value.low < found[0].value.value < found[0].value.high


def test_few_pictures_have_a_score_but_no_verdict() -> None:
    rng = np.random.default_rng(2)
    pictures = [scored(i, wrong=0.5, level=100, rng=rng) for i in range(8)]
    found = only(slices(evaluation(pictures, ["a"] * 6 + ["b"] * 2)), "group")
    assert [one.verdict for one in found] == ["too few pictures"] * 2
    assert np.isnan(found[1].value.low)
    assert clear(found and tuple(found)) == ()


def test_without_measures_only_cities_are_left() -> None:
    bare = evaluation_of(np.ones((4, 2, 2), np.int64))
    assert {one.kind for one in slices(bare)} == {"group"}
    assert slices(evaluation_of(np.ones((1, 2, 2), np.int64))) == ()


@pytest.mark.parametrize("height", [1, 3, 5, 31, 1024])
def test_bands_share_out_the_rows(height: int) -> None:
    edges = band_edges(height)
    assert edges[0] == 0
    assert edges[-1] == height
    assert len(edges) == ROW_BANDS + 1
    assert np.diff(edges).max() - np.diff(edges).min() <= 1
