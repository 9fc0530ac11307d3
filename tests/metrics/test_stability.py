"""Flicker and change against a count pixel by pixel, and on cases that anyone can follow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segwright.contracts import IGNORE, DataError
from segwright.metrics.stability import error_stability, stability


def video(*columns: str) -> list[NDArray[np.uint8]]:
    """Frames of one pixel a text: its classes over time, `.` is void."""
    rows = [[IGNORE if c == "." else int(c) for c in column] for column in columns]
    return [np.array([frame], np.uint8) for frame in zip(*rows, strict=True)]


def test_what_comes_back_flickers_and_what_moves_on_does_not() -> None:
    found = stability(iter(video("010000", "000111", "0.0000", "012000")), within=1)
    # changes: 2, 1, 0 and 3 of 5 + 5 + 3 + 5 pairs; back after one frame: only 0-1-0, once begun at each of its changes
    assert found.change_rate == pytest.approx(6 / 18)
    assert found.flicker_rate == pytest.approx(1 / 14)
    assert stability(video("012000"), within=2).flicker_rate == pytest.approx(1 / 3)
    assert found.frames == 6


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9), st.integers(1, 3), st.integers(0, 999))
def test_it_is_the_count_of_every_pixel(frames: int, within: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = [rng.choice([0, 1, 2, IGNORE], (2, 3)).astype(np.uint8) for _ in range(frames)]
    compared = changed = watched = flickered = 0
    for t in range(1, frames):
        for before, now, *later in zip(*(m.ravel().tolist() for m in maps[t - 1 : t + within + 1]), strict=True):
            if IGNORE in (before, now):
                continue
            compared, changed = compared + 1, changed + (before != now)
            if t + within < frames:
                watched, flickered = watched + 1, flickered + (before != now and before in later)
    found = stability(maps, within=within)
    for value, part, whole in ((found.change_rate, changed, compared), (found.flicker_rate, flickered, watched)):
        assert value == pytest.approx(part / whole) if whole else math.isnan(value)


def test_errors_that_stay_and_errors_that_come_and_go() -> None:
    truth = video("0000", "0000", "0011", "00.0")
    found = error_stability(video("1111", "0101", "0011", "2222"), truth)
    # same truth in 3, 3, 2 and 1 pairs; turned: 0, 3, 0, 0; wrong before: 3, 1, 0, 1; of these the same again: 3, 0, -, 1
    assert found.turned == pytest.approx(3 / 9)
    assert found.stayed == pytest.approx(4 / 5)
    assert math.isnan(error_stability([], []).turned)


def test_refusals() -> None:
    two = video("01")
    with pytest.raises(DataError, match=r"frame 2 is \[2, 2\], the first one \[1, 1\]"):
        stability([two[0], np.zeros((2, 2), np.uint8)])
    with pytest.raises(DataError, match="not as many truths"):
        error_stability(two, two[:1])
    with pytest.raises(DataError, match="not as many truths"):
        error_stability(two[:1], two)
    with pytest.raises(ValueError, match="not uint8"):
        stability([np.zeros((2, 2))])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="within is 0"):
        stability(two, within=0)
