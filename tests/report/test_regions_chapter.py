"""The chapter on borders and sizes: what it concludes, what it shows, and when it stays away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segwright.contracts import IGNORE
from segwright.evaluation.result import Evaluation
from segwright.metrics.borders import Boundary
from segwright.metrics.measure import Measure, Scored
from segwright.metrics.panoptic import Instances
from segwright.metrics.sizes import Sizes
from segwright.report.chapters.regions import regions_chapter
from segwright.report.content import RunReport
from segwright.report.html import render_report
from tests.report.examples import HOSTILE, Page, Scene, build, evaluate, scenes, space


def measured(of: list[Scene], *kinds: type[Measure], names: tuple[str, ...] | None = None) -> RunReport:
    labels = space(names) if names else space()
    made = [kind(labels) for kind in kinds]
    arrays = {one.name: one.begin(len(of)) for one in made}
    for index, scene in enumerate(of):
        instances = np.where(scene.truth == 3, 3001, scene.truth.astype(np.int32))  # one car a scene
        seen = Scored(
            index=index,
            name=scene.name,
            rgb=scene.image,
            labels=scene.truth,
            ids=scene.prediction,
            instances=instances,
        )
        for one in made:
            one.see(seen, arrays[one.name])
    evaluation: Evaluation = evaluate(of, labels)
    results = {one.name: one.result(arrays[one.name], evaluation.groups) for one in made}
    return build(of, replace(evaluation, measures=results))


@pytest.fixture(scope="module")
def report() -> RunReport:
    return measured(scenes(), Boundary, Sizes, Instances)


def test_the_page_shows_the_chapter_and_links_to_it(report: RunReport) -> None:
    page = Page(render_report(report))
    assert ("a", {"href": "#regions"}) in page.elements
    assert [e for e in page.elements if e[0] == "section" and e[1].get("id") == "regions"]
    charts = [
        a["aria-label"] for name, a in page.elements if name == "svg" and "boundary IoU" in a.get("aria-label", "")
    ]
    assert len(charts) == 1
    assert "nan" not in "".join(charts).lower()


def test_it_says_what_to_conclude(report: RunReport) -> None:
    chapter = regions_chapter(report)
    assert chapter is not None
    boundary, sizes = (report.evaluation.measures[name] for name in ("boundary", "sizes"))
    iou = report.evaluation.iou
    lost = {name: iou[name] - band for name, band in boundary["boundary_iou"]["classes"].items() if band is not None}
    assert f"Borders cost {max(lost, key=lambda name: lost[name])} most" in chapter.html
    shares = {name: share for name, share in sizes["missed"].items() if share}
    if shares:
        assert f"Missed most often is {max(shares, key=lambda name: shares[name])}" in chapter.html
    else:
        assert "No region was missed altogether" in chapter.html
    assert "The set has 7 true objects" in chapter.html
    assert "bootstrap interval" in chapter.html


def test_old_evaluations_have_no_such_chapter() -> None:
    of = scenes(3)
    assert regions_chapter(build(of, evaluate(of, space()))) is None
    assert 'id="regions"' not in render_report(build(of, evaluate(of, space())))


@pytest.mark.parametrize("kind", [Boundary, Sizes, Instances])
def test_each_measure_alone_makes_a_chapter(kind: type[Measure]) -> None:
    chapter = regions_chapter(measured(scenes(3), kind))
    assert chapter is not None
    assert chapter.html.count("<table") == 1


def test_nothing_to_measure_is_said_not_hidden() -> None:
    of = [replace(scene, truth=np.full_like(scene.truth, IGNORE)) for scene in scenes(2)]
    labelled = scenes(2)
    report = measured(of, Boundary, Sizes)
    report = replace(report, evaluation=replace(report.evaluation, counts_NKK=evaluate(labelled, space()).counts_NKK))
    chapter = regions_chapter(report)
    assert chapter is not None
    assert "No class has a border to judge." in chapter.html
    assert "There is no true region to find." in chapter.html


def test_hostile_names_stay_text() -> None:
    chapter = regions_chapter(measured(scenes(3), Boundary, Sizes, Instances, names=HOSTILE))
    assert chapter is not None
    assert "<script" not in chapter.html
    assert "<img" not in chapter.html
    assert "onmouseover='" not in chapter.html
