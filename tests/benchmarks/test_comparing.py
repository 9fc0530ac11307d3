"""Targets met or missed, regressions found, growth judged: on made-up results, and the committed ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.check import compare
from benchmarks.growth import AXES, growth
from benchmarks.recording import PROJECT, RESULTS
from benchmarks.targets import Target, load_results, lower_is_better, ratios, rows
from benchmarks.wishes import LIMITS, TARGETS


def ratio(median: float, spread: float = 0.02) -> dict[str, float]:
    return {"median": median, "low": median * (1 - spread), "high": median * (1 + spread)}


def verdict(found: dict[str, float], wish: float, *, lower: bool = False) -> str:
    target = Target(what="x", beside="y", file="f", ratio=lambda f: f["r"], wish=wish, lower=lower)
    return rows({"f": {"r": found}}, (target,))[0].verdict


def test_a_wish_is_met_only_by_the_whole_interval() -> None:
    assert [verdict(ratio(r), 2.5) for r in (3.0, 2.5, 2.0)] == ["yes", "too close to tell", "no"]
    assert [verdict(ratio(r), 1.5, lower=True) for r in (1.2, 1.5, 2.0)] == ["yes", "too close to tell", "no"]


def test_what_is_missing_is_not_measured() -> None:
    assert {row.verdict for row in rows({}, TARGETS + LIMITS)} == {"not measured"}
    assert {row.verdict for row in rows({"loading": {"results": {"batches": {"skipped": "no data"}}}}, TARGETS)} == {
        "not measured"
    }


def test_every_target_reads_the_committed_result_it_names() -> None:
    results = load_results(RESULTS)
    for row in rows(results, TARGETS + LIMITS):
        if row.target.file in ("confusion", "scoring", "loop", "ddp", "report"):
            assert row.ratio is not None, row.target.what


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (ratio(3.0), ratio(2.0), "worse"),
        (ratio(2.0), ratio(3.0), "better"),
        (ratio(3.0), ratio(2.8), "same"),  # less than the tolerance
        (ratio(3.0, 0.3), ratio(2.4, 0.3), "same"),  # the intervals meet
        (ratio(3.0), ratio(2.0, 0), "one round"),
    ],
)
def test_a_regression_is_large_and_certain(old: dict[str, float], new: dict[str, float], expected: str) -> None:
    key = "times_faster_than_peer"
    found = compare({"f": {"results": {key: old}}}, {"f": {"results": {key: new}, "seconds": 1}}, 0.15)
    assert [one.verdict for one in found] == [expected]
    turned = compare({"f": {"segwright / peer": new}}, {"f": {"segwright / peer": old}}, 0.15)
    assert [one.verdict for one in turned] == [expected]  # where lower is better, the other way round


def test_seconds_and_one_sided_figures_are_not_compared() -> None:
    assert compare({"f": {"seconds": 1}, "g": {"r": ratio(1)}}, {"f": {"seconds": 9}, "h": {"r": ratio(1)}}, 0.15) == []


def test_times_over_a_peer_are_better_when_lower() -> None:
    assert lower_is_better(("regions", "segwright / bare torch.bincount, int16"))
    assert lower_is_better(("ratios", "unet fp32", "ours_over_theirs"))
    assert not lower_is_better(("regions", "torchmetrics, default / segwright"))
    named = {path[-1] for content in load_results(RESULTS).values() for path, _ in ratios(content)}
    assert all(lower_is_better((name,)) for name in named if name.startswith("segwright /"))


def grown(power: float, mb: tuple[float, ...] = (1.0, 1.1, 1.2)) -> dict[str, Any]:
    points = AXES["pictures"]
    made = [{"seconds": 1.0, "cpu_seconds": 1e-3 * p[0] ** power, "mb": m} for p, m in zip(points, mb, strict=True)]
    return growth("pictures", points, made)


def test_exponents_are_those_of_the_data() -> None:
    counts = [point[0] for point in AXES["pictures"]]
    for power in (0.5, 1.0, 2.0):
        found = grown(power)
        assert found["exponent"] == pytest.approx(power, abs=0.01)
        slope = np.polyfit(np.log(counts), np.log(found["cpu_seconds"]), 1)[0]
        assert found["exponent_of_fit"] == pytest.approx(slope, abs=0.02)
        assert found["linear_or_better"] == (power <= 1)


def test_memory_is_flat_or_not() -> None:
    assert grown(1)["flat"]
    hoards = grown(1, (7, 70, 700))  # 70 kB a picture
    assert not hoards["flat"]
    assert hoards["kb_each"] == pytest.approx(71.7, abs=0.1)


def test_growth_that_became_steeper_is_worse() -> None:
    def result(power: float) -> dict[str, Any]:
        return {"growth": {"axes": {"pictures": {"open": grown(power)}}}}

    assert [one.verdict for one in compare(result(1), result(1.5), 0.15)] == ["worse"]
    assert [one.verdict for one in compare(result(1), result(1.1), 0.15)] == ["same"]


def test_the_command_ends_with_1_on_a_regression_and_2_without_anything_to_compare(tmp_path: Path) -> None:
    for name, value in (("before", 3.0), ("after", 2.0), ("empty", None)):
        (tmp_path / name).mkdir()
        if value is not None:
            content = {"times_faster_than_peer": ratio(value)}
            (tmp_path / name / "loading.json").write_text(json.dumps(content), encoding="utf-8")

    def check(*folders: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "benchmarks.check", *(str(tmp_path / name) for name in folders)]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)

    worse = check("before", "after")
    assert worse.returncode == 1
    assert "times_faster_than_peer" in worse.stdout
    assert "0.67" in worse.stdout
    assert check("after", "before").returncode == 0
    assert check("before", "empty").returncode == 2
