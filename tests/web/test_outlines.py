"""Outlines: filling them gives back exactly the pixels, told by independent fillers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Outline

from segwright.contracts import IGNORE
from segwright.web import outlines
from segwright.web.outlines import Region, TooManyPoints, regions, run_lengths
from tests.models.conftest import space

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))
IDS = SHAPES.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, IGNORE])))


def inside(region: Region, shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    """Pixel centres within the outline and in none of its holes, as matplotlib tells."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], 1)
    odd = np.zeros(len(centres), bool)
    for ring in region.rings:  # even-odd rule
        closed = np.concatenate([ring, ring[:1]])
        odd ^= Outline(closed).contains_points(centres)
    return odd.reshape(shape)


@given(ids=IDS)
@settings(max_examples=150, deadline=None)
def test_filled_outlines_are_the_pixels(ids: np.ndarray[Any, Any]) -> None:
    filled = np.full(ids.shape, IGNORE, np.uint8)
    for region in regions(ids, space(3)):
        pixels = inside(region, ids.shape)
        assert pixels.sum() == region.pixels
        assert (filled[pixels] == IGNORE).all(), "regions overlap"
        filled[pixels] = region.class_id
    assert np.array_equal(filled, ids)


@given(ids=IDS)
@settings(max_examples=150, deadline=None)
def test_run_lengths_are_the_pixels(ids: np.ndarray[Any, Any]) -> None:
    height, width = ids.shape
    for region in regions(ids, space(3)):
        runs = run_lengths(region, height, width)
        flat = np.concatenate([np.full(run, turn % 2, bool) for turn, run in enumerate(runs)])
        assert np.array_equal(flat.reshape((height, width), order="F"), inside(region, ids.shape))


def test_small_regions_are_left_out_and_the_largest_comes_first() -> None:
    ids = np.zeros((10, 10), np.uint8)
    ids[2:4, 2:4], ids[6:9, 6:9], ids[0, 9] = 1, 1, 1
    assert [(r.class_id, r.pixels) for r in regions(ids, space(3), min_pixels=2)] == [(0, 86), (1, 9), (1, 4)]
    assert regions(np.full((4, 4), IGNORE, np.uint8), space(3)) == []


def test_a_picture_of_noise_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlines, "MOST_POINTS", 100)
    with pytest.raises(TooManyPoints):
        regions(np.random.default_rng(0).integers(0, 3, (64, 64), dtype=np.uint8), space(3))
