"""Evaluate: the counts of `measure` with all that belongs to them, and clear refusals."""

from __future__ import annotations

import numpy as np
import pytest

from segwright.contracts import DataError, UserError
from segwright.evaluation.evaluate import evaluate
from segwright.inference.measure import measure
from tests.inference.fakes import Pictures, RedSegmenter, random_sample, three_pictures


def test_evaluation_carries_counts_and_origin() -> None:
    model, pictures = RedSegmenter(), three_pictures()
    result = evaluate(model, pictures, run="calm-fox", checkpoint="best", split="val", protocol="camvid")
    measured = measure(model, pictures, device="cpu")
    assert np.array_equal(result.counts_NKK, measured.counts_NKK)
    assert np.array_equal(result.ignored_N, measured.ignored_N)
    assert (result.names, result.groups) == (("a1", "a2", "b1"), ("a", "a", "b"))
    assert (result.run, result.checkpoint, result.split, result.protocol) == ("calm-fox", "best", "val", "camvid")
    assert result.space == model.labels
    assert result.seconds > 0


def test_refusals() -> None:
    origin = {"run": "r", "checkpoint": "best", "split": "test"}
    with pytest.raises(DataError, match="split 'test' has no pictures"):
        evaluate(RedSegmenter(), Pictures([]), **origin)
    void = Pictures([random_sample("v", 4, 4, void=1.0)])
    with pytest.raises(DataError, match="split 'test' has no labelled pixel: all 1 masks are void"):
        evaluate(RedSegmenter(), void, **origin)
    model = RedSegmenter()
    with pytest.raises(UserError, match="unknown protocol 'vocs'. Did you mean 'voc'"):
        evaluate(model, three_pictures(), protocol="vocs", **origin)
    with pytest.raises(
        UserError, match="protocol 'voc' scores the classes of voc21, but label space 'fake' has others"
    ):
        evaluate(model, three_pictures(), protocol="voc", **origin)
    assert model.seen == []  # refused before anything ran
