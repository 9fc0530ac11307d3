"""The chapters on the error budget and on slices, of a report whose evaluation holds the measures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from segwright.evaluation.error_budget import error_budget
from segwright.metrics.errors import ErrorCells
from segwright.metrics.measure import Measure, Scored
from segwright.metrics.slices import SliceCounts
from segwright.report.answer import where_lost
from segwright.report.chapters.budget import budget_chapter, budget_sentences
from segwright.report.chapters.slices import slices_chapter
from segwright.report.content import RunReport
from segwright.report.html import render_report
from segwright.report.wording import percent
from tests.report.examples import Page, build, evaluate, example, scenes, space


def measured(count: int = 36) -> RunReport:
    of = scenes(count)
    evaluation = evaluate(of, space())
    arrays: dict[str, np.ndarray] = {}
    kinds: tuple[type[Measure], ...] = (ErrorCells, SliceCounts)
    for measure in (kind(evaluation.space) for kind in kinds):
        rows = measure.begin(count)
        for index, s in enumerate(of):
            measure.see(Scored(index=index, name=s.name, rgb=s.image, labels=s.truth, ids=s.prediction), rows)
        arrays |= {f"{measure.name}.{key}": values for key, values in rows.items()}
    return build(of, replace(evaluation, arrays=arrays))


def test_the_budget_is_told_in_numbers_that_add_up() -> None:
    report = measured()
    budget = error_budget(report.evaluation)
    assert budget is not None
    page = Page(render_report(report))
    assert "Error budget" in page.text
    assert percent(budget.miou) in page.text
    gains = [float(found["value"]) for found in page.all("data") if found.get("value", "")[:1] in "0123456789-"]
    assert np.isclose(gains, budget.part("border-3").gain.value).any()
    chart = next(found for found in page.all("svg") if "waterfall" in found.get("class", ""))
    assert percent(budget.miou) in chart["aria-label"]
    assert where_lost(budget) in page.text
    told = " ".join(budget_sentences(budget))
    assert budget.pairs[0].title in told
    assert "border" in told


def test_slices_name_cities_and_rows() -> None:
    chapter = slices_chapter(measured())
    assert chapter is not None
    assert "city 1" in chapter.html
    assert "0–20 % from the top" in chapter.html


def test_reports_of_older_evaluations_go_without_the_budget() -> None:
    assert budget_chapter(example()) is None
    assert "Error budget" not in Page(render_report(example())).text
