"""The model card: its numbers are those of the evaluation, names cannot break its form, and nothing in it is a blank."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from segwright.metrics.intervals import Resampled
from segwright.recipe import load_recipe
from segwright.report.model_card import CardFacts, model_card
from segwright.report.wording import percent
from tests.report.examples import HOSTILE, NAMES, build, evaluate, example, history, scenes, space


@pytest.fixture(scope="module")
def facts() -> CardFacts:
    report = example()
    return CardFacts(
        run="toy_calm-owl-07",
        recipe=load_recipe("streets-demo").recipe,
        evaluation=report.evaluation,
        labels=report.evaluation.space,
        parameters=123456,
        licence="CC BY 4.0",
        code_licence="MIT",
        data=report.data,
        history=history(),
        environment=report.environment,
        notes=report.notes,
    )


def cells(text: str, first: str) -> list[str]:
    """The cells of the table row that begins with `first`."""
    return next(
        [c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith(f"| {first} |")
    )


def test_scores_stand_with_their_intervals_and_protocol(facts: CardFacts) -> None:
    text, evaluation = model_card(facts), facts.evaluation
    drawn = Resampled(evaluation.counts_NKK, evaluation.groups)
    interval = drawn.interval(drawn.miou_R("pooled"))
    assert cells(text, "mIoU")[1:] == [percent(evaluation.miou), f"{percent(interval.low)} to {percent(interval.high)}"]
    assert evaluation.rule.sentence in text
    assert "2000 resamples of 2 groups" in text
    for k, name in enumerate(NAMES):
        row = cells(text, str(k))
        assert row[1] == name
        assert row[3] == percent(evaluation.iou[name])
    assert cells(text, "5")[3:5] == ["–", "–"]  # never a train


def test_it_says_data_training_limits_and_licence(facts: CardFacts) -> None:
    text = model_card(facts)
    assert cells(text, "val")[1] == "7"
    assert "9f2c1f0d7a5f4e0c" in text
    assert "12 of" in text
    assert "- Training stopped after 12 of 20 epochs." in text
    assert "Class train is in neither truth nor prediction" in text
    assert "Weights: CC BY 4.0. Code of the architecture: MIT." in text
    assert "Further measures" not in text
    assert "temperature" not in text


def test_measures_and_temperature_are_told_where_there_are_any(facts: CardFacts) -> None:
    measured = {
        "calibration": {"ece": 0.031, "nll": 0.25},
        "boundary": {
            "boundary_iou": {"mean": 0.5},
            "boundary_f": {"tolerances": {"2px": {"within": "2 pixels", "mean": 0.61}, "1px": {"mean": None}}},
        },
    }
    text = model_card(replace(facts, evaluation=replace(facts.evaluation, measures=measured), temperature=[1.5]))
    assert cells(text, "ECE")[1] == "3.1\u202f%"
    assert cells(text, "boundary IoU")[1] == "50.0\u202f%"
    assert cells(text, "boundary F, 2px")[1:] == ["61.0\u202f%", "borders found within 2 pixels"]
    assert "1px" not in text
    assert "divided by a fitted temperature (1.5)" in text


def test_nothing_is_left_for_the_reader_to_fill_in(facts: CardFacts) -> None:
    bare = replace(facts, data={}, history=[], environment={}, notes=[], licence="not stated", code_licence="")
    of = scenes(1)
    void = [replace(of[0], truth=of[0].truth * 0 + 255)]
    for evaluation in (facts.evaluation, evaluate(void, space()), evaluate([], space())):
        text = model_card(replace(bare, evaluation=evaluation))
        assert not re.search(r"needed|unknown|n/a|\b[Nn]a[Nn]\b|None", text)
        assert "## Data" not in text
        assert "## Limits" in text
        assert "Weights: none was set" in text


def test_hostile_names_stay_in_their_cells(facts: CardFacts) -> None:
    of = scenes(names=HOSTILE)
    labels = space([*HOSTILE[:4], "a | b\n# c", "`x`"])
    evaluation = evaluate(of, labels, run=HOSTILE[1])
    report = build(of, evaluation, notes=list(HOSTILE))
    text = model_card(replace(facts, run=HOSTILE[0], evaluation=evaluation, labels=labels, notes=report.notes))
    assert "<script" not in re.sub(r"\\<", "", text.replace("```bash", "").split("## Use")[0])
    rows = [line for line in text.splitlines() if re.match(r"\| \d \|", line)]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9}
    assert len([line for line in text.splitlines() if line.startswith("# ")]) == 1
