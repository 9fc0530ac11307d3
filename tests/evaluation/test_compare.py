"""Better, worse, cannot tell: on counts that were made so, and between label spaces."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console

from segwright.contracts import UserError
from segwright.evaluation.compare import Comparison, Entry, chance, holm
from segwright.evaluation.differing import most_different
from segwright.evaluation.pairing import (
    common_space,
    in_order_of,
    refuse_other_data,
    refuse_other_truth,
    told_in,
)
from segwright.evaluation.result import Evaluation
from segwright.labels import load_label_space, map_labels
from segwright.metrics.intervals import miou_difference
from segwright.metrics.scores import scores
from tests.evaluation.fakes import evaluation_of
from tests.inference.fakes import space_of

CLASSES = 4


def noisy_counts(seed: int, *, right: float, pictures: int = 60, spread: float = 0.05) -> NDArray[np.int64]:
    """Counts of one model: the same truth for every seed, each picture's accuracy around `right`."""
    truth_NK = np.random.default_rng(7).integers(200, 2000, (pictures, CLASSES))
    rng = np.random.default_rng(seed)
    hits_NK = (truth_NK * rng.normal(right, spread, truth_NK.shape).clip(0.05, 0.95)).astype(np.int64)
    counts_NKK = np.zeros((pictures, CLASSES, CLASSES), np.int64)
    for k in range(CLASSES):
        counts_NKK[:, k, k] = hits_NK[:, k]
        counts_NKK[:, k, (k + 1) % CLASSES] += truth_NK[:, k] - hits_NK[:, k]
    return counts_NKK


def entry(name: str, counts_NKK: NDArray[np.int64], *, groups: int = 0, **fields: Any) -> Entry:
    """groups: how many sequences the pictures come from; 0: one clip."""
    found = evaluation_of(counts_NKK)
    places = [str(i % groups) if groups else "clip" for i in range(len(counts_NKK))]
    return Entry(name=name, path=Path(name), evaluation=replace(found, run=name, groups=tuple(places)), **fields)


def of_two(one: NDArray[np.int64], other: NDArray[np.int64], **options: Any) -> Comparison:
    return Comparison(entries=(entry("A", one, **options), entry("B", other, **options)), reference="A", resamples=500)


def test_a_clear_gain_is_better_and_a_clear_loss_worse() -> None:
    low, high = noisy_counts(1, right=0.6), noisy_counts(2, right=0.7)
    better, worse = of_two(low, high), of_two(high, low)
    assert better.differences["B"].verdict == "better"
    assert worse.differences["B"].verdict == "worse"
    assert {one.verdict for one in better.differences["B"].classes} == {"better"}
    assert all(one.holds for one in better.differences["B"].classes)
    assert better.headline.startswith("B is better than A: +")
    expected = miou_difference(high, low, ["clip"] * len(low), resamples=500)
    assert better.differences["B"].miou == expected


def test_identical_runs_and_noise_cannot_be_told_apart() -> None:
    counts = noisy_counts(1, right=0.6)
    same = of_two(counts, counts)
    assert same.differences["B"].equal
    assert same.differences["B"].verdict == "cannot tell"
    assert "same counts in every picture" in same.headline
    assert most_different(same) == ()
    noise = of_two(noisy_counts(3, right=0.6), noisy_counts(4, right=0.6))
    assert noise.differences["B"].verdict == "cannot tell"
    assert "cannot be told apart" in noise.headline


def test_two_equal_models_are_called_different_about_as_often_as_five_per_cent() -> None:
    called = sum(
        of_two(noisy_counts(2 * n, right=0.6), noisy_counts(2 * n + 1, right=0.6)).differences["B"].verdict
        != "cannot tell"
        for n in range(200)
    )
    assert called <= 24  # 5 % of 200 and 4.5 standard errors; percentile intervals are a little narrow


def test_groups_are_drawn_whole_and_one_clip_is_called_false_precision() -> None:
    base, other = noisy_counts(1, right=0.6), noisy_counts(1, right=0.6)
    for place in range(len(other)):  # B wins in one sequence of six only, by much
        gain = other[place].diagonal() // 4 if place % 6 == 0 else np.zeros(CLASSES, np.int64)
        moved = np.minimum(gain, [other[place][k, (k + 1) % CLASSES] for k in range(CLASSES)])
        for k in range(CLASSES):
            other[place][k, k] += moved[k]
            other[place][k, (k + 1) % CLASSES] -= moved[k]
    by_group, by_picture = of_two(base, other, groups=6), of_two(base, other)
    assert by_group.differences["B"].miou.unit == "groups"
    assert by_group.differences["B"].verdict == "cannot tell"
    assert by_picture.differences["B"].verdict == "better"
    assert "wider" in by_picture.caveats[0]
    assert any("one clip" in text for text in by_picture.caveats)
    assert not any("one clip" in text for text in by_group.caveats)
    assert any("only 3 groups" in text for text in of_two(base, other, groups=3).caveats)


def test_holms_correction_and_the_share_against() -> None:
    assert holm([0.001, 0.04, 0.03, float("nan")]) == [True, False, False, False]
    assert holm([0.01, 0.02, 0.03]) == [True, True, True]
    assert holm([]) == []
    assert chance(np.array([0.2, *([0.1] * 99)])) == pytest.approx(2 / 100)
    assert chance(np.array([0.0, *([0.0] * 99)])) == 1
    assert np.isnan(chance(np.array([np.nan, np.nan])))


def test_repeats_are_found_and_noise_between_seeds_is_said() -> None:
    def recipe(seed: int, lr: float) -> Mapping[str, Any]:
        return {"name": "small", "seed": seed, "optimizer": {"lr": lr}, "data": {"root": f"here{seed}"}}

    data = {"splits": {"train": {"sha256": "1"}}}
    rights = [0.60, 0.63, 0.66]
    runs = [
        entry(f"a{n}", noisy_counts(n, right=right), recipe=recipe(n, 0.1), data=data) for n, right in enumerate(rights)
    ]
    runs.append(entry("b", noisy_counts(9, right=0.65), recipe=recipe(0, 0.2), data=data))
    found = Comparison(entries=tuple(runs), reference="a0", resamples=300)
    assert [one.runs for one in found.settings] == [("a0", "a1", "a2"), ("b",)]
    assert found.setting_of("a1").seeds == (0, 1, 2)
    assert found.noise is not None
    assert found.noise.freedom == 2
    assert found.differences["b"].verdict == "better"  # these two trained models do differ
    assert found.within_noise("b")  # yet another seed could make that
    assert "within seed noise" in found.headline
    assert found.seed_differences[found.setting_of("b").name].verdict == "within seed noise"
    assert found.recipe_changes["optimizer.lr"] == (0.1, 0.1, 0.1, 0.2)
    other_data = {"splits": {"train": {"sha256": "2"}}}
    apart = replace(found, entries=(*runs[:2], replace(runs[2], data=other_data)), reference="a0")
    assert [one.runs for one in apart.settings] == [("a0", "a1"), ("a2",)]
    assert apart.data_changes == {"train.sha256": ("1", "1", "2")}


def test_without_repeats_the_noise_is_said_to_be_unknown() -> None:
    found = of_two(noisy_counts(1, right=0.6), noisy_counts(2, right=0.7))
    assert found.noise is None
    assert any("seed=1" in text for text in found.caveats)


def test_wrong_sets_of_runs_are_refused() -> None:
    one = entry("A", noisy_counts(1, right=0.6))
    with pytest.raises(UserError, match="two runs or more"):
        Comparison(entries=(one,), reference="A")
    with pytest.raises(UserError, match="given twice"):
        Comparison(entries=(one, one), reference="A")
    with pytest.raises(UserError, match="no such run here"):
        Comparison(entries=(one, replace(one, name="calm-owl")), reference="calm-own")


def test_other_pictures_are_refused_and_other_orders_are_not() -> None:
    first = evaluation_of(noisy_counts(1, right=0.6))
    turned = evaluation_of(noisy_counts(1, right=0.6)[::-1])
    turned = replace(turned, names=first.names[::-1], groups=first.groups[::-1])
    again = in_order_of(first, turned)
    assert np.array_equal(again.counts_NKK, first.counts_NKK)
    assert again.groups == first.groups
    fewer = evaluation_of(noisy_counts(1, right=0.6, pictures=50))
    with pytest.raises(UserError, match=r"not scored on the same pictures.*10 only in calm-fox \(picture 50,.*--split"):
        in_order_of(first, fewer)


def test_other_content_is_refused_with_what_differs() -> None:
    first = evaluation_of(noisy_counts(1, right=0.6))
    facts = {"pictures": 60, "mean": [0.4, 0.4, 0.4], "sha256": "aa", "names_sha256": "n", "class_pixels": [1, 2]}
    refuse_other_data(first, first, facts, dict(facts))
    refuse_other_data(first, first, facts, {})
    with pytest.raises(UserError, match=r"(?s)different content.*mean: \[0.4.*sha256: aa in"):
        refuse_other_data(first, first, facts, facts | {"mean": [0.5, 0.4, 0.4], "sha256": "bb"})
    other_classes = replace(first, space=space_of(["a", "b", "c", "d"]))
    refuse_other_data(first, other_classes, facts, facts | {"sha256": "bb"})  # masks told in other classes
    refuse_other_data(first, first, facts, facts | {"sha256": "bb", "names_sha256": "m"})  # another order
    moved = replace(first, counts_NKK=first.counts_NKK + np.eye(CLASSES, dtype=np.int64))
    with pytest.raises(UserError, match=r"different masks: in 60 of 60 pictures"):
        refuse_other_truth(first, moved)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_merged_counts_are_those_of_scoring_in_the_coarser_space(seed: int) -> None:
    fine, coarse = load_label_space("cityscapes19"), load_label_space("streets10")
    rng = np.random.default_rng(seed)
    truth, guess = rng.integers(0, 19, (2, 5, 30, 40)).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.1] = 255

    def counted(labels: NDArray[np.uint8], ids: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
        counts = np.zeros((len(labels), size, size), np.int64)
        for picture, one, other in zip(counts, labels, ids, strict=True):
            seen = one != 255
            np.add.at(picture, (one[seen], other[seen]), 1)
        return counts

    scored = Evaluation(
        run="fine",
        checkpoint="best",
        split="val",
        protocol="pooled",
        space=fine,
        names=tuple("abcde"),
        groups=tuple("aabbc"),
        counts_NKK=counted(truth, guess, 19),
        ignored_N=(truth == 255).sum((1, 2)),
        seconds=1.0,
    )
    found = told_in(scored, coarse)
    assert found is not None
    told = map_labels(fine, coarse)
    assert np.array_equal(found.counts_NKK, counted(told.ids(truth), told.ids(guess), coarse.num_classes))
    assert np.array_equal(found.ignored_N, (told.ids(truth) == 255).sum((1, 2)))
    assert found.miou == pytest.approx(scores(found.counts_KK).macro_iou)
    assert told_in(replace(scored, space=fine), fine) is not None


def test_counts_do_not_suffice_for_a_finer_space_or_a_lost_class() -> None:
    fine, coarse = load_label_space("cityscapes19"), load_label_space("streets10")
    scored = evaluation_of(np.ones((2, 10, 10), np.int64))
    assert told_in(replace(scored, space=coarse), fine) is None
    small = space_of(["road", "sky"])
    three = replace(evaluation_of(np.ones((2, 3, 3), np.int64)), space=space_of(["road", "sky", "cow"]))
    assert told_in(three, small) is None  # some sky was called cow: the model would have to choose again
    counts = three.counts_NKK.copy()
    counts[:, :2, 2] = 0
    kept = told_in(replace(three, counts_NKK=counts), small)
    assert kept is not None
    assert kept.ignored_N.tolist() == [3, 4]  # the true cows, 3 pixels a picture, join the ignored ones


def test_the_common_space_is_the_finest_that_tells_all() -> None:
    fine, coarse, coarser = (load_label_space(n) for n in ("cityscapes19", "streets10", "cityscapes7"))
    assert common_space([fine, coarse]).name == "streets10"
    assert common_space([fine, fine]).name == "cityscapes19"
    assert common_space([coarser, fine]).name == "cityscapes7"
    crossing = [space_of(["road", "sky"]), space_of(["fish", "reef"])]
    with pytest.raises(UserError, match="no one of them can tell"):
        common_space(crossing)


def three_runs() -> Comparison:
    entries = tuple(
        entry(name, noisy_counts(n, right=right))
        for n, (name, right) in enumerate([("A|x", 0.6), ("B", 0.7), ("C", 0.6)])
    )
    return Comparison(entries=entries, reference="A|x", resamples=300)


def test_every_form_of_the_table_says_the_same() -> None:
    found = three_runs()
    plain = found.to_dict()
    json.dumps(plain, allow_nan=False)
    assert [run["difference"] and run["difference"]["verdict"] for run in plain["runs"]][:2] == [None, "better"]
    rows = list(csv.DictReader(io.StringIO(found.csv())))
    assert len(rows) == 3 * (1 + CLASSES)
    line = next(row for row in rows if row["run"] == "B" and row["class"] == "class 2")
    expected = plain["runs"][1]["difference"]["classes"]["class 2"]
    assert float(line["difference"]) == pytest.approx(expected["value"], abs=1e-6)
    assert line["verdict"] == "better"
    assert next(row for row in rows if row["run"] == "A|x")["difference"] == ""
    text = found.markdown()
    assert "A\\|x" in text
    for block in text.split("\n\n"):
        if block.startswith("| "):
            assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1
    console = Console(width=200, record=True)
    console.print(found.table())
    shown = console.export_text()
    assert "B (+" in shown
    assert f"{100 * found.miou['B'].value:.1f}" in shown
    assert "Holm" in shown


def test_pictures_with_the_largest_gains_and_losses_come_first() -> None:
    base = noisy_counts(1, right=0.6, spread=0)
    one, other = base.copy(), base.copy()
    for counts, place, sign in ((one, 5, 1), (one, 9, -1), (other, 5, -1), (other, 20, 1)):
        amount = 50 * sign
        counts[place, 0, 0] += amount
        counts[place, 0, 1] -= amount
    entries = (entry("A", base), entry("B", one), entry("C", other))
    found = most_different(Comparison(entries=entries, reference="A", resamples=100))
    assert {gap.index for gap in found} == {5, 9, 20}
    assert [abs(gap.gap) for gap in found] == sorted((abs(gap.gap) for gap in found), reverse=True)
    assert next(gap for gap in found if gap.index == 9).run == "B"
    assert len(most_different(Comparison(entries=entries, reference="A", resamples=100), 1)) == 1
