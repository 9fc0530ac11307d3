"""The chapter on confidence: it concludes rightly, is missing where nothing was measured, and escapes names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from segwright.metrics.calibration import Calibration
from segwright.metrics.measure import Scored
from segwright.report.chapters.confidence import answered_at, conclusion, confidence_chapter
from segwright.report.content import RunReport
from segwright.report.html import render_report
from tests.report.examples import HOSTILE, NAMES, build, evaluate, scenes, space


def measured(sureness: float, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """Scores that are as sure as told of the scenes' predictions."""
    measure, shown = Calibration(space(names)), scenes()
    arrays = measure.begin(len(shown))
    rng = np.random.default_rng(0)
    for index, scene in enumerate(shown):
        logits = (
            sureness
            * np.eye(len(names))[scene.prediction].transpose(2, 0, 1)
            * rng.uniform(0.5, 1.5, scene.truth.shape)
        )
        measure.see(
            Scored(
                index=index,
                name=scene.name,
                rgb=scene.image,
                labels=scene.truth,
                ids=scene.prediction,
                logits=torch.from_numpy(logits.astype(np.float32)),
            ),
            arrays,
        )
    return measure.result(arrays, [f"city {i % 2}" for i in range(len(shown))])


def report(sureness: float, names: tuple[str, ...] = NAMES) -> RunReport:
    shown = scenes()
    evaluation = evaluate(shown, space(names))
    return build(shown, replace(evaluation, measures={"calibration": measured(sureness, names)}))


@pytest.mark.parametrize(
    ("sureness", "words"), [(9.0, "is overconfident: where it says"), (1.5, "is not confident enough")]
)
def test_it_concludes_what_the_numbers_say(sureness: float, words: str) -> None:
    made = report(sureness)
    chapter = confidence_chapter(made)
    assert chapter is not None
    assert words in chapter.html
    found = made.evaluation.measures["calibration"]
    assert f"{100 * found['confidence']:.1f}" in conclusion(found)
    assert chapter.html.count('role="img"') == 2
    page = render_report(made)
    assert '<a href="#confidence">Confidence</a>' in page
    assert page.count('id="confidence"') == 1


def test_well_calibrated_models_need_nothing() -> None:
    found = {"confidence": 0.905, "accuracy": 0.9, "ece": 0.01}
    assert conclusion(found).endswith("can be taken at its word.")
    assert "off by 5.0" in conclusion(found | {"ece": 0.05})


def test_without_the_measure_there_is_no_chapter() -> None:
    shown = scenes()
    plain = build(shown, evaluate(shown, space()))
    assert confidence_chapter(plain) is None
    assert 'id="confidence"' not in render_report(plain)


def test_names_are_escaped() -> None:
    chapter = confidence_chapter(report(4.0, HOSTILE))
    assert chapter is not None
    assert "<script>alert" not in chapter.html
    assert "<img" not in chapter.html


def test_the_point_with_most_answers_is_found() -> None:
    points = [
        {"threshold": t, "coverage": c, "risk": r} for t, c, r in ((0.9, 0.2, 0.01), (0.5, 0.6, 0.04), (0, 1, 0.1))
    ]
    assert answered_at(points, 0.05) == {**points[1], "wished": 0.05}
    assert answered_at(points, 0.001) is None
