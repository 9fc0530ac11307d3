"""Wrong pixels by kind: against definitions written out pixel by pixel, and SciPy's regions and distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]

from segwright.contracts import IGNORE
from segwright.metrics.connected import connected_regions
from segwright.metrics.errors import BORDER_PX, CELLS, SMALL, Cell, ErrorCells, border_band, cells, find_errors
from segwright.metrics.measure import Scored
from segwright.metrics.sizes import MISSED
from tests.inference.fakes import space_of

Ids = NDArray[np.uint8]
NUM_CLASSES = 3
EIGHT = np.ones((3, 3))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Ids, Ids]:
    """Small maps with patches, so that there are regions of all kinds: (truth with void, prediction)."""
    height, width = draw(st.integers(1, 26)), draw(st.integers(1, 40))
    maps = []
    for values in ([0, 1, 2, IGNORE], [0, 1, 2]):
        coarse = draw(arrays(np.uint8, (height // 6 + 1, width // 6 + 1), elements=st.sampled_from(values)))
        fine = np.kron(coarse, np.ones((6, 6), np.uint8))[:height, :width]
        rng = np.random.default_rng(draw(st.integers(0, 1000)))
        noise = rng.choice(np.array(values, np.uint8), fine.shape)
        maps.append(np.where(rng.random(fine.shape) < draw(st.sampled_from([0, 0.02, 0.3])), noise, fine))
    return maps[0], maps[1]


def regions_of(ids: Ids, k: int) -> tuple[NDArray[np.int64], int]:
    found, count = ndimage.label(ids == k, EIGHT)
    return found, count


def slow_cells(labels: Ids, ids: Ids) -> dict[tuple[int, int, int, bool, bool, bool], int]:
    """Wrong pixels by (truth, predicted, band, small, missed, invented), one pixel after the other."""
    found: dict[tuple[int, int, int, bool, bool, bool], int] = {}
    true = {k: regions_of(labels, k)[0] for k in range(NUM_CLASSES)}
    called = {k: regions_of(ids, k)[0] for k in range(NUM_CLASSES)}
    for y, x in np.argwhere((labels != ids) & (labels != IGNORE)).tolist():
        t, p = int(labels[y, x]), int(ids[y, x])
        region, blob = true[t] == true[t][y, x], called[p] == called[p][y, x]
        band = len(BORDER_PX)
        for number, r in reversed(list(enumerate(BORDER_PX))):
            if (labels[max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1] != t).any():
                band = number
        small = bool(region.sum() <= SMALL * labels.size)
        missed = bool((ids[region] == t).sum() < MISSED * region.sum())
        invented = not (labels[blob] == p).any()
        key = (t, p, band, small, missed, invented)
        found[key] = found.get(key, 0) + 1
    return found


@given(scenes())
@settings(max_examples=25, deadline=None)
def test_each_wrong_pixel_is_in_the_cell_that_the_definitions_say(scene: tuple[Ids, Ids]) -> None:
    labels, ids = scene
    expected = np.zeros((CELLS, 2, NUM_CLASSES), np.int64)
    order = {cell: index for index, cell in enumerate(cells())}
    for (t, p, band, small, missed, invented), pixels in slow_cells(labels, ids).items():
        index = order[Cell(band, small, missed, invented)]
        expected[index, 0, t] += pixels
        expected[index, 1, p] += pixels
    found = find_errors(labels, ids, NUM_CLASSES)
    np.testing.assert_array_equal(found.wrong, expected)
    assert found.wrong[:, 0].sum() == np.count_nonzero((labels != ids) & (labels != IGNORE))
    for k in range(NUM_CLASSES):
        assert found.regions[0, k] == regions_of(labels, k)[1]


@given(scenes())
@settings(max_examples=25, deadline=None)
def test_regions_are_those_of_scipy(scene: tuple[Ids, Ids]) -> None:
    for ids in scene:
        found = connected_regions(ids)
        at_HW = found.at(np.arange(ids.size)).reshape(ids.shape)
        assert found.area_R.sum() == ids.size
        for k in np.unique(ids).tolist():
            named, count = regions_of(ids, k)
            mask = ids == k
            assert (found.label_R == k).sum() == count
            pairs = np.unique(np.stack([named[mask], at_HW[mask]]), axis=1)
            assert pairs.shape[1] == count  # one region here for one there


def test_regions_of_long_spirals_and_of_nothing() -> None:
    spiral = np.zeros((41, 41), np.uint8)
    for ring in range(0, 20, 4):
        spiral[ring, ring : 41 - ring] = spiral[41 - ring - 1, ring : 41 - ring] = 1
        spiral[ring : 41 - ring, 41 - ring - 1] = 1
        spiral[ring + 4 : 41 - ring, ring] = 1
        spiral[ring + 4, ring : ring + 5] = 1
    expected = regions_of(spiral, 1)[1]
    assert (connected_regions(spiral).label_R == 1).sum() == expected
    assert len(connected_regions(np.zeros((0, 5), np.uint8)).area_R) == 0
    assert len(connected_regions(np.zeros((5, 0), np.uint8)).area_R) == 0


def test_bands_count_void_as_a_neighbour_and_not_the_edge_of_the_picture() -> None:
    labels = np.zeros((9, 30), np.uint8)
    labels[:, 20:] = IGNORE
    expected = [3] * 15 + [2, 2, 1, 1, 0] + [0, 1, 1, 2, 2] + [3] * 5
    np.testing.assert_array_equal(border_band(labels), np.tile(np.array(expected, np.uint8), (9, 1)))


def test_result_tells_kinds_and_regions() -> None:
    labels = np.zeros((100, 100), np.uint8)
    labels[10:30, 10:30] = 1  # found but for its right half
    labels[60:63, 60:63] = 2  # 9 of 10 000 pixels: small, and missed
    ids = labels.copy()
    ids[10:30, 20:30] = 0
    ids[60:63, 60:63] = 0
    ids[80:90, 5:15] = 2  # nothing there
    measure = ErrorCells(space_of(["road", "car", "pole"]))
    noted = measure.begin(2)
    measure.see(Scored(index=1, name="b", rgb=np.zeros((100, 100, 3), np.uint8), labels=labels, ids=ids), noted)
    assert not noted["wrong"][0].any()
    result = measure.result(noted, ["a", "a"])
    assert result["wrong_pixels"] == 200 + 9 + 100
    assert result["by_region"] == {"small": 9, "missed": 9, "invented": 100}
    assert sum(result["by_border"].values()) == 309
    assert result["regions"]["pole"] == {"true": 1, "small": 1, "missed": 1, "invented": 1}
    assert result["regions"]["car"] == {"true": 1, "small": 0, "missed": 0, "invented": 0}


@pytest.mark.parametrize("labels", [np.full((4, 6), IGNORE, np.uint8), np.zeros((4, 6), np.uint8)])
def test_nothing_labelled_or_nothing_wrong_is_no_error(labels: Ids) -> None:
    found = find_errors(labels, np.zeros((4, 6), np.uint8), NUM_CLASSES)
    assert not found.wrong.any()
    assert not found.regions[2:].any()
