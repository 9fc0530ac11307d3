"""The table of losses in the docs says what the benchmark measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEASURED = json.loads((ROOT / "benchmarks" / "results" / "losses.json").read_text(encoding="utf-8"))


def row(title: str, line: dict[str, Any]) -> str:
    """A line of the table: mIoU and differences in points, with Student's interval over the seeds."""

    def points(values: list[float], sign: str = "") -> str:
        mean, low, high = (f"{100 * v:{sign}.1f}".replace("-", "−") for v in values)
        return f"{mean} [{low}, {high}]"

    seeds = ", ".join(f"{100 * run['miou']:.1f}" for run in sorted(line["runs"], key=lambda run: run["seed"]))
    difference = f"{points(line['minus_first'], '+')} | {line['verdict']}" if "verdict" in line else "– | –"
    minutes = sum(run["minutes"] for run in line["runs"]) / len(line["runs"])
    return f"| {title} | {points(line['miou'])} | {seeds} | {difference} | {minutes:.1f} |"


@pytest.mark.parametrize("title", MEASURED["losses"])
def test_each_row_is_the_measured_one(title: str) -> None:
    line = MEASURED["losses"][title]
    assert len(line["runs"]) >= 3
    assert row(title, line) in (ROOT / "docs" / "losses" / "index.md").read_text(encoding="utf-8")
