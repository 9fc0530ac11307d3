"""Oracle gains against correcting the pixels and scoring again with scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import jaccard_score  # type: ignore[import-untyped]

from segwright.contracts import IGNORE
from segwright.evaluation.error_budget import error_budget
from segwright.evaluation.hardest import Box
from segwright.evaluation.label_errors import LabelRegion, runs_of
from segwright.evaluation.result import Evaluation
from segwright.metrics.errors import border_band, cells_where, find_errors
from tests.evaluation.fakes import evaluation_of

Ids = NDArray[np.uint8]
NUM_CLASSES = 4


def maps(seed: int, pictures: int = 4) -> list[tuple[Ids, Ids]]:
    """Patches of classes with void, and predictions with shifted borders, specks and swapped patches."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(pictures):
        truth = np.kron(rng.choice([0, 0, 1, 2, 3, IGNORE], (5, 7)), np.ones((9, 9))).astype(np.uint8)
        truth[3, 4:7] = 3  # small: three pixels of 2835
        ids = np.roll(np.where(truth == IGNORE, 0, truth), 1, axis=1).astype(np.uint8)
        swapped = np.kron(rng.random((5, 7)) < 0.2, np.ones((9, 9))).astype(bool)
        ids[swapped] = rng.integers(0, NUM_CLASSES)
        ids[rng.random(ids.shape) < 0.01] = 2
        made.append((truth, ids))
    return made


def evaluate(of: list[tuple[Ids, Ids]], protocol: str = "pooled", num_classes: int = NUM_CLASSES) -> Evaluation:
    counts = np.zeros((len(of), num_classes, num_classes), np.int64)
    for matrix, (truth, ids) in zip(counts, of, strict=True):
        seen = truth != IGNORE
        np.add.at(matrix, (truth[seen], ids[seen]), 1)
    wrong = np.stack([find_errors(truth, ids, num_classes).wrong for truth, ids in of])
    return replace(evaluation_of(counts, protocol=protocol), arrays={"errors.wrong": wrong})


def score(of: list[tuple[Ids, Ids]], right: Callable[[Ids, Ids], NDArray[np.bool_]]) -> float:
    """mIoU in the `pooled` sense of maps of which the pixels that `right` marks are corrected."""
    truths, called = [], []
    for truth, ids in of:
        seen = truth != IGNORE
        truths.append(truth[seen])
        called.append(np.where(right(truth, ids), truth, ids)[seen])
    y, p = np.concatenate(truths), np.concatenate(called)
    present = sorted(set(y.tolist()) | set(p.tolist()))
    return float(jaccard_score(y, p, labels=present, average="macro"))


@pytest.mark.parametrize("seed", range(3))
def test_gains_equal_correcting_the_pixels_and_scoring_again(seed: int) -> None:
    of = maps(seed)
    budget = error_budget(evaluate(of))
    assert budget is not None
    now = score(of, lambda t, p: np.zeros(t.shape, bool))
    assert budget.miou == pytest.approx(now, abs=1e-12)
    for number, key in enumerate(("border-1", "border-3", "border-5")):
        after = score(of, lambda t, p, n=number: border_band(t) <= n)  # type: ignore[misc]
        assert budget.part(key).gain.value == pytest.approx(after - now, abs=1e-12)
    for pair in budget.pairs:
        a, b = pair.classes
        after = score(of, lambda t, p, a=a, b=b: ((t == a) & (p == b)) | ((t == b) & (p == a)))  # type: ignore[misc]
        assert pair.gain.value == pytest.approx(after - now, abs=1e-12)
    for one in budget.classes:
        (k,) = one.classes
        after = score(of, lambda t, p, k=k: (t == k) | (p == k))  # type: ignore[misc]
        assert one.gain.value == pytest.approx(after - now, abs=1e-12)
    assert [pair.gain.value for pair in budget.pairs] == sorted((g.gain.value for g in budget.pairs), reverse=True)


def test_the_waterfall_adds_up_and_its_steps_share_out_all_errors() -> None:
    of = maps(5)
    evaluation = evaluate(of)
    budget = error_budget(evaluation)
    assert budget is not None
    assert budget.steps[0].start == budget.miou == pytest.approx(evaluation.miou, abs=1e-12)
    assert all(one.end == other.start for one, other in zip(budget.steps, budget.steps[1:], strict=False))
    assert budget.steps[-1].end == budget.ceiling == 1.0
    wrong = sum(int(((t != p) & (t != IGNORE)).sum()) for t, p in of)
    assert sum(step.pixels for step in budget.steps) == budget.wrong == wrong
    assert {step.key: step.pixels > 0 for step in budget.steps}["invented"]
    assert sum(step.gain for step in budget.steps) == pytest.approx(1 - budget.miou, abs=1e-12)


def test_missed_and_invented_regions_are_those_that_were_made() -> None:
    truth = np.zeros((40, 60), np.uint8)
    truth[10:20, 10:20] = 1
    called = np.zeros_like(truth)
    called[10:20, 10:20] = 2  # a thing taken for another
    called[30:33, 30:40] = 3  # a thing out of nothing
    budget = error_budget(evaluate([(truth, called)] * 3))
    assert budget is not None
    pixels = {part.key: part.pixels for part in budget.parts}
    assert pixels["missed"] == pixels["renamed"] == 300
    assert pixels["invented"] == 390
    assert budget.part("invented").gain.value == pytest.approx(1 - budget.miou)


def test_under_camvid_the_ceiling_is_the_share_of_classes_with_true_pixels() -> None:
    of = [(np.where(t == 3, 0, t).astype(np.uint8), np.where(p == 3, 0, p).astype(np.uint8)) for t, p in maps(1)]
    budget = error_budget(evaluate(of, "camvid"))
    assert budget is not None
    assert budget.ceiling == pytest.approx(0.75)
    assert budget.miou == pytest.approx(evaluate(of, "camvid").miou)


def test_intervals_hold_the_gain_and_say_what_was_drawn() -> None:
    budget = error_budget(evaluate(maps(2, pictures=12)))
    assert budget is not None
    gain = budget.part("border-3").gain
    assert gain.low <= gain.value <= gain.high
    assert gain.low < gain.high
    assert "groups" in budget.conditions


def test_there_is_no_budget_without_the_measure_or_without_errors() -> None:
    of = maps(0)
    assert error_budget(replace(evaluate(of), arrays={})) is None
    perfect = [(t, np.where(t == IGNORE, 0, t).astype(np.uint8)) for t, _ in of]
    assert error_budget(evaluate(perfect)) is None


def test_cells_where_picks_disjoint_bands() -> None:
    bands = np.stack([cells_where(lambda cell, b=b: cell.band == b) for b in range(4)])  # type: ignore[misc]
    assert (bands.sum(0) == 1).all()


def test_doubted_labels_gain_what_relabelling_them_gains() -> None:
    of = maps(1)
    evaluation = evaluate(of)
    regions, relabelled = [], [truth.copy() for truth, _ in of]
    for index, (truth, ids) in enumerate(of):
        chosen = (truth == 1) & (ids == 2)
        relabelled[index][chosen] = 2
        rows, columns = np.nonzero(chosen)
        assert rows.size
        box = Box(int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
        regions.append(
            LabelRegion(
                rank=index + 1,
                part="val",
                picture=evaluation.names[index],
                truth=1,
                predicted=2,
                box=box,
                runs=runs_of(chosen[box.top : box.bottom, box.left : box.right]),
                pixels=int(rows.size),
                core=1,
                confidence=0.9,
                given=0.1,
                score=1.0,
            )
        )
    budget, without = error_budget(evaluation, regions), error_budget(evaluation)
    assert budget is not None
    assert without is not None
    after = score([(truth, ids) for truth, (_, ids) in zip(relabelled, of, strict=True)], lambda t, p: t < 0)
    assert budget.part("doubted").gain.value == pytest.approx(after - budget.miou, abs=1e-12)
    assert budget.part("doubted").pixels == sum(region.pixels for region in regions)
    assert budget.parts[:-1] == without.parts
    assert budget.steps == without.steps
