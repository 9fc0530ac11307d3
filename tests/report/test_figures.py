"""Charts, correlations, label placement, colours, pictures and number formats of the report."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from segwright.contracts import IGNORE
from segwright.report.colors import SCALES, contrast, ramp, text_on
from segwright.report.content import MistakePicture
from segwright.report.curves import best_point, curves, stage_starts
from segwright.report.figures import Series, covering_ticks, iou_bars, line_chart, log_ticks, nice_ticks, picture_ranks
from segwright.report.frequency import Box, correlate, frequency_figure, pearson, place_labels, ranks
from segwright.report.pictures import (
    HEAVIEST,
    WIDEST,
    class_picture,
    close_up,
    embed,
    error_picture,
    window,
    wrong_share,
)
from segwright.report.tables import LEVELS, level
from segwright.report.wording import bare, coefficient, count, duration, listing, number, percent, points
from tests.report.examples import HOSTILE, example, history, scenes, space

finite = st.floats(-1e3, 1e3, allow_nan=False)


def test_numbers_as_the_page_writes_them() -> None:
    assert [percent(v) for v in (0.6234, 0, 1, 0.0004, math.nan, None)] == [
        "62.3\u202f%", "0.0\u202f%", "100.0\u202f%", "<\u202f0.1\u202f%", "–", "–",
    ]  # fmt: skip
    assert [bare(v) for v in (0.6234, 0.0004, math.nan)] == ["62.3", "<0.1", "–"]
    assert [points(v) for v in (0.0191, 0.0004, 0.0)] == ["+1.9", "<0.1", "+0.0"]
    assert [count(v) for v in (0, 999, 41210, 17155529)] == ["0", "999", "41\u202f210", "17\u202f155\u202f529"]
    assert [number(v) for v in (0.0031, 0.91, 31.2, 812, 41210, 3e-5, 0, None)] == [
        "0.0031", "0.91", "31.2", "812", "41\u202f210", "3e-5", "0", "–",
    ]  # fmt: skip
    assert [duration(v) for v in (4.25, 45.2, 600, 7260)] == [
        "4.2\u202fs", "45\u202fs", "10\u202fmin 0\u202fs", "2\u202fh 1\u202fmin",
    ]  # fmt: skip
    assert [coefficient(v) for v in (0.714, -0.2, math.nan)] == ["+0.71", "−0.20", "–"]
    assert [listing(v) for v in ([], ["a"], ["a", "b", "c"])] == ["", "a", "a, b and c"]
    assert listing([str(i) for i in range(20)], most=3) == "0, 1 and 18 more"


@given(st.lists(st.tuples(finite, finite), min_size=3, max_size=40))
def test_correlations_equal_scipy(pairs: list[tuple[float, float]]) -> None:
    x, y = np.round(np.array(pairs), 1).T  # rounded, so that ties occur
    np.testing.assert_allclose(ranks(x), stats.rankdata(x))
    if np.ptp(x) < 1 or np.ptp(y) < 1:
        return
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-9)
    assert pearson(ranks(x), ranks(y)) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)


def test_a_correlation_needs_three_classes_that_vary() -> None:
    assert math.isnan(correlate(np.array([0.5, 0.5]), np.array([0.1, 0.2])).pearson)
    assert math.isnan(correlate(np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.4, 0.4])).spearman)
    link = correlate(np.array([0.0, 0.1, 0.2, 0.3, 0.4]), np.array([0.0, 0.2, 0.3, 0.4, np.nan]))
    assert link.n == 3
    assert link.spearman == pytest.approx(1)


@given(
    st.lists(st.tuples(st.floats(50, 900), st.floats(30, 400)), max_size=60),
    st.lists(st.text("abcdefgh ij", min_size=1, max_size=14), min_size=60, max_size=60),
)
@settings(max_examples=50, deadline=None)
def test_labels_never_overlap_each_other_or_a_foreign_dot(spots: list[tuple[float, float]], names: list[str]) -> None:
    area = Box(40, 10, 940, 420)
    boxes = place_labels(spots, names[: len(spots)], area)
    placed = [box for box in boxes if box]
    assert all(box.inside(area) for box in placed)
    assert not any(a.touches(b) for a, b in combinations(placed, 2))
    for index, box in enumerate(boxes):
        dots = [Box(x - 6, y - 6, x + 6, y + 6) for i, (x, y) in enumerate(spots) if i != index]
        assert box is None or not any(box.touches(dot) for dot in dots)


def test_a_lonely_point_always_gets_its_label() -> None:
    assert (
        place_labels(
            [(60, 200), (500, 200), (930, 200)], ["first class", "x", "last class"], Box(40, 10, 940, 420)
        ).count(None)
        == 0
    )


@given(finite, st.floats(1e-6, 1e3), st.integers(1, 8))
def test_ticks_are_few_and_round(low: float, span: float, wanted: int) -> None:
    ticks = nice_ticks(low, low + span, wanted)
    covering = covering_ticks(low, low + span, wanted)
    assert len(ticks) <= wanted + 2
    assert all(low - span * 0.01 <= t <= low + span * 1.01 for t in ticks)
    assert covering[0] <= low + span * 0.01
    assert covering[-1] >= low + span * 0.99


def test_log_ticks_hold_at_least_two_where_a_decade_is_shown() -> None:
    assert log_ticks(0.001, 1) == pytest.approx([0.001, 0.01, 0.1, 1])
    assert len(log_ticks(0.02, 0.3)) >= 2
    assert log_ticks(0.4, 0.45) != []


def test_charts_are_well_formed_even_with_hostile_names() -> None:
    ious = [0.9, 0.5, 0.4, math.nan, 0.2, 0.0]
    shares = np.array([0.5, 0.2, 0.1, 0.1, 0.1, 0.0])
    link = correlate(shares, np.array(ious))
    charts = [
        iou_bars(HOSTILE, ious, 0.4),
        picture_ranks(HOSTILE, [0.1, 0.2, math.nan, 0.3, 0.4, 0.5], {HOSTILE[0]: "worst"}),
        frequency_figure(HOSTILE, ["#808080"] * 6, shares, np.array(ious), link),
        line_chart(HOSTILE[0], [Series(HOSTILE[1], "a", ((1, 0.5), (2, 0.25)))], form=percent, best=(2, 0.25)),
        *(curve.svg for curve in curves(history())),
    ]
    for chart in charts:
        root = ElementTree.fromstring(str(chart))
        assert root.get("aria-label")
        assert root.get("role") == "img"
        assert {e.tag for e in root.iter()} <= {"svg", "g", "line", "text", "rect", "circle", "path", "title"}
        assert root.findall(".//g[@class='hit']/title")


def test_nothing_to_draw_is_no_chart() -> None:
    assert line_chart("Loss", [Series("a", "a", ())], form=percent) is None
    assert iou_bars(["a"], [math.nan], math.nan) is None
    assert picture_ranks(["a"], [0.5], {}) is None
    assert curves([]) == []


def test_a_point_of_a_chart_tells_all_its_values() -> None:
    loss = next(curve for curve in curves(history()) if curve.title == "Loss")
    titles = [e.text for e in ElementTree.fromstring(str(loss.svg)).iter("title")]
    assert titles[2] == "epoch 3\ntraining 0.667\nvalidation 0.733"
    assert len(titles) == 12


def staged(names: Sequence[str], ends: Sequence[int]) -> list[dict[str, object]]:
    """The history with a stage name in each row; `ends`: last epoch of each."""
    stages = list(zip(names, ends, strict=True))
    return [{**row, "stage": next(n for n, end in stages if row["epoch"] <= end)} for row in history()]  # type: ignore[operator]


def test_stages_are_told_by_lines_names_and_points() -> None:
    rows = staged(["plain", "cosine"], [4, 12])
    assert stage_starts(rows) == ((0, "plain"), (4, "cosine"))
    assert stage_starts(history()) == ()
    skipped = [row for row in rows if row["epoch"] != 4]  # a stage that ended early
    assert stage_starts(skipped) == ((0, "plain"), (3, "cosine"))
    for curve in curves(rows):
        root = ElementTree.fromstring(str(curve.svg))
        borders = [float(e.get("x1", "")) for e in root.iter("line") if e.get("class") == "stage"]
        epochs = {t.splitlines()[0]: float(h.get("data-x", "")) for h in root.iter("g") for t in titles(h)}
        if "epoch 4" in epochs:  # loss and the small ones have a point in every epoch
            assert borders == [pytest.approx(epochs["epoch 4"], abs=0.1)]
        assert len(borders) == 1
        assert {"plain", "cosine"} <= {e.text for e in root.iter("text")} if curve.main else True
        assert "cosine" in [t.splitlines()[1] for h in root.iter("g") for t in titles(h)]


def titles(group: ElementTree.Element) -> list[str]:
    return [e.text or "" for e in group.findall("title")]


def test_stages_with_hostile_names_and_no_room_stay_well_formed() -> None:
    for curve in curves(staged(HOSTILE, [1, 2, 3, 4, 5, 12])):
        root = ElementTree.fromstring(str(curve.svg))
        assert sum(e.get("class") == "stage" for e in root.iter("line")) == len(HOSTILE) - 1


def test_the_best_point_is_the_last_one_marked_best() -> None:
    assert best_point(history()) == (6, 0.5)
    unmarked = [{**row, "best": False} for row in history()]
    assert best_point(unmarked) == (6, 0.5)
    assert best_point([]) is None


@pytest.mark.parametrize("theme", SCALES)
def test_text_on_every_shade_is_readable(theme: str) -> None:
    for stops in SCALES[theme].values():
        shades = ramp(stops, LEVELS)
        assert len(set(shades)) == LEVELS + 1
        assert all(contrast(shade, text_on(shade)) >= 4.5 for shade in shades)


def test_a_shade_is_blank_only_for_nothing() -> None:
    assert level(0) == 0
    assert level(1e-9) == 1
    assert level(1) == LEVELS
    assert all(level(a / 100) <= level((a + 1) / 100) for a in range(100))


def test_pictures_are_embedded_exactly_or_lightly() -> None:
    scene = scenes(1)[0]
    colours = class_picture(scene.prediction, space())
    embedded = embed(colours, exact=True)
    assert (embedded.width, embedded.height) == (72, 48)
    head, _, content = embedded.uri.partition(",")
    assert head == "data:image/webp;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")), colours)
    wide = embed(np.zeros((1024, 2048, 3), np.uint8))
    assert (wide.width, wide.height) == (WIDEST, 320)


def test_even_noise_is_not_heavier_than_promised() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    assert len(embed(noise).uri) < HEAVIEST * 1.4
    assert len(embed(noise, exact=True).uri) < HEAVIEST * 1.4


def test_errors_stand_out_and_void_is_hatched() -> None:
    truth = np.zeros((40, 60), np.uint8)
    truth[:10] = IGNORE
    prediction = truth.copy()
    prediction[:10] = 3
    prediction[20:30, 20:30] = 1
    errors = error_picture(np.full((40, 60, 3), 200, np.uint8), truth, prediction).astype(int)
    red_over_blue = errors[..., 0] - errors[..., 2]
    wrong = np.zeros((40, 60), bool)
    wrong[20:30, 20:30] = True
    assert (red_over_blue[wrong] > 80).all()
    assert (red_over_blue[~wrong] == 0).all()
    assert len(np.unique(errors[:10])) == 2  # two tones of grey
    assert wrong_share(truth, prediction) == 100 / 1800
    assert math.isnan(wrong_share(np.full((2, 2), IGNORE, np.uint8), np.zeros((2, 2), np.uint8)))


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_the_close_up_lies_in_the_picture_and_shows_the_region(height: int, width: int, data: st.DataObject) -> None:
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    a, b, c, d = window((height, width), (top, left, bottom, right))
    assert 0 <= a < c <= height
    assert 0 <= b < d <= width
    assert a <= (top + bottom) / 2 <= c
    assert b <= (left + right) / 2 <= d


def test_the_close_up_outlines_the_region() -> None:
    region = np.zeros((60, 90), bool)
    region[20:40, 30:60] = True
    picture = close_up(np.full((60, 90, 3), 120, np.uint8), region, (20, 30, 40, 60))
    assert (picture == 255).all(axis=2).any()
    assert (picture == 20).all(axis=2).any()
    assert picture.shape[1] == 480


def test_the_mistake_of_a_picture_is_its_region() -> None:
    item = example().mistakes[0]
    assert isinstance(item, MistakePicture)
    assert item.region.any()
    assert set(item.truth[item.region].tolist()) == {item.mistake.truth}
    assert set(item.prediction[item.region].tolist()) == {item.mistake.predicted}
