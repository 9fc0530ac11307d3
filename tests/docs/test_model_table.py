"""The table of all models: every count in it is the one that the model has, and no model is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml

from segwright.models import MODELS, build_architecture

TABLE = Path(__file__).parents[2] / "docs" / "models" / "table.md"
ROW = re.compile(r"\| `(\w+)` \| (?:`(\{.*\})`)? ?\| (\d+) \| ([\d,]+) \|")
ROWS = [match.groups() for match in map(ROW.match, TABLE.read_text(encoding="utf-8").splitlines()) if match]


def test_every_model_is_in_the_table() -> None:
    assert {name for name, *_ in ROWS} == set(MODELS)


@pytest.mark.parametrize(("name", "args", "classes", "count"), ROWS)
def test_the_counts_are_those_of_the_models(name: str, args: str | None, classes: str, count: str) -> None:
    with torch.device("meta"):
        architecture = build_architecture(name, int(classes), yaml.safe_load(args) if args else {})
    assert sum(p.numel() for p in architecture.parameters()) == int(count.replace(",", ""))
