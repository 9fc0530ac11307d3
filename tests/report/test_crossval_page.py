"""The charts of a cross-validation: a line a fold and stage, the winner marked, and a page that works in a browser."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from segwright.evaluation.candidates import Candidate, Fold, RoundResult
from segwright.evaluation.result import Evaluation
from segwright.labels import LabelClass, LabelSpace
from segwright.recipe import load_recipe
from segwright.report.crossval_figures import (
    RoundCurves,
    candidate_chart,
    correlate_weights,
    fold_chart,
    spread_chart,
    weight_figure,
)
from segwright.report.page import static
from segwright.report.wording import number
from segwright.runs import Run
from segwright.training.folds import Round

BAD = "</script><img src=x onerror=alert(1)>"


def evaluation(right: int) -> Evaluation:
    """Eight pictures of two classes; the more `right`, the better."""
    classes = tuple(LabelClass(name=n, values=(k,), color=(40 * k, 90, 200)) for k, n in enumerate(("road", "car")))
    counts = np.tile(np.array([[right, 100 - right], [20, 80]], np.int64), (8, 1, 1))
    counts += np.arange(8)[:, None, None]
    return Evaluation(
        run="r",
        checkpoint="c",
        split="val",
        protocol="pooled",
        space=LabelSpace(name="two", title="Two", classes=classes),
        names=tuple(f"p{n}" for n in range(8)),
        groups=tuple(f"g{n // 2}" for n in range(8)),
        counts_NKK=counts,
        ignored_N=np.zeros(8, np.int64),
        seconds=1.0,
    )


def round_result(folder: Path, name: str = "plain", before: int = 0) -> RoundResult:
    own = Round(number=1, name=name, path=folder, recipe=load_recipe("streets-demo").recipe, epochs_before=before)
    folds = tuple(
        Fold(number=n, run=Run(folder / f"fold{n}"), epoch=3, seconds=9.0, evaluation=evaluation(60 + 5 * n))
        for n in (1, 2, 3)
    )
    candidates = tuple(
        Candidate(key=key, name=key, folds=made_of, file=folder / key, evaluation=evaluation(right))
        for key, made_of, right in (("best", (3,), 75), ("mean", (1, 2, 3), 85), ("top", (2, 3), 80))
    )
    return RoundResult(round=own, folds=folds, candidates=candidates)


def curves(name: str, before: int) -> RoundCurves:
    rows = {n: [{"kind": "val", "epoch": e, "miou": 0.1 * n + 0.01 * e} for e in (1, 2, 3)] for n in (1, 2, 3)}
    return RoundCurves(name, before, rows)


def test_every_fold_has_a_line_in_every_stage() -> None:
    chart = fold_chart("mIoU", [curves("plain", 0), curves(BAD, 3)], "val", "miou", form=number)
    assert chart is not None
    assert [len(re.findall(f'class="line f{n}"', chart)) for n in (1, 2, 3, 4)] == [2, 2, 2, 0]
    assert chart.count('class="stage"') == 1
    assert chart.count('class="hit"') == 6  # epochs 1 to 6, over both stages
    assert "<img src=x" not in chart
    assert fold_chart("loss", [curves("plain", 0)], "train", "loss", form=number) is None


def test_candidates_stand_side_by_side_and_the_winner_is_marked(tmp_path: Path) -> None:
    rounds = [round_result(tmp_path), round_result(tmp_path, "cosine", 3)]
    chart = candidate_chart(rounds)
    assert chart.count("circle") == 2 * 6  # opening and closing tags
    assert chart.count('class="candidate won"') == 2
    assert chart.count("· winner") == 2
    places = dict(re.findall(r'<text x="[^"]*" y="([^"]*)" class="end (?:won|tick)">(\w+)<', chart))
    assert sorted(places.values()) == ["best", "mean", "top"] * 2 or len(places) == 6
    assert rounds[0].winner.key == "mean"
    assert rounds[0].difference(rounds[0].candidates[0]).value > 0


def test_scores_across_folds_show_mean_and_deviation(tmp_path: Path) -> None:
    one = round_result(tmp_path)
    mean, deviation = one.spread
    scores = [fold.miou for fold in one.folds]
    assert mean == pytest.approx(np.mean(scores))
    assert deviation == pytest.approx(np.std(scores, ddof=1))
    assert spread_chart([one]).count('class="hit"') == 3


def test_weights_against_iou() -> None:
    weights, ious = [1.0, 2.0, 4.0, 8.0], [0.8, 0.6, 0.4, 0.2]
    assert correlate_weights(weights, ious).pearson == pytest.approx(-1)
    assert correlate_weights(weights, ious).spearman == pytest.approx(-1)
    chart = weight_figure(["a", "b", "c", BAD], ["#112233"] * 4, weights, ious)
    assert chart is not None
    assert chart.count('class="hit"') == 4
    assert "<img src=x" not in chart
    assert weight_figure(["a"], ["#112233"], [1.0], [float("nan")]) is None


def test_charts_fit_their_page(tmp_path: Path, chrome: Browser) -> None:
    rounds = [round_result(tmp_path, name) for name in ("plain", "cosine")]
    charts = [
        candidate_chart(rounds),
        spread_chart(rounds),
        fold_chart("mIoU", [curves("plain", 0), curves("cosine", 3)], "val", "miou", form=number),
    ]
    style = static("report.css") + static("crossval.css")
    panels = "".join(f'<figure class="panel scroll wide-chart">{chart}</figure>' for chart in charts)
    file = tmp_path / "charts.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><style>{style}</style><main>{panels}</main>", encoding="utf-8")
    outside = """() => [...document.querySelectorAll('svg.chart')].flatMap((svg) => {
      const frame = svg.getBoundingClientRect();
      return [...svg.querySelectorAll('text')].filter((text) => {
        const box = text.getBoundingClientRect();
        return box.left < frame.left - 2 || box.right > frame.right + 2 || box.bottom > frame.bottom + 2;
      }).map((text) => text.textContent);
    })"""
    view = chrome.new_page(viewport={"width": 1280, "height": 900})
    view.goto(file.as_uri())
    assert view.evaluate(outside) == []
    strokes = view.evaluate("[...document.querySelectorAll('.line')].map((line) => getComputedStyle(line).stroke)")
    assert len(set(strokes)) == 3
    view.close()
