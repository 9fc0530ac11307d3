"""Robustness: the same pictures, paired differences, and a run that goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from segwright.cli.robustness import parse_severities, table
from segwright.contracts import DataError, UserError
from segwright.data.corruptions import Corrupted
from segwright.evaluation.robustness import CLEAN, Robustness, load_robustness, score_robustness, spread
from segwright.inference.measure import measure
from segwright.metrics.intervals import miou_difference
from segwright.metrics.protocols import find_protocol
from segwright.metrics.scores import iou_per_class
from segwright.models.segmenter import Segmenter
from segwright.report.chapters.robustness import robustness_sentence
from tests.inference.fakes import Pictures, RedSegmenter, random_sample

RULE = find_protocol("pooled")
CHOSEN = [0, 2, 3, 5]
IDENTITY = {"run": "r", "checkpoint": "c", "sha256": "0", "split": "val", "space": "s", "seed": 0, "names": ["x"]}


def pictures() -> Pictures:
    """What the fake segmenter reads off the red channel is right in the clean pictures."""
    made = []
    for i in range(6):
        sample = random_sample(f"{'ab'[i % 2]}{i}", 12, 16, void=0.1, seed=i)
        assert sample.labels is not None
        rgb = np.repeat((120 + sample.labels % 3)[..., None], 3, axis=2).astype(np.uint8)
        made.append(type(sample)(name=sample.name, planes={"rgb": rgb}, labels=sample.labels))
    return Pictures(made)


def fake() -> Segmenter:
    return cast(Segmenter, RedSegmenter())


def scored(
    names: Sequence[str] = ("noise", "dark"), severities: Sequence[int] = (1, 5), **options: Any
) -> tuple[Robustness, list[Robustness]]:
    kept: list[Robustness] = []
    found = score_robustness(
        fake(),
        pictures(),
        rule=RULE,
        identity=options.pop("identity", IDENTITY),
        chosen=CHOSEN,
        names=names,
        severities=severities,
        keep=lambda so_far: kept.append(Robustness(**{**vars_of(so_far), "counts": dict(so_far.counts)})),
        **options,
    )
    return found, kept


def vars_of(found: Robustness) -> dict[str, Any]:
    return {"identity": found.identity, "rule": found.rule, "groups": found.groups}


def test_scores_are_those_of_the_corrupted_pictures_alone_and_differences_are_paired() -> None:
    found, _ = scored()
    counts = measure(fake(), Corrupted(pictures(), CHOSEN, name="noise", severity=5), device="cpu").counts_NKK
    np.testing.assert_array_equal(found.counts["noise.5"], counts)
    assert found.miou("noise", 5) == pytest.approx(np.nanmean(iou_per_class(counts.sum(0))))
    assert found.clean == 1.0
    apart, expected = found.difference("noise", 5), miou_difference(counts, found.counts[CLEAN], ["a", "a", "b", "b"])
    assert apart.value == pytest.approx(expected.value)
    assert found.groups == ("a", "a", "b", "b")
    assert found.corruptions == ("noise", "dark")
    assert found.severities("dark") == (1, 5)
    assert np.isnan(found.miou("noise", 3))
    assert found.kept("noise") == pytest.approx((found.miou("noise", 1) + found.miou("noise", 5)) / 2)


def test_what_was_scored_before_is_not_scored_again_unless_it_belongs_to_another_model(tmp_path: Path) -> None:
    _, kept = scored()
    assert [list(so_far.counts)[-1] for so_far in kept] == [CLEAN, "noise.1", "noise.5", "dark.1", "dark.5"]
    before = load_robustness(kept[2].save(tmp_path / "robustness.json"), RULE)
    again, later = scored(before=before)
    assert [list(so_far.counts)[-1] for so_far in later] == ["dark.1", "dark.5"]
    np.testing.assert_array_equal(again.counts["noise.5"], before.counts["noise.5"])
    _, anew = scored(before=before, identity={**IDENTITY, "sha256": "1"})
    assert len(anew) == 5


def test_the_file_tells_the_scores_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    found, _ = scored()
    path = found.save(tmp_path / "robustness.json")
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["clean_miou"] == 1.0
    assert [row["severity"] for row in told["corruptions"]["dark"]["severities"]] == [1, 5]
    loaded = load_robustness(path, RULE)
    assert loaded.to_dict() == found.to_dict()
    path.with_suffix(".npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="Remove it and run"):
        load_robustness(path, RULE)


def test_progress_counts_the_pictures_of_all_sets() -> None:
    seen: list[tuple[int, int]] = []
    scored(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 20) for i in range(20)]


def test_nothing_to_do_and_protocols_without_counts_are_refused() -> None:
    with pytest.raises(UserError, match="at least one picture"):
        scored(names=())


@pytest.mark.parametrize(
    ("count", "wanted", "expected"), [(10, 3, [1, 5, 8]), (3, 9, [0, 1, 2]), (5, 5, [0, 1, 2, 3, 4])]
)
def test_pictures_are_spread_evenly(count: int, wanted: int, expected: list[int]) -> None:
    assert spread(count, wanted) == expected


def test_severities_on_the_command_line() -> None:
    assert parse_severities("3") == (3,)
    assert parse_severities("2-4") == (2, 3, 4)
    for text in ("0-5", "4-2", "", "1-6", "a"):
        with pytest.raises(UserError, match="expected one of 1 to 5"):
            parse_severities(text)


def test_table_and_sentence_name_what_hurts() -> None:
    found, _ = scored()
    assert table(found).row_count == 2
    assert "noise" in robustness_sentence(found)
