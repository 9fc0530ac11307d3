"""The pictures behind the confusion matrix: the right ones are chosen, id maps are lossless, and the page keeps its size."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segwright.contracts import IGNORE
from segwright.report.content import RunReport
from segwright.report.html import render_report
from segwright.report.pictures import DETAILS, Detail, Embedded, Pixels, id_colors, id_map
from segwright.report.shelf import PER_MB, fill_shelf, wanted
from tests.report.examples import NAMES, Page, Scene, build, evaluate, galleried, looked_at, scenes, space


def gallery(text: str) -> dict[str, object]:
    page = Page(text)
    found = zip(page.scripts, page.all("script"), strict=True)
    return dict(json.loads(next(s for s, a in found if a.get("id") == "gallery")))


def ids_of(embedded: Embedded, classes: int) -> Pixels:
    """As the page's script reads them: by colour, any other is void."""
    rgb = np.asarray(Image.open(io.BytesIO(base64.b64decode(embedded.uri.partition(",")[2]))).convert("RGB"))
    codes = {color: k for k, color in enumerate(id_colors(space([f"class {k}" for k in range(classes)]))[:-1])}
    return np.array([[codes.get(tuple(pixel), IGNORE) for pixel in row] for row in rgb.tolist()], np.uint8)


@given(st.integers(1, 250), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_id_maps_are_lossless_even_where_classes_share_a_colour(k: int, height: int, width: int, seed: int) -> None:
    labels = space([f"class {i}" for i in range(k)])  # colours repeat after six
    assert len(set(id_colors(labels))) == k + 1
    ids = np.random.default_rng(seed).integers(0, k + 1, (height, width))
    ids[ids == k] = IGNORE
    made = id_map(ids.astype(np.uint8), labels)
    assert (made.width, made.height) == (width, height)
    np.testing.assert_array_equal(ids_of(made, k), ids)


def test_shrunk_id_maps_keep_whole_pixels_in_pairs() -> None:
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 6, (2, 90, 130)).astype(np.uint8)
    labels, coarse = space(), Detail(40, 50)
    shrunk = [ids_of(id_map(ids, labels, detail=coarse), 6) for ids in (truth, found)]
    assert shrunk[0].shape == (28, 40)
    both = ids_of(id_map((truth * 6 + found).astype(np.uint8), space([f"c {i}" for i in range(36)]), detail=coarse), 36)
    np.testing.assert_array_equal(both, shrunk[0] * 6 + shrunk[1])  # the same pixel of both


def test_the_picture_with_most_of_the_costliest_confusion_comes_first() -> None:
    of = scenes(12)
    evaluation = evaluate(of, space())
    order = wanted(evaluation, most=100)
    assert len(order) == len(set(order)) <= 12
    assert wanted(evaluation, most=3) == order[:3]
    t, p = NAMES.index("pole"), NAMES.index("building")
    pixels = evaluation.counts_NKK[:, t, p]
    assert order.index(int(pixels.argmax())) < 8
    assert {int(evaluation.counts_NKK[:, a, b].argmax()) for a, b in np.argwhere(evaluation.counts_KK)} <= set(order)


def test_the_page_says_how_many_pictures_it_holds() -> None:
    report = galleried(9)
    text = render_report(report)
    data = gallery(text)
    assert len(data["pictures"]) == data["total"] == 9  # type: ignore[arg-type]
    assert "all 9 are in this page." in Page(text).text
    assert data["holding"] == (report.evaluation.counts_NKK > 0).sum(0).tolist()
    fewer = replace(report, shelf=report.shelf[:2])
    assert "5 of 9 are in this page. For more or fewer: segwright report toy_calm-owl-07 --budget-mb N" in (
        Page(render_report(fewer)).text
    )


def noisy(count: int, size: tuple[int, int]) -> tuple[list[Scene], RunReport]:
    """Pictures that pack badly."""
    rng = np.random.default_rng(1)
    of = []
    for index in range(count):
        small = np.kron(rng.integers(0, 6, (size[0] // 12, size[1] // 12)), np.ones((12, 12), int))
        truth = small.astype(np.uint8)
        found = np.where(rng.random(truth.shape) < 0.004, rng.integers(0, 6, truth.shape), truth).astype(np.uint8)
        image = rng.integers(0, 256, (*truth.shape, 3)).astype(np.uint8)
        of.append(Scene(f"{index:03d}.png", image, truth, found))
    return of, build(of, evaluate(of, space()))


def test_the_page_keeps_within_its_budget() -> None:
    budget = 1_000_000
    of, report = noisy(12, (360, 480))
    in_rows = [report.evaluation.names.index(p.name) for p in report.pictures]
    shelf = fill_shelf(report.evaluation, looked_at(of), budget=budget, leave_out=in_rows)
    assert 0 < len(shelf) <= PER_MB * budget // 1_000_000
    assert sum(one.bytes for one in shelf) <= budget
    text = render_report(replace(report, shelf=shelf, budget=budget))
    assert len(text.encode()) <= budget
    assert len(gallery(text)["pictures"]) > len(report.pictures)  # type: ignore[arg-type]


def test_a_small_budget_takes_coarser_pictures() -> None:
    of, report = noisy(11, (360, 480))
    widths = [
        fill_shelf(report.evaluation, looked_at(of), budget=budget)[0].image.width for budget in (1_000_000, 15_000_000)
    ]
    assert widths[0] < widths[1] == min(480, DETAILS[0].width)


@pytest.mark.slow
def test_a_report_over_500_pictures_stays_under_15_mb() -> None:
    of = [replace_name(scene, index) for index, scene in enumerate(scenes(50) * 10)]
    report = build(of, evaluate(of, space()))
    shelf = fill_shelf(report.evaluation, looked_at(of))
    text = render_report(replace(report, shelf=shelf))
    assert len(text.encode()) < 15_000_000
    assert len(shelf) <= 15 * PER_MB


def replace_name(scene: Scene, index: int) -> Scene:
    return replace(scene, name=f"{index:03d}.png")
